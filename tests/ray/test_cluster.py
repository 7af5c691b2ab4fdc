"""A failed start of Ray is reported in one sentence, without a traceback."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_an_unusable_cluster_address_is_reported_in_one_sentence():
    command = [sys.executable, "-m", "cli.main", "serve", "--ray", "--port", "0"]
    result = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"RAY_ADDRESS": "not-an-address"}, capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert "Cannot connect to the cluster at not-an-address: " in result.stderr
    assert "Traceback" not in result.stderr
