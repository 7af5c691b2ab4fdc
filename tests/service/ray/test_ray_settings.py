"""What there is to decide of Ray, and that docs/scale.md says what the code does. Needs no Ray."""

import re
from pathlib import Path

import pytest

from detector.errors import SettingError
from service.ray.settings import UNSUPPORTED_SETTINGS, RaySettings, read_ray_settings
from service.settings import Settings, read_settings

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "scale.md").read_text(encoding="utf-8")


def test_every_setting_is_documented_with_its_default():
    for name, field in RaySettings.model_fields.items():
        assert f"| `BOXWRIGHT_RAY_{name.upper()}` | `{field.default}` | {field.description} |" in PAGE


@pytest.mark.parametrize(("given", "bounds"), [("4", (4, 4)), ("1-8", (1, 8)), ("auto", (3, 3)), (2, (2, 2))])
def test_how_many_detectors_there_are(given, bounds):
    assert RaySettings(replicas=given, cores=2).bounds(7) == bounds


def test_there_is_always_one_detector():
    assert RaySettings(replicas="auto", cores=4).bounds(2) == (1, 1)


@pytest.mark.parametrize("given", ["0", "-1", "3-2", "0-2", "many", "1-", "1-2-3", "1.5"])
def test_a_number_that_makes_no_sense_is_refused(given):
    with pytest.raises(SettingError, match=r"BOXWRIGHT_RAY_REPLICAS"):
        read_ray_settings(Settings(), given)


def test_the_environment_sets_and_a_flag_goes_before_it(monkeypatch):
    monkeypatch.setenv("BOXWRIGHT_RAY_REPLICAS", "3")
    monkeypatch.setenv("BOXWRIGHT_RAY_CORES", "2")
    assert read_ray_settings(Settings()) == RaySettings(replicas="3", cores=2)
    assert read_ray_settings(Settings(), "5") == RaySettings(replicas="5", cores=2)


@pytest.mark.parametrize("name", sorted(UNSUPPORTED_SETTINGS))
def test_a_setting_that_means_nothing_with_ray_is_refused_where_it_is_given(monkeypatch, name):
    assert name in Settings.model_fields
    assert f"`{name}`" in PAGE
    monkeypatch.setenv(f"BOXWRIGHT_{name.upper()}", "5000")
    value = {"head_seconds": "50"}.get(name, "5000")
    monkeypatch.setenv(f"BOXWRIGHT_{name.upper()}", value)
    with pytest.raises(SettingError, match=re.escape(repr(name))):
        read_ray_settings(read_settings())
    monkeypatch.delenv(f"BOXWRIGHT_{name.upper()}")
    read_ray_settings(read_settings())
