"""Changes to a model folder are atomic for readers."""

import multiprocessing
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest

from detector.errors import ModelFileError, NetworkError
from tests.weights.repository.model_folders import servable, truncate
from weights.errors import RepositoryError
from weights.formats.safetensors import load_model, save_model
from weights.repository.layout import MODEL_FILE, scan_repository
from weights.repository.publish import add_version, list_versions, promote_version, remove_version, rollback_version


def set_aside(folder, name="mine"):
    return [version.number for version in list_versions(folder, name) if version.aside]


def all_paths(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_added_files_are_numbered_and_copied_byte_for_byte(folder, file, tiny_model):
    assert [add_version(folder, "mine", file).number for _ in range(3)] == [1, 2, 3]
    assert servable(folder) == [3, 2, 1]
    assert (folder / "mine" / "2" / MODEL_FILE).read_bytes() == file.read_bytes()
    version = add_version(folder, "mine", replace(tiny_model, name="another"))
    assert load_model(version.path).name == "another"
    assert all_paths(folder) == [".lock", "mine", *(f"mine/{number}{end}" for number in range(1, 5) for end in ("", f"/{MODEL_FILE}"))]


def damage(path):
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)


def delete(path):
    path.unlink()


@pytest.mark.parametrize("corrupt", [damage, truncate, delete])
def test_a_damaged_file_is_refused_and_changes_nothing(folder, file, corrupt):
    add_version(folder, "mine", file)
    before = all_paths(folder)
    corrupt(file)
    with pytest.raises(ModelFileError, match=r"source/tiny\.safetensors"):
        add_version(folder, "mine", file)
    with pytest.raises(ModelFileError):
        add_version(folder, "other", file)
    assert all_paths(folder) == before


def test_a_large_file_that_is_not_a_model_is_refused_before_it_is_copied(folder, tmp_path):
    """A sparse file of any size takes no space on the disk, but its copy would."""
    with (tmp_path / "large.safetensors").open("wb") as file:
        file.truncate(2**30)
    before = time.thread_time()
    with pytest.raises(ModelFileError, match="damaged, truncated"):
        add_version(folder, "mine", tmp_path / "large.safetensors")
    assert time.thread_time() - before < 0.4  # copying it takes more than a second


def test_a_backbone_is_refused(folder, tiny_model, file):
    spec = replace(tiny_model.spec, labels=(), anchors=(), network=tiny_model.spec.network[:4], input_size=64)
    names = {layer.name for layer in spec.network}
    arrays = {name: array for name, array in tiny_model.arrays.items() if name.split("/")[0] in names}
    save_model(replace(tiny_model, spec=spec, arrays=arrays), file)
    with pytest.raises(NetworkError, match=r"source/tiny\.safetensors: this model has no anchors"):
        add_version(folder, "mine", file)
    assert all_paths(folder) == [".lock"]


def test_leftovers_of_a_killed_process_are_deleted(folder, file):
    add_version(folder, "mine", file)
    for leftover in (folder / "mine" / ".0123.part", folder / "mine" / ".0123.gone", folder / ".0123.gone"):
        leftover.mkdir()
    assert servable(folder) == [1]
    add_version(folder, "mine", file)
    assert not [name for name in all_paths(folder) if ".0123" in name]


def test_an_invalid_or_taken_name_is_refused(folder, file):
    for name in ("a/b", "..", "a:b", "", ".x"):
        with pytest.raises(RepositoryError, match="a model's name"):
            add_version(folder, name, file)
    shutil.copy(file, folder / "flat.safetensors")
    with pytest.raises(RepositoryError, match="without versions"):
        add_version(folder, "flat", file)


def test_a_missing_folder_is_not_created(tmp_path, file):
    with pytest.raises(RepositoryError, match="there is no such folder"):
        add_version(tmp_path / "nowhere", "mine", file)


