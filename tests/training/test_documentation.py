"""docs/training.md describes every option, recipe, file and warning of the code."""

import re
from collections import deque
from pathlib import Path

import pytest

from training.config.options import Config
from training.recipes import recipe_names
from training.run import folder as run_folder
from training.run.layer_monitor import WINDOW, DeadUnits, LayerMonitor, dead_unit_warnings

DOCS = Path(__file__).resolve().parents[2] / "docs"
TEXT = (DOCS / "training.md").read_text(encoding="utf-8")


def table_rows(text):
    """Return the rows of all tables as lists of cells."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]


def test_every_option_is_documented_with_default_and_description():
    options = TEXT[TEXT.index("## Options") : TEXT.index("## The run's folder")]
    documented = [row for row in table_rows(options) if row[0].startswith("`")]
    expected = [
        [f"`{name}`", f"`{field.default}`" if field.default != "" else "(empty)", field.description]
        for name, field in Config.model_fields.items()
    ]
    assert documented == expected


def test_exactly_the_existing_recipes_are_documented():
    recipes = TEXT[TEXT.index("### Recipes") : TEXT.index("### Less time")]
    assert {row[0].strip("`") for row in table_rows(recipes)} - {"recipe", "---"} == set(recipe_names())


def test_exactly_the_files_of_a_run_are_documented():
    files = TEXT[TEXT.index("## The run's folder") : TEXT.index("## The report")]
    expected = re.findall(r"(?<= )[\w.]+/?(?=\s)", run_folder.__doc__[run_folder.__doc__.index("\n\n") :].replace("\n", " \n "))
    assert {row[0].strip("`") for row in table_rows(files)} - {"file", "---"} == set(expected)


@pytest.mark.parametrize("ratio", [2e-8, 30.0, 0.0])
def test_every_gradient_warning_is_documented(ratio):
    (warning,) = LayerMonitor({"LAYER": deque([ratio] * WINDOW)}).warnings()
    assert f"| {warning.partition('. ')[0].replace('LAYER', '...')} |" in TEXT


@pytest.mark.parametrize("units", [DeadUnits(0.6, 0.05), DeadUnits(0.05, 0.6)])
def test_every_dead_unit_warning_is_documented(units):
    (warning,) = dead_unit_warnings({"LAYER": units}, {"LAYER": DeadUnits(0.05, 0.05)})
    assert f"| {warning.partition('. ')[0].replace('LAYER', '...')} |" in TEXT


def test_the_image_of_the_report_is_small():
    (name,) = re.findall(r"!\[.+?\]\((.+?)\)", TEXT)
    assert 10_000 < (DOCS / name).stat().st_size < 300_000
