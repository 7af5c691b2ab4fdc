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


@pytest.mark.parametrize("name", ["labels.csv", "annotations/train.CSV"])
def test_a_table_of_boxes_leads_to_another_export(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("filename,width,height,class,xmin,ymin,xmax,ymax\n")
    with pytest.raises(DatasetError, match=rf"Tables of boxes, such as {tmp_path / name}, are not read\. Export the data set as"):
        image_sets(tmp_path)


def test_the_labels_folder_of_a_yolo_data_set_is_no_voc_data(tmp_path):
    (tmp_path / "train" / "labels").mkdir(parents=True)
    (tmp_path / "train" / "labels" / "a.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    (tmp_path / "data.yaml").write_text("names: [cat]\n")
    with pytest.raises(DatasetError, match=r"side by side\.$"):
        image_sets(tmp_path)
