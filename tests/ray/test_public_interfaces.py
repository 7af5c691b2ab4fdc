"""The service uses public interfaces of Ray only."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_build_hook_of_the_replica_is_documented_by_ray():
    """The name has leading underscores, but the docstring of `serve.ingress` describes it as public."""
    code = """
from ray import serve
from service.ray.replica import DetectorReplica
assert "``__serve_build_asgi_app__``" in (serve.ingress.__doc__ or "")
assert callable(DetectorReplica.__serve_build_asgi_app__)
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)  # importing Ray causes warnings, which are errors in pytest


def test_no_private_module_or_attribute_of_ray_is_used():
    for path in (ROOT / "service" / "ray").glob("*.py"):
        source = path.read_text(encoding="utf-8")
        assert not re.search(r"\bray\.[\w.]*\b_[a-z]|from ray[\w.]*\._|\bserve\._|\bray\._", source), path