def test_rollback_sets_the_newest_aside_and_promote_brings_it_back(folder, file):
    for _ in range(3):
        add_version(folder, "mine", file)
    assert rollback_version(folder, "mine").number == 2
    assert (servable(folder), set_aside(folder)) == ([2, 1], [3])
    assert rollback_version(folder, "mine").number == 1
    with pytest.raises(RepositoryError, match="cannot be rolled back"):
        rollback_version(folder, "mine")
    promoted = promote_version(folder, "mine", 3)
    assert promoted.path.is_file()
    assert (servable(folder), set_aside(folder)) == ([3, 1], [2])


def test_the_number_of_a_version_set_aside_is_not_reused(folder, file):
    for _ in range(2):
        add_version(folder, "mine", file)
    rollback_version(folder, "mine")
    assert add_version(folder, "mine", file).number == 3


def test_promote_sets_all_newer_versions_aside(folder, file):
    for _ in range(4):
        add_version(folder, "mine", file)
    assert promote_version(folder, "mine", 2).number == 2
    assert (servable(folder), set_aside(folder)) == ([2, 1], [4, 3])
    promote_version(folder, "mine", 3)
    assert (servable(folder), set_aside(folder)) == ([3, 2, 1], [4])
    assert promote_version(folder, "mine", 3) == promote_version(folder, "mine", 3)
    with pytest.raises(RepositoryError, match=r"no version 9; it has 3, 2, 1, 4"):
        promote_version(folder, "mine", 9)


@pytest.mark.parametrize("change", [lambda folder: promote_version(folder, "mine", 2), lambda folder: promote_version(folder, "mine", 5)])
def test_the_newest_version_changes_with_one_rename(folder, file, change, monkeypatch):
    """A scan between two renames finds either the old newest version or the new one."""
    for _ in range(6):
        add_version(folder, "mine", file)
    promote_version(folder, "mine", 5)
    promote_version(folder, "mine", 4)
    before, observed = servable(folder)[0], []
    rename = Path.rename

    def observed_rename(path, target):
        result = rename(path, target)
        observed.append(servable(folder)[0])
        return result

    monkeypatch.setattr(Path, "rename", observed_rename)
    change(folder)
    after = servable(folder)[0]
    assert before != after
    assert observed
    assert observed == sorted(observed, key=[before, after].index)


def test_add_deletes_versions_beyond_the_limit(folder, file):
    for _ in range(4):
        add_version(folder, "mine", file)
    rollback_version(folder, "mine")
    add_version(folder, "mine", file, keep=2)
    assert (servable(folder), set_aside(folder)) == ([5, 3], [4])


def test_remove_deletes_single_versions_and_whole_models(folder, file):
    for _ in range(3):
        add_version(folder, "mine", file)
    rollback_version(folder, "mine")
    assert [version.number for version in remove_version(folder, "mine", 3)] == [3]
    assert [version.number for version in remove_version(folder, "mine", 1)] == [1]
    assert (servable(folder), set_aside(folder)) == ([2], [])
    with pytest.raises(RepositoryError, match="no version 1; it has 2"):
        remove_version(folder, "mine", 1)
    remove_version(folder, "mine")
    with pytest.raises(RepositoryError, match="has no model 'mine'"):
        remove_version(folder, "mine")
    shutil.copy(file, folder / "flat.safetensors")
    with pytest.raises(RepositoryError, match="cannot be rolled back"):
        rollback_version(folder, "flat")
    assert promote_version(folder, "flat", 1).number == 1
    remove_version(folder, "flat")
    assert all_paths(folder) == [".lock"]


def test_a_path_as_model_name_is_refused(folder, file):
    for change in (rollback_version, remove_version, list_versions):
        with pytest.raises(RepositoryError, match="has no model"):
            change(folder, "../source")
    assert file.exists()


def add_versions(folder, file, count):
    for _ in range(count):
        add_version(folder, "mine", file, keep=100)


def test_concurrent_processes_lose_no_version(folder, file):
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=add_versions, args=(folder, file, 5)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert servable(folder) == list(range(10, 0, -1))
    for version in scan_repository(folder).versions:
        assert version.path.read_bytes() == file.read_bytes()
