"""A folder of models on disk: what is read of it, and changes that never leave it half changed."""

import multiprocessing
import os
import shutil
from dataclasses import replace

import pytest

from detector.errors import ModelError, ModelFileError, NetworkError
from weights.errors import RepositoryError
from weights.formats.safetensors import load_model, save_model
from weights.repository.layout import MODEL_FILE, scan_repository
from weights.repository.publish import add_version, promote_version, remove_version, rollback_version, list_versions
from weights.repository.snapshot import snapshot


@pytest.fixture
def file(tiny_model, tmp_path):
    path = tmp_path / "source" / "tiny.safetensors"
    path.parent.mkdir()
    save_model(tiny_model, path)
    return path


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "models"
    path.mkdir()
    return path


def live(folder, name="mine"):
    """Versions that whoever serves sees, the newest first."""
    return [version.number for version in scan_repository(folder).versions if version.name == name]


def aside(folder, name="mine"):
    return [version.number for version in list_versions(folder, name) if version.aside]


def everything(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_versions_are_whole_numbers_and_the_highest_comes_first(folder, file):
    for text in ("1", "12", "9", "007", "0", "1764150000000"):
        (folder / "mine" / text).mkdir(parents=True)
        shutil.copy(file, folder / "mine" / text / MODEL_FILE)
    for other in ("v3", "3.1", "-4", "²", "aside", ".5"):
        (folder / "mine" / other).mkdir()
    assert live(folder) == [1764150000000, 12, 9, 7, 1, 0]
    assert [version.path.parent.name for version in scan_repository(folder).versions][3] == "007"


def test_a_flat_file_is_a_model_of_version_1(folder, file):
    shutil.copy(file, folder / "flat.safetensors")
    (version,) = scan_repository(folder).versions
    assert (version.name, version.number, version.path) == ("flat", 1, folder / "flat.safetensors")
    assert list_versions(folder, "flat") == [version]


def test_what_is_no_model_is_left_alone(folder, file):
    for name in ("..2026_11_26", "runs", "weights"):
        (folder / name / "mydata-001").mkdir(parents=True)
    for name in (".hidden.safetensors", "hashes.json", "best.weights"):
        shutil.copy(file, folder / name)
    assert not scan_repository(folder).versions
    assert not scan_repository(folder).troubles


@pytest.mark.parametrize("name", ["my model", "a:predict", "élan", "x" * 101, "-x"])
def test_a_name_that_no_address_can_have_is_told_of(folder, file, name):
    shutil.copy(file, folder / f"{name}.safetensors")
    (folder / name / "1").mkdir(parents=True)
    found = scan_repository(folder)
    assert not found.versions
    assert set(found.troubles) == {name, f"{name}.safetensors"}
    assert all("is no name for a model" in sentence for sentence in found.troubles.values())


def test_a_folder_goes_before_a_flat_file_of_its_name_and_the_file_is_told_of(folder, file):
    add_version(folder, "mine", file)
    shutil.copy(file, folder / "mine.safetensors")
    shutil.copy(file, folder / "flat.safetensors")
    shutil.copy(file, folder / "flat")
    assert live(folder) == live(folder, "flat") == [1]
    assert list(scan_repository(folder).troubles) == ["mine.safetensors"]
    assert "goes before it" in scan_repository(folder).troubles["mine.safetensors"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_told_of(folder):
    (folder / "mine").mkdir(mode=0)
    assert "Permission denied" in scan_repository(folder).troubles["mine"]


def test_a_loop_of_links_is_told_of_and_hides_no_other_model(folder, file):
    add_version(folder, "sound", file)
    (folder / "loop.safetensors").symlink_to(folder / "loop.safetensors")
    (folder / "looped").symlink_to(folder / "looped")
    assert live(folder, "sound") == [1]


def test_added_files_are_numbered_and_are_the_same_bytes(folder, file, tiny_model):
    assert [add_version(folder, "mine", file).number for _ in range(3)] == [1, 2, 3]
    assert live(folder) == [3, 2, 1]
    assert (folder / "mine" / "2" / MODEL_FILE).read_bytes() == file.read_bytes()
    version = add_version(folder, "mine", replace(tiny_model, name="another"))
    assert load_model(version.path).name == "another"
    assert everything(folder) == [".lock", "mine", *(f"mine/{number}{end}" for number in range(1, 5) for end in ("", f"/{FILE}"))]


def damaged(path):
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def gone(path):
    path.unlink()


@pytest.mark.parametrize("spoil", [damaged, cut, gone])
def test_a_file_that_is_not_sound_becomes_no_version_and_leaves_nothing(folder, file, spoil):
    add_version(folder, "mine", file)
    before = everything(folder)
    spoil(file)
    with pytest.raises(ModelFileError, match=r"source/tiny\.safetensors"):
        add_version(folder, "mine", file)
    with pytest.raises(ModelFileError):
        add_version(folder, "other", file)
    assert everything(folder) == before


def test_a_stem_becomes_no_version(folder, tiny_model, file):
    spec = replace(tiny_model.spec, labels=(), anchors=(), network=tiny_model.spec.network[:4], input_size=64)
    names = {layer.name for layer in spec.network}
    arrays = {name: array for name, array in tiny_model.arrays.items() if name.split("/")[0] in names}
    save_model(replace(tiny_model, spec=spec, arrays=arrays), file)
    with pytest.raises(NetworkError, match=r"source/tiny\.safetensors: this model has no anchors"):
        add_version(folder, "mine", file)
    assert everything(folder) == [".lock"]


def test_what_a_killed_process_left_is_cleared_away(folder, file):
    add_version(folder, "mine", file)
    for left in (folder / "mine" / ".0123.part", folder / "mine" / ".0123.gone", folder / ".0123.gone"):
        left.mkdir()
    assert live(folder) == [1]
    add_version(folder, "mine", file)
    assert not [name for name in everything(folder) if ".0123" in name]


def test_a_name_that_cannot_be_one_is_refused(folder, file):
    for name in ("a/b", "..", "a:b", "", ".x"):
        with pytest.raises(RepositoryError, match="a model's name"):
            add_version(folder, name, file)
    shutil.copy(file, folder / "flat.safetensors")
    with pytest.raises(RepositoryError, match="without versions"):
        add_version(folder, "flat", file)


def test_a_folder_that_is_not_there_is_not_made(tmp_path, file):
    with pytest.raises(RepositoryError, match="there is no such folder"):
        add_version(tmp_path / "nowhere", "mine", file)


def test_rollback_sets_the_newest_aside_and_promote_brings_it_back(folder, file):
    for _ in range(3):
        add_version(folder, "mine", file)
    assert rollback_version(folder, "mine").number == 2
    assert (live(folder), aside(folder)) == ([2, 1], [3])
    assert rollback_version(folder, "mine").number == 1
    with pytest.raises(RepositoryError, match="nothing to go back to"):
        rollback_version(folder, "mine")
    back = promote_version(folder, "mine", 3)
    assert back.path.is_file()
    assert (live(folder), aside(folder)) == ([3, 1], [2])


def test_a_number_is_never_used_again_while_its_version_is_set_aside(folder, file):
    for _ in range(2):
        add_version(folder, "mine", file)
    rollback_version(folder, "mine")
    assert add_version(folder, "mine", file).number == 3


def test_promote_sets_all_above_aside(folder, file):
    for _ in range(4):
        add_version(folder, "mine", file)
    assert promote_version(folder, "mine", 2).number == 2
    assert (live(folder), aside(folder)) == ([2, 1], [4, 3])
    promote_version(folder, "mine", 3)
    assert (live(folder), aside(folder)) == ([3, 2, 1], [4])
    assert promote_version(folder, "mine", 3) == promote_version(folder, "mine", 3)
    with pytest.raises(RepositoryError, match=r"no version 9; it has 3, 2, 1, 4"):
        promote_version(folder, "mine", 9)


@pytest.mark.parametrize("change", [lambda folder: promote_version(folder, "mine", 2), lambda folder: promote_version(folder, "mine", 5)])
def test_the_newest_version_changes_with_one_rename(folder, file, change, monkeypatch):
    """Whoever looks between two renames sees the newest of before or the newest of after."""
    for _ in range(6):
        add_version(folder, "mine", file)
    promote_version(folder, "mine", 5)
    promote_version(folder, "mine", 4)
    before, seen = live(folder)[0], []
    from pathlib import Path

    rename = Path.rename

    def watched(path, target):
        result = rename(path, target)
        seen.append(live(folder)[0])
        return result

    monkeypatch.setattr(Path, "rename", watched)
    change(folder)
    after = live(folder)[0]
    assert before != after
    assert seen
    assert seen == sorted(seen, key=[before, after].index)


def test_only_so_many_versions_are_kept(folder, file):
    for _ in range(4):
        add_version(folder, "mine", file)
    rollback_version(folder, "mine")
    add_version(folder, "mine", file, keep=2)
    assert (live(folder), aside(folder)) == ([5, 3], [4])


def test_remove_deletes_a_version_set_aside_or_not_and_then_the_model(folder, file):
    for _ in range(3):
        add_version(folder, "mine", file)
    rollback_version(folder, "mine")
    assert [version.number for version in remove_version(folder, "mine", 3)] == [3]
    assert [version.number for version in remove_version(folder, "mine", 1)] == [1]
    assert (live(folder), aside(folder)) == ([2], [])
    with pytest.raises(RepositoryError, match="no version 1; it has 2"):
        remove_version(folder, "mine", 1)
    remove_version(folder, "mine")
    with pytest.raises(RepositoryError, match="has no model 'mine'"):
        remove_version(folder, "mine")
    shutil.copy(file, folder / "flat.safetensors")
    with pytest.raises(RepositoryError, match="nothing to go back to"):
        rollback_version(folder, "flat")
    assert promote_version(folder, "flat", 1).number == 1
    remove_version(folder, "flat")
    assert everything(folder) == [".lock"]


def test_a_name_is_no_path(folder, file):
    for change in (rollback_version, remove_version, list_versions):
        with pytest.raises(RepositoryError, match="has no model"):
            change(folder, "../source")
    assert file.exists()


def add_some(folder, file, count):
    for _ in range(count):
        add_version(folder, "mine", file, keep=100)


def test_processes_that_add_at_once_lose_nothing(folder, file):
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=add_some, args=(folder, file, 5)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert live(folder) == list(range(10, 0, -1))
    for version in scan_repository(folder).versions:
        assert version.path.read_bytes() == file.read_bytes()


def test_a_snapshot_holds_what_was_there_whatever_becomes_of_the_file(file):
    before = file.read_bytes()
    with snapshot(file) as copy:
        file.write_bytes(b"")
        assert copy.read_bytes() == before
        assert load_model(copy, called=file).name == "tiny-random"


@pytest.mark.parametrize("kind", ["none", "folder", "pipe"])
def test_a_snapshot_of_what_is_no_plain_file_is_refused(tmp_path, kind):
    path = tmp_path / "x"
    if kind == "folder":
        path.mkdir()
    if kind == "pipe":
        os.mkfifo(path)
    with pytest.raises(ModelFileError, match=str(path)), snapshot(path):
        pass


def test_a_copy_is_called_as_the_file_in_messages(file):
    cut(file)
    with snapshot(file) as copy, pytest.raises(ModelError, match=str(file)):
        load_model(copy, called=file)
