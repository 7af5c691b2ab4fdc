"""The OpenAPI document against the service: schemathesis sends what it allows and what it does not, and runs all its checks.

Its command is run, as its pytest plugin does not go with every pytest. `contract_hooks` knows what a photo is.
"""

import os
import subprocess
import sys
from pathlib import Path

import httpx

HERE = Path(__file__).resolve().parent
EXAMPLES = 3
"""Drawn for each endpoint and way, beside some 1,200 cases that it derives from the document."""


def test_every_answer_is_as_the_document_says(served, tmp_path):
    options = ["--phases", "examples,coverage,fuzzing", "--max-examples", str(EXAMPLES), "--seed", "1", "--continue-on-failure"]
    quiet = ["--no-shrink", "--no-color", "--generation-database", "none"]
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{served.url}/openapi.json", *options, *quiet]
    environment = os.environ | {"SCHEMATHESIS_HOOKS": "contract_hooks", "PYTHONPATH": str(HERE)}
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True)
    said = ended.stdout.decode("utf-8", "replace")
    assert ended.returncode == 0, said[-6000:]
    assert "No issues found" in said
    operations = sum(len(methods) for methods in httpx.get(f"{served.url}/openapi.json").json()["paths"].values())
    assert f"Tested: {operations}" in said
