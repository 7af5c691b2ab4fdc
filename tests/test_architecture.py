"""The one direction of imports, read from the code itself."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MAY_IMPORT = {
    "detector": set(),
    "weights": {"detector"},
    "training": {"detector", "weights"},
    "service": {"detector", "weights"},
    "cli": {"detector", "weights", "training", "service"},
    "boxwright": {"detector", "weights", "service"},
}
MODULES = [path for package in MAY_IMPORT for path in sorted((ROOT / package).rglob("*.py"))]
HEAVY = {"tensorflow", "keras", "tf_keras", "tensornets"}
RAY = {"ray", "pyarrow"}
MAY_NEED_RAY = {"service/ray/app.py", "service/ray/cluster.py", "service/ray/server.py"}  # and what is in cli/batch
MAY_BE_HEAVY = {"detector/keras_model.py", "detector/engines/tensorflow.py"}


def imported(path: Path, *, at_start_only: bool = False) -> set[str]:
    """First parts of the names that a module imports; at_start_only leaves out what functions import when called."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if at_start_only else list(ast.walk(tree))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_in_one_direction(path):
    package = path.relative_to(ROOT).parts[0]
    assert imported(path) & set(MAY_IMPORT) <= MAY_IMPORT[package] | {package}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_the_modules_meant_for_it_import_tensorflow_at_their_start(path):
    if str(path.relative_to(ROOT)) not in MAY_BE_HEAVY and path.relative_to(ROOT).parts[0] != "training":
        assert not imported(path, at_start_only=True) & HEAVY


def may_need_ray(path: Path) -> bool:
    name = path.relative_to(ROOT)
    return str(name) in MAY_NEED_RAY or name.parts[:2] == ("cli", "batch")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_the_modules_meant_for_it_need_ray_and_nobody_imports_those_at_its_start(path):
    if not may_need_ray(path):
        assert not imported(path) & RAY
        tree = ast.parse(path.read_text(encoding="utf-8"))
        modules = {node.module for node in tree.body if isinstance(node, ast.ImportFrom)}
        assert not modules & {".".join(other.relative_to(ROOT).with_suffix("").parts) for other in MODULES if may_need_ray(other)}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_stay_short_enough_to_read(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_functions_fit_in_the_eye(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    lengths = {node.name: node.end_lineno - node.body[0].lineno + 1 for node in functions}
    assert max(lengths.values(), default=0) <= 40, lengths
