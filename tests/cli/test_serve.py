"""`boxwright serve`'s own words: its settings, without a service."""

import tomllib

import pytest

from service.settings import Settings


def test_print_config_prints_what_holds_and_serves_nothing(boxwright, monkeypatch, tmp_path):
    file = tmp_path / "boxwright.toml"
    file.write_text("queue_size = 5\nport = 7000\n", encoding="utf-8")
    monkeypatch.setenv("BOXWRIGHT_CONFIG", str(file))
    result = boxwright("serve", "--print-config", "--port", "7001", "--set", "log_format=text", "--set", "request_seconds=2.5")
    told = tomllib.loads(result.out)
    assert told == Settings(port=7001, queue_size=5, log_format="text", request_seconds=2.5).model_dump(exclude_none=True)


@pytest.mark.parametrize("entry", ["queue_size", "queue_sise=5", "=5"])
def test_a_setting_that_there_is_not_is_refused_with_those_there_are(boxwright, entry):
    result = boxwright("serve", "--set", entry)
    assert result.code == 2
    assert "NAME one of model, engine" in result.err
