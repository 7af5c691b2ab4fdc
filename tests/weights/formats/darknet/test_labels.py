"""Darknet .names files, which have one label per line."""

import pytest

from detector.errors import ModelFileError
from weights.formats.darknet.cfg import read_cfg
from weights.formats.darknet.weights import read_labels


@pytest.mark.parametrize("data", [b"cat\ndog\n", b"cat\r\ndog\r\n\r\n", b"\xef\xbb\xbfcat \ndog\n\n\n", b"cat\ndog", b"cat\rdog\r"])
def test_each_line_is_a_label(tmp_path, data):
    (tmp_path / "a.names").write_bytes(data)
    assert read_labels(tmp_path / "a.names") == ("cat", "dog")


@pytest.mark.parametrize("data", [b"0: cat\n1: dog\n", b"1. cat\n2. dog\n", b"0 cat\r\n1\tdog\r\n", b"0,cat\n1,dog", b"0) cat\n1) dog\n"])
def test_numbers_of_the_lines_are_not_part_of_the_labels(tmp_path, data):
    (tmp_path / "a.names").write_bytes(data)
    assert read_labels(tmp_path / "a.names") == ("cat", "dog")


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"cat\n\ndog\n", "line 2 is blank"), (b"caf\xe9\n", "is not utf-8 text: byte 3"), (b"\n", "the file contains no label")],
)
def test_invalid_label_files_are_refused(tmp_path, data, message):
    (tmp_path / "a.names").write_bytes(data)
    with pytest.raises(ModelFileError, match=message):
        read_labels(tmp_path / "a.names")


def test_the_official_names_fit_the_official_networks(shared):
    labels = read_labels(shared / "weights" / "voc.names")
    assert read_cfg(shared / "weights" / "yolov2-voc.cfg", labels=labels).labels[:3] == ("aeroplane", "bicycle", "bird")
    assert len(read_labels(shared / "weights" / "coco.names")) == 80
