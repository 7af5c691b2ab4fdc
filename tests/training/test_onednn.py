"""oneDNN is enabled before TensorFlow is imported."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
IMPORT_SCRIPT = """
import os, sys
class ReportVariable:
    def find_spec(self, name, path=None, target=None):
        if name in ("tensorflow", "keras"):
            print(name, os.environ.get("TF_ENABLE_ONEDNN_OPTS"), flush=True)
            os._exit(0)
sys.meta_path.insert(0, ReportVariable())
import {}
"""


@pytest.mark.parametrize(
    "module",
    [
        "training.run.run",
        "training.distributed.multi_worker",
        "training.run.trainer",
        "training.run.lr_finder",
        "detector.network.keras_model",
    ],
)
def test_onednn_is_enabled_before_tensorflow_is_imported(module):
    environment = {name: value for name, value in os.environ.items() if name != "TF_ENABLE_ONEDNN_OPTS"}
    result = subprocess.run([sys.executable, "-c", IMPORT_SCRIPT.format(module)], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert result.stdout.split()[1:] == ["1"], result.stderr
