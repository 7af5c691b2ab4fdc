"""Settings for Ray, and their documentation in docs/scale.md. These tests do not start Ray."""

import re
from pathlib import Path

import pytest

from detector.errors import SettingError
from service.ray.settings import UNSUPPORTED_SETTINGS, RaySettings, read_ray_settings
from service.settings import Settings, read_settings

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "scale.md").read_text(encoding="utf-8")


def test_every_setting_is_documented_with_its_default():
    for name, field in RaySettings.model_fields.items():
        assert f"| `BOXWRIGHT_RAY_{name.upper()}` | `{field.default}` | {field.description} |" in PAGE


@pytest.mark.parametrize(("replicas", "expected"), [("4", (4, 4)), ("1-8", (1, 8)), ("auto", (3, 3)), (2, (2, 2))])
def test_a_setting_gives_the_smallest_and_the_largest_number_of_replicas(replicas, expected):
    assert RaySettings(replicas=replicas, cores=2).replica_range(7) == expected


def test_there_is_at_least_one_replica():
    assert RaySettings(replicas="auto", cores=4).replica_range(2) == (1, 1)


@pytest.mark.parametrize("value", ["0", "-1", "3-2", "0-2", "many", "1-", "1-2-3", "1.5"])
def test_invalid_number_of_replicas_is_refused(value):
    with pytest.raises(SettingError, match=r"BOXWRIGHT_RAY_REPLICAS"):
        read_ray_settings(Settings(), value)


def test_argument_has_priority_over_the_environment(monkeypatch):
    monkeypatch.setenv("BOXWRIGHT_RAY_REPLICAS", "3")
    monkeypatch.setenv("BOXWRIGHT_RAY_CORES", "2")
    assert read_ray_settings(Settings()) == RaySettings(replicas="3", cores=2)
    assert read_ray_settings(Settings(), "5") == RaySettings(replicas="5", cores=2)


@pytest.mark.parametrize("name", sorted(UNSUPPORTED_SETTINGS))
def test_unsupported_setting_is_refused_if_it_is_set(monkeypatch, name):
    assert name in Settings.model_fields
    assert f"`{name}`" in PAGE
    value = {"head_seconds": "50", "trusted_proxies": "10.0.0.0/8"}.get(name, "5000")
    monkeypatch.setenv(f"BOXWRIGHT_{name.upper()}", value)
    with pytest.raises(SettingError, match=re.escape(repr(name))):
        read_ray_settings(read_settings())
    monkeypatch.delenv(f"BOXWRIGHT_{name.upper()}")
    read_ray_settings(read_settings())
