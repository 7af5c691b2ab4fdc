"""Settings, and that docs/service.md says what the code does."""

import re
from pathlib import Path

import pytest

from detector.errors import SettingError
from service.problems import KINDS, UNEXPECTED
from service.settings import Settings, read_settings

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "service.md").read_text(encoding="utf-8")


def table(heading):
    """The rows of the table under that heading of the page, cells as they stand there."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in section.splitlines() if line.startswith("|")]
    return rows[2:]


def test_every_setting_is_documented_with_its_default():
    expected = [
        [f"BOXWRIGHT_{name.upper()}", "none" if field.default is None else str(field.default), field.description]
        for name, field in Settings.model_fields.items()
    ]
    assert table("Settings") == expected


def test_every_refusal_is_documented_with_its_status():
    kinds = sorted((str(kind.status), kind.slug) for kind in (*KINDS.values(), UNEXPECTED))
    assert sorted((status, slug) for status, slug, _ in table("Errors")) == kinds


def test_every_endpoint_is_documented(tiny_app):
    documented = {row[0] for row in table("Endpoints")}
    paths = tiny_app.openapi()["paths"]
    assert documented == {f"{method.upper()} {path}" for path in paths for method in paths[path]} | {"GET /docs", "GET /openapi.json"}


def test_every_parameter_of_detect_is_documented_with_its_default(tiny_app):
    parameters = tiny_app.openapi()["paths"]["/detect"]["post"]["parameters"]
    rows = {name: default for name, _, default in table("POST /detect")}
    assert set(rows) == {parameter["name"] for parameter in parameters}
    defaults = {parameter["name"]: parameter["schema"].get("default") for parameter in parameters}
    assert {name: str(value) for name, value in defaults.items() if value} == {
        name: default for name, default in rows.items() if name not in ("model", "classes")
    }


def test_the_environment_sets_and_a_flag_goes_before_it(monkeypatch):
    monkeypatch.setenv("BOXWRIGHT_PORT", "9000")
    monkeypatch.setenv("BOXWRIGHT_MODEL", "some.safetensors")
    monkeypatch.setenv("BOXWRIGHT_HOST", "")
    settings = read_settings(port=None, model="other.safetensors")
    assert (settings.port, settings.model, settings.host) == (9000, "other.safetensors", "127.0.0.1")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "70000"),
        ("PORT", "many"),
        ("ENGINE", "abacus"),
        ("MAX_BODY_BYTES", "0"),
        ("MAX_PIXELS", "999999999"),
        ("LOG_LEVEL", "loud"),
    ],
)
def test_a_setting_that_is_not_valid_is_named(monkeypatch, name, value):
    monkeypatch.setenv(f"BOXWRIGHT_{name}", value)
    with pytest.raises(SettingError, match=re.escape(f"BOXWRIGHT_{name}")) as error:
        read_settings()
    assert value in str(error.value)
