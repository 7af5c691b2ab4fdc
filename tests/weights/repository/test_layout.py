"""Which models and versions a model folder has."""

import os
import shutil

import pytest

from tests.weights.repository.model_folders import servable
from weights.repository.layout import MODEL_FILE, scan_repository
from weights.repository.publish import add_version, list_versions


def test_versions_are_whole_numbers_sorted_newest_first(folder, file):
    for text in ("1", "12", "9", "007", "0", "1764150000000"):
        (folder / "mine" / text).mkdir(parents=True)
        shutil.copy(file, folder / "mine" / text / MODEL_FILE)
    for other in ("v3", "3.1", "-4", "²", "aside", ".5"):
        (folder / "mine" / other).mkdir()
    assert servable(folder) == [1764150000000, 12, 9, 7, 1, 0]
    assert [version.path.parent.name for version in scan_repository(folder).versions][3] == "007"


def test_a_flat_file_is_a_model_of_version_1(folder, file):
    shutil.copy(file, folder / "flat.safetensors")
    (version,) = scan_repository(folder).versions
    assert (version.name, version.number, version.path) == ("flat", 1, folder / "flat.safetensors")
    assert list_versions(folder, "flat") == [version]


def test_other_files_and_folders_are_ignored(folder, file):
    for name in ("..2026_11_26", "runs", "weights"):
        (folder / name / "mydata-001").mkdir(parents=True)
    for name in (".hidden.safetensors", "hashes.json", "best.weights"):
        shutil.copy(file, folder / name)
    assert not scan_repository(folder).versions
    assert not scan_repository(folder).problems


@pytest.mark.parametrize("name", ["my model", "a:predict", "élan", "x" * 101, "-x"])
def test_a_name_that_no_url_can_contain_is_reported(folder, file, name):
    shutil.copy(file, folder / f"{name}.safetensors")
    (folder / name / "1").mkdir(parents=True)
    scan = scan_repository(folder)
    assert not scan.versions
    assert set(scan.problems) == {name, f"{name}.safetensors"}
    assert all("is not a model name" in message for message in scan.problems.values())


def test_a_folder_shadows_a_flat_file_of_the_same_name_and_the_file_is_reported(folder, file):
    add_version(folder, "mine", file)
    shutil.copy(file, folder / "mine.safetensors")
    shutil.copy(file, folder / "flat.safetensors")
    shutil.copy(file, folder / "flat")
    assert servable(folder) == servable(folder, "flat") == [1]
    assert list(scan_repository(folder).problems) == ["mine.safetensors"]
    assert "is ignored, because the folder mine has the same name" in scan_repository(folder).problems["mine.safetensors"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read everything")
def test_an_unreadable_folder_is_reported(folder):
    (folder / "mine").mkdir(mode=0)
    assert "Permission denied" in scan_repository(folder).problems["mine"]


def test_a_loop_of_symbolic_links_hides_no_other_model(folder, file):
    add_version(folder, "valid", file)
    (folder / "loop.safetensors").symlink_to(folder / "loop.safetensors")
    (folder / "looped").symlink_to(folder / "looped")
    assert servable(folder, "valid") == [1]
