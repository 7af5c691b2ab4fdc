"""Versions and files of the model folder that cannot be served."""

import os
import sys

import pytest

from service.models.folder_scan import FolderScan
from service.models.rejections import Rejections
from service.schemas.models import RejectedModel


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse file names that are not UTF-8")
def test_a_file_name_that_is_not_utf_8_can_be_reported_as_json(tmp_path):
    (tmp_path / os.fsdecode(b"\xff.safetensors")).touch()
    rejections = Rejections(tmp_path)
    rejections.update(FolderScan.of(tmp_path, None))
    (rejected,) = rejections.current
    reported = RejectedModel(name=rejected.name, version=rejected.version, why=rejected.why, since=rejected.since)
    assert r"\udcff.safetensors" in reported.model_dump()["name"]
    assert RejectedModel.model_validate_json(reported.model_dump_json()) == reported
