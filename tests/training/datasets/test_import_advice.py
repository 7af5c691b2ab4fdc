"""Errors for data sets that need `boxwright data import`."""

import pytest

from training.data.voc_lists import image_sets
from training.data.voc_reader import read_set
from training.errors import DatasetError


@pytest.mark.parametrize("name", ["data.yaml", "classes.txt", "obj.names", "labels/a.txt"])
def test_a_yolo_folder_leads_to_data_import(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("x")
    for read in (image_sets, lambda folder: read_set(folder, "train")):
        with pytest.raises(DatasetError, match=f"`boxwright data import {tmp_path} --from yolo --out DIR`"):
            read(tmp_path)


def test_commands_in_errors_are_quoted_for_a_shell(tmp_path):
    folder = tmp_path / "my pets"
    for name, command in (("result.json", f"'{folder}/result.json' --from coco"), ("data.yaml", f"'{folder}' --from yolo")):
        folder.mkdir(exist_ok=True)
        (folder / name).write_text("{}")
        with pytest.raises(DatasetError, match=f"`boxwright data import {command}"):
            image_sets(folder)


@pytest.mark.parametrize("name", ["result.json", "annotations/instances_train.json", "train/_annotations.coco.json"])
def test_a_coco_folder_leads_to_data_import(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("{}")
    with pytest.raises(DatasetError, match=f"`boxwright data import {tmp_path / name} --from coco --out DIR`"):
        image_sets(tmp_path)
