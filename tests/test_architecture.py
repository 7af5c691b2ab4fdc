"""Rules for imports between packages, and for the length of modules and functions."""

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
TENSORFLOW = {"tensorflow", "keras", "tf_keras", "tensornets"}
RAY = {"ray", "pyarrow"}
MAY_IMPORT_RAY = {"service/ray/app.py", "service/ray/cluster.py", "service/ray/server.py"}  # and all of cli/batch
MAY_IMPORT_TENSORFLOW = {"detector/network/keras_model.py", "detector/engines/tensorflow.py"}


def imported(path: Path, *, at_start_only: bool = False) -> set[str]:
    """Return the top-level packages that a module imports. at_start_only omits imports inside functions."""
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
def test_only_allowed_modules_import_tensorflow_at_module_level(path):
    if str(path.relative_to(ROOT)) not in MAY_IMPORT_TENSORFLOW and path.relative_to(ROOT).parts[0] != "training":
        assert not imported(path, at_start_only=True) & TENSORFLOW


def may_import_ray(path: Path) -> bool:
    name = path.relative_to(ROOT)
    return str(name) in MAY_IMPORT_RAY or name.parts[:2] == ("cli", "batch")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_allowed_modules_import_ray_and_other_modules_import_them_lazily(path):
    if not may_import_ray(path):
        assert not imported(path) & RAY
        tree = ast.parse(path.read_text(encoding="utf-8"))
        modules = {node.module for node in tree.body if isinstance(node, ast.ImportFrom)}
        assert not modules & {".".join(other.relative_to(ROOT).with_suffix("").parts) for other in MODULES if may_import_ray(other)}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_have_at_most_300_lines(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_functions_have_at_most_40_lines(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    lengths = {node.name: node.end_lineno - node.body[0].lineno + 1 for node in functions}
    assert max(lengths.values(), default=0) <= 40, lengths
