"""Agreement of the OpenAPI document with the service: schemathesis sends valid and invalid requests and runs all its checks.

Its command line is used, because its pytest plugin does not support every version of pytest. `contract_hooks` supplies images.
"""

import os
import subprocess
import sys
from pathlib import Path

import httpx

HERE = Path(__file__).resolve().parent
EXAMPLES = 3
"""Random examples per endpoint and mode, in addition to about 1,200 cases derived from the document."""


def test_every_response_agrees_with_the_openapi_document(served, tmp_path):
    options = ["--phases", "examples,coverage,fuzzing", "--max-examples", str(EXAMPLES), "--seed", "1", "--continue-on-failure"]
    quiet = ["--no-shrink", "--no-color", "--generation-database", "none"]
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{served.url}/openapi.json", *options, *quiet]
    environment = os.environ | {"SCHEMATHESIS_HOOKS": "contract_hooks", "PYTHONPATH": str(HERE)}
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True)
    output = result.stdout.decode("utf-8", "replace")
    assert result.returncode == 0, output[-6000:]
    assert "No issues found" in output
    operations = sum(len(methods) for methods in httpx.get(f"{served.url}/openapi.json").json()["paths"].values())
    assert f"Tested: {operations}" in output
