"""The comparison of engines after the first start ("race"): its measurements, and its stored winner."""

import json

import numpy as np
import pytest

pytest.importorskip("openvino", reason="needs the extra 'openvino'")

from detector.engines.cores import usable_cores
from weights.embedded import EVERYDAY
from weights.engines import disk_cache, race
from weights.engines.factory import choose_engine, possible_choices, prepare_engine
from weights.engines.options import EngineOptions
from weights.engines.race import Job, JobResult
from weights.formats.safetensors import save_model
from weights.hub.resolve import ModelSource

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def source(tiny_model, tmp_path):
    path = tmp_path / "tiny.safetensors"
    save_model(tiny_model, path)
    return ModelSource(path)


def test_every_job_is_measured_in_its_own_process_and_a_failed_one_is_reported(source):
    jobs = [Job(str(source.path), "onnxruntime", "float32", threads=1), Job(str(source.path), "openvino", "float32", input_size=96)]
    wrong = Job(str(source.path), "onnxruntime", "float32", input_size=100)
    first, second, failed = race.race([*jobs, wrong], seconds=0.01, throughput_seconds=0.01)
    assert [result.job for result in (first, second)] == jobs
    assert (first.input_size, second.input_size) == (64, 96)
    for result in (first, second):
        assert result.error is None
        assert min(result.latency_ms, result.images_per_second, result.memory_mib, result.start_seconds) > 0
    assert "input size 100: this network needs a multiple of 32" in failed.error


def results(times):
    return lambda jobs: [JobResult(job, 64, times[job.engine]) for job in jobs]


def test_the_winner_is_stored_and_used_by_the_next_start(source, home, monkeypatch):
    options = EngineOptions()
    assert choose_engine(source, options, raced=True).engine == "onnxruntime"
    monkeypatch.setattr(race, "race", results({"onnxruntime": 3.0, "openvino": 2.0}))
    prepared = prepare_engine(str(source.path), options, raced=True)
    assert prepared.engine.name == "onnxruntime"
    prepared.race()
    (file,) = home.glob("*.winner")
    assert json.loads(file.read_bytes())["engine"] == "openvino"
    assert choose_engine(source, options, raced=True).engine == "openvino"
    assert choose_engine(source, options).engine == "onnxruntime"  # a short command
    assert choose_engine(source, EngineOptions("onnxruntime"), raced=True).engine == "onnxruntime"
    monkeypatch.setattr(race, "race", results({}))  # a second race would fail
    assert prepare_engine(str(source.path), options, raced=True).engine.name == "openvino"
    prepare_engine(str(source.path), options, raced=True).race()


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("weights.engines.race.usable_cores", lambda: usable_cores() + 1),
        ("detector.engines.onnxruntime.cpu_flags", lambda: "flags : of another processor"),
        ("weights.engines.race.metadata.version", lambda _: "0.0"),
    ],
)
def test_engines_are_raced_again_on_another_machine_or_version(source, monkeypatch, attribute, value):
    monkeypatch.setattr(race, "race", results({"onnxruntime": 3.0, "openvino": 2.0}))
    choices = possible_choices(source, EngineOptions())
    race.race_and_store(choices)
    assert race.read_winner(choices).engine == "openvino"
    monkeypatch.setattr(attribute, value)
    assert race.read_winner(choices) is None


def test_engines_are_raced_again_for_another_input_size(source, monkeypatch):
    monkeypatch.setattr(race, "race", results({"onnxruntime": 3.0, "openvino": 2.0}))
    race.race_and_store(possible_choices(source, EngineOptions()))
    assert race.read_winner(possible_choices(source, EngineOptions(input_size=96))) is None


@pytest.mark.parametrize("content", [b"", b"[]", b'{"engine": "openvino"}', b'{"engine": "abacus", "precision": "float32"}'])
def test_a_damaged_winner_is_not_used(source, monkeypatch, home, content):
    monkeypatch.setattr(race, "race", results({"onnxruntime": 3.0, "openvino": 2.0}))
    choices = possible_choices(source, EngineOptions())
    race.race_and_store(choices)
    (file,) = home.glob("*.winner")
    file.write_bytes(content)
    assert race.read_winner(choices) is None


def test_a_winner_that_other_users_can_write_is_not_used(source, monkeypatch, home, caplog):
    monkeypatch.setattr(race, "race", results({"onnxruntime": 3.0, "openvino": 2.0}))
    choices = possible_choices(source, EngineOptions())
    race.race_and_store(choices)
    home.chmod(0o777)
    assert race.read_winner(choices) is None
    assert "other users can write it" in caplog.text


def test_engines_that_fail_do_not_win(source, monkeypatch, caplog):
    choices = possible_choices(source, EngineOptions())
    monkeypatch.setattr(race, "race", lambda jobs: [JobResult(jobs[0], error="out of memory"), JobResult(jobs[1], 64, 5.0)])
    assert race.race_and_store(choices).engine == "openvino"
    assert "the engine onnxruntime in float32 did not run: out of memory" in caplog.text


def test_nothing_is_raced_if_the_winner_cannot_be_stored(source, monkeypatch, home, caplog):
    choices = possible_choices(source, EngineOptions())
    home.parent.write_text("a file where the folder should be")
    monkeypatch.setattr(race, "race", results({}))  # a race would fail
    assert race.race_and_store(choices) is None
    assert "the engines are not raced" in caplog.text


def test_nothing_is_raced_without_a_cache(monkeypatch):
    monkeypatch.setenv("BOXWRIGHT_ENGINES", "0")
    monkeypatch.setattr(race, "race", results({}))
    prepare_engine(str(EVERYDAY), EngineOptions(), raced=True).race()
    assert not disk_cache.engines_folder().exists()


def test_an_openvino_engine_is_cached_and_computes_the_same(source, home):
    options = EngineOptions("openvino")
    cold = prepare_engine(str(source.path), options, concurrent_sessions=True)
    cold.persist()
    warm = prepare_engine(str(source.path), options, concurrent_sessions=True)
    assert (type(warm.facts).__name__, warm.engine.name, warm.engine.precision) == ("CachedEngine", "openvino", "float32")
    x = np.random.default_rng(1).uniform(0, 255, (2, 64, 64, 3)).astype(np.float32)
    np.testing.assert_array_equal(warm.engine(x), cold.engine(x))
    np.testing.assert_array_equal(warm.engine.run_concurrently(x), cold.engine(x))
    (folder,) = home.iterdir()
    (folder / "compiled.blob").write_bytes(b"damaged")
    rebuilt = prepare_engine(str(source.path), options)
    assert type(rebuilt.facts).__name__ == "Model"
    np.testing.assert_array_equal(rebuilt.engine(x), cold.engine(x))
