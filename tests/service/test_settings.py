"""Settings, and agreement of docs/service.md with the code."""

import re
from pathlib import Path

import pytest

from detector.errors import SettingError
from service.observability.metrics import STAGES
from service.schemas.problem_kinds import PROBLEM_KINDS, UNEXPECTED
from service.settings import Settings, read_settings

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "service.md").read_text(encoding="utf-8")


def table(heading):
    """Return the rows of the table under this heading of the page."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in section.splitlines() if line.startswith("|")]
    return rows[2:]


def test_every_setting_is_documented_with_its_default():
    expected = [
        [f"BOXWRIGHT_{name.upper()}", "none" if field.default in (None, []) else str(field.default), field.description]
        for name, field in Settings.model_fields.items()
    ]
    assert table("Settings") == expected


def test_every_kind_of_problem_is_documented_with_its_status():
    kinds = sorted((str(kind.status), kind.slug) for kind in (*PROBLEM_KINDS.values(), UNEXPECTED))
    assert sorted((status, slug) for status, slug, _ in table("Errors")) == kinds


def metrics_of(app):
    """Yield name, type, labels and help of every metric, as rows of the table."""
    for family in app.state.metrics.collector_registry.collect():
        if family.name.startswith("boxwright_"):
            labels = [name for name in family.samples[0].labels if name != "le"]
            name = family.name + ("_total" if family.type == "counter" else "")
            yield [name, family.type, ", ".join(f"`{label}`" for label in labels).strip("`"), family.documentation]


def test_every_metric_is_documented(tiny_app, detect, make_image_bytes):
    assert detect(make_image_bytes(), confidence=0.01).json()["detections"]
    assert table("Metrics") == list(metrics_of(tiny_app))


def test_every_stage_is_documented():
    assert f"The stages are {', '.join(f'`{stage}`' for stage in STAGES[:-1])} and `{STAGES[-1]}`." in PAGE


def test_every_endpoint_is_documented(tiny_app):
    documented = {row[0] for row in table("Endpoints")}
    paths = tiny_app.openapi()["paths"]
    assert documented == {f"{method.upper()} {path}" for path in paths for method in paths[path]} | {
        "GET /",
        "GET /web/{file}",
        "GET /docs",
        "GET /openapi.json",
    }


def test_every_parameter_of_detect_is_documented_with_its_default(tiny_app):
    parameters = tiny_app.openapi()["paths"]["/detect"]["post"]["parameters"]
    rows = {name: default for name, _, default in table("POST /detect")}
    assert set(rows) == {parameter["name"] for parameter in parameters}
    defaults = {parameter["name"]: parameter["schema"].get("default") for parameter in parameters}
    assert {name: str(value) for name, value in defaults.items() if value} == {
        name: default for name, default in rows.items() if name not in ("model", "classes")
    }


def test_flags_override_the_environment(monkeypatch):
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
def test_an_invalid_setting_is_named(monkeypatch, name, value):
    monkeypatch.setenv(f"BOXWRIGHT_{name}", value)
    with pytest.raises(SettingError, match=re.escape(f"BOXWRIGHT_{name}")) as error:
        read_settings()
    assert value in str(error.value)


def test_flags_override_the_environment_which_overrides_the_file(monkeypatch, tmp_path):
    file = tmp_path / "boxwright.toml"
    file.write_text('port = 7000\nqueue_size = 5\nhost = "::"\n', encoding="utf-8")
    monkeypatch.setenv("BOXWRIGHT_QUEUE_SIZE", "6")
    monkeypatch.setenv("BOXWRIGHT_PORT", "7001")
    settings = read_settings(file, port=7002)
    assert (settings.port, settings.queue_size, settings.host) == (7002, 6, "::")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("queue_size = 0", "BOXWRIGHT_QUEUE_SIZE"),
        ("quesize = 5", r"boxwright\.toml: unknown setting 'quesize'\. Did you mean 'queue_size'\?"),
        ("[service]\nport = 5", "unknown setting 'service'"),
        ("port = ", "not a TOML file"),
        ("model = '\udcff'", "not a TOML file"),
    ],
)
def test_an_invalid_file_is_refused_and_its_error_is_named(tmp_path, text, message):
    file = tmp_path / "boxwright.toml"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(SettingError, match=message):
        read_settings(file)


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_settings(tmp_path / "none.toml")


def test_a_notice_as_long_as_the_grace_time_is_refused():
    with pytest.raises(SettingError, match=r"notice_seconds \(30\) must be less than grace_seconds \(30\)"):
        read_settings(notice_seconds=30)


def test_the_printed_toml_file_sets_the_same_values(tmp_path):
    values = {"queue_size": 7, "models": "m", "max_model_bytes": 5, "max_image_bytes": 2**20, "input_size": 96}
    settings = read_settings(model='a "quoted"\\path.safetensors', **values)
    file = tmp_path / "boxwright.toml"
    file.write_text(settings.as_toml(), encoding="utf-8")
    assert read_settings(file).model_dump() == settings.model_dump()
    for name in Settings.model_fields:
        assert f"\n{name} = " in settings.as_toml()
    assert "\n# model is not set" in Settings().as_toml()
