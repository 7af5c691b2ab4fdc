"""Warnings of a run about its data."""

import logging

from training.config.task import Task
from training.data.voc_reader import read_set
from training.run.setup import _warn_of_unusable_boxes

OBJECT = (
    "<object><name>dog</name><bndbox><xmin>11</xmin><ymin>11</ymin><xmax>31</xmax><ymax>21</ymax></bndbox>"
    "<attributes><attribute><name>rotation</name><value>30</value></attribute></attributes></object>"
)


def test_a_run_reports_rotated_boxes(make_dataset, caplog):
    folder = make_dataset({"a": []}, {"train": ["a"], "val": ["a"]})
    xml = folder / "Annotations" / "a.xml"
    xml.write_text(xml.read_text().replace("</annotation>", f"{OBJECT}</annotation>"))
    samples = read_set(folder, "train")
    with caplog.at_level(logging.WARNING, "boxwright.training"):
        _warn_of_unusable_boxes(Task(str(folder), "train", "val", None), samples, samples, ["dog"])
    assert caplog.messages[0] == "set train: 1 rotated box; the upright rectangle around each is used."
