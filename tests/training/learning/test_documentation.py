"""docs/training.md says of every option, recipe, file and sentence what the code says."""

import re
from collections import deque
from pathlib import Path

import pytest

from training.config import Config
from training.recipes import recipe_names
from training.run import folder as run_folder
from training.run.layer_monitor import WINDOW, Flat, Watcher, flat_sentences

DOCS = Path(__file__).resolve().parents[3] / "docs"
TEXT = (DOCS / "training.md").read_text(encoding="utf-8")


def rows(text):
    """The tables' rows as lists of cells."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]


def test_every_option_is_told_with_its_default_and_what_it_is():
    options = TEXT[TEXT.index("## Options") : TEXT.index("## The run's folder")]
    told = [row for row in rows(options) if row[0].startswith("`")]
    there = [
        [f"`{name}`", f"`{field.default}`" if field.default != "" else "(empty)", field.description]
        for name, field in Config.model_fields.items()
    ]
    assert told == there


def test_every_recipe_is_told_and_no_other():
    recipes = TEXT[TEXT.index("### Recipes") : TEXT.index("### Less time")]
    assert {row[0].strip("`") for row in rows(recipes)} - {"recipe", "---"} == set(recipe_names())


def test_every_file_of_a_run_is_told_and_no_other():
    files = TEXT[TEXT.index("## The run's folder") : TEXT.index("## The report")]
    there = re.findall(r"(?<= )[\w.]+/?(?=\s)", run_folder.__doc__[run_folder.__doc__.index("\n\n") :].replace("\n", " \n "))
    assert {row[0].strip("`") for row in rows(files)} - {"file", "---"} == set(there)


@pytest.mark.parametrize("ratio", [2e-8, 30.0, 0.0])
def test_what_the_watcher_says_of_gradients_is_told(ratio):
    (sentence,) = Watcher({"LAYER": deque([ratio] * WINDOW)}).sentences()
    assert f"| {sentence.partition(';')[0].replace('LAYER', '...')} |" in TEXT


@pytest.mark.parametrize("share", [Flat(0.6, 0.05), Flat(0.05, 0.6)])
def test_what_the_watcher_says_of_units_is_told(share):
    (sentence,) = flat_sentences({"LAYER": share}, {"LAYER": Flat(0.05, 0.05)})
    assert f"| {sentence.partition(':')[0].replace('LAYER', '...')} |" in TEXT


def test_the_picture_is_there_and_light():
    (name,) = re.findall(r"!\[.+?\]\((.+?)\)", TEXT)
    assert 10_000 < (DOCS / name).stat().st_size < 300_000
