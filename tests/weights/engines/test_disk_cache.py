"""Engines kept on disk: the same numbers, never trusted when damaged, never in the way."""

import importlib.metadata
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from detector.engines.onnxruntime import GRAPH, KERNELS, OnnxEngine
from detector.errors import ModelFileError
from detector.network import Conv
from detector.spec import Model, ModelSpec
from weights.embedded import EMBEDDED
from weights.engines import disk_cache as kept_engines
from weights.engines import ready
from weights.engines.disk_cache import FACTS
from weights.engines.factory import prepare_engine
from weights.formats.darknet.weights import write_darknet
from weights.formats.safetensors import content_checksum, load_model, save_model
from weights.hub.cache import path_of
from weights.hub.catalogue import entries, spec_of
from weights.hub.fetch import pull


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """An empty cache, in which engines of small models are kept too."""
    monkeypatch.setenv("BOXWRIGHT_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("BOXWRIGHT_ENGINES", raising=False)
    monkeypatch.setattr(ready, "SMALL", 0)
    return tmp_path / "home" / "engines"


@pytest.fixture
def file(tiny_model, tmp_path):
    path = tmp_path / "tiny.safetensors"
    save_model(tiny_model, path)
    return path


def images(size, count=2):
    return np.random.default_rng(4).uniform(0, 255, (count, size, size, 3)).astype(np.float32)


def kept(home):
    return sorted(place.name for place in home.iterdir())


def test_calls_beside_one_another_have_a_session_once_the_engine_is_kept(file, monkeypatch):
    monkeypatch.setattr("detector.engines.onnxruntime.LANES_UP_TO", 0)
    cold = prepare_engine(str(file), lanes=True)
    assert cold.engine.narrow is None  # as of a large model
    cold.keep()
    x = images(64, 1)
    for engine in (cold.engine, prepare_engine(str(file), lanes=True).engine):
        assert engine.narrow is not None
        assert engine.narrow is not engine.session
        np.testing.assert_array_equal(engine.beside(x), engine(x))


@pytest.mark.parametrize("why", ["none are kept", "none can be kept"])
def test_where_no_engine_is_kept_a_small_one_gets_a_session_of_its_own_when_the_start_is_over(file, monkeypatch, home, why):
    if why == "none are kept":
        monkeypatch.setenv("BOXWRIGHT_ENGINES", "0")
    else:
        home.parent.write_bytes(b"no folder")
    ready = prepare_engine(str(file), lanes=True)
    assert ready.engine.narrow is None
    ready.keep()
    x = images(64, 1)
    assert ready.engine.narrow is not None
    np.testing.assert_array_equal(ready.engine.beside(x), ready.engine(x))


@pytest.mark.parametrize("name", EMBEDDED)
def test_a_kept_engine_computes_the_same_bits(name):
    cold = prepare_engine(name)
    cold.keep()
    warm = prepare_engine(name)
    assert isinstance(cold.facts, Model)
    assert not isinstance(warm.facts, Model)
    assert (warm.facts.name, warm.facts.spec, warm.facts.provenance) == (cold.facts.name, cold.facts.spec, cold.facts.provenance)
    x = images(cold.facts.spec.input_size)
    np.testing.assert_array_equal(warm.engine(x), cold.engine(x))
    np.testing.assert_array_equal(warm.engine(x), OnnxEngine.of(load_model(EMBEDDED[name]))(x))


def test_a_second_start_reads_no_arrays_and_builds_no_graph(file):
    prepare_engine(str(file)).keep()
    code = (
        f"import sys; from weights.engines import ready; ready.SMALL = 0; one = ready.load_ready({str(file)!r});"
        "print(type(one.facts).__name__, 'onnx' in sys.modules, 'requests' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["CachedEngine", "False", "False"]


def test_another_model_of_the_same_name_is_another_engine(file, tiny_model):
    prepare_engine(str(file)).keep()
    arrays = dict(tiny_model.arrays)
    arrays["linear/bias"] = arrays["linear/bias"] + 1
    save_model(replace(tiny_model, arrays=arrays), file)
    other = prepare_engine(str(file))
    assert isinstance(other.facts, Model)
    x = images(64)
    np.testing.assert_allclose(other.engine(x) - OnnxEngine.of(tiny_model)(x), 1, atol=1e-4)


@pytest.mark.parametrize(
    ("what", "other"),
    [("detector.engines.onnxruntime.instructions", lambda: "flags : another processor's"), ("onnxruntime.__version__", "0.0.1")],
)
def test_another_processor_or_onnxruntime_has_another_engine(what, other, file, monkeypatch):
    prepare_engine(str(file)).keep()
    assert not isinstance(prepare_engine(str(file)).facts, Model)
    monkeypatch.setattr(what, other)
    assert isinstance(prepare_engine(str(file)).facts, Model)


@pytest.mark.parametrize("name", [GRAPH, KERNELS, FACTS])
@pytest.mark.parametrize("damage", ["flipped", "cut", "gone", "emptied"])
def test_damage_is_seen_said_and_mended(name, damage, home, tmp_path, caplog):
    layers = (Conv("a", 16), Conv("b", 16))
    rng = np.random.default_rng(0)
    arrays = {f"{each}/{part}": np.ones(16, np.float32) for each in "ab" for part in ("gamma", "beta", "mean", "variance")}
    arrays |= {
        "a/kernel": rng.normal(size=(3, 3, 3, 16)).astype(np.float32),
        "b/kernel": rng.normal(size=(3, 3, 16, 16)).astype(np.float32),
    }
    file = tmp_path / "two.safetensors"
    save_model(Model("two", ModelSpec((), (), layers, 32), arrays), file)
    sound = prepare_engine(str(file))
    sound.keep()
    (key,) = kept(home)
    victim = home / key / name
    data = bytearray(victim.read_bytes())
    if damage == "flipped":
        data[len(data) // 2] ^= 4
    victim.unlink()
    if damage != "gone":
        victim.write_bytes({"flipped": data, "cut": data[: len(data) // 2], "emptied": b""}[damage])
    again = prepare_engine(str(file))
    assert isinstance(again.facts, Model)
    assert "is damaged" in caplog.text
    assert kept(home) == []
    x = images(32)
    np.testing.assert_array_equal(again.engine(x), sound.engine(x))
    again.keep()
    assert kept(home) == [key]


def test_no_folder_at_all_is_said_and_does_no_harm(home, file, caplog):
    home.parent.write_text("a file where the folder should be")
    one = prepare_engine(str(file))
    one.keep()
    assert "the engine of tiny-random is not kept for the next start" in caplog.text
    assert "BOXWRIGHT_HOME" in caplog.text
    assert one.engine(images(64)).shape == (2, 2, 2, 2, 8)


def test_what_onnxruntime_cannot_write_leaves_nothing_behind(home, file, caplog, monkeypatch):
    monkeypatch.setattr("detector.engines.onnxruntime.GRAPH", "no such folder/graph.onnx")
    prepare_engine(str(file)).keep()
    assert "is not kept for the next start" in caplog.text
    assert kept(home) == []


def test_a_full_disk_is_not_filled_further(home, file, caplog, monkeypatch):
    usage = shutil.disk_usage(file.parent)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    prepare_engine(str(file)).keep()
    assert "of 1,000 that are free" in caplog.text
    assert kept(home) == []


def test_the_engines_not_used_for_longest_make_room(home, tiny_model, tmp_path, monkeypatch):
    files = []
    for number in range(3):
        files.append(tmp_path / f"{number}.safetensors")
        save_model(replace(tiny_model, name=f"model-{number}"), files[-1])
    keys = [kept_engines.key_of(content_checksum(file)) for file in files]
    for age, file in enumerate(files[:2]):
        prepare_engine(str(file)).keep()
        os.utime(home / keys[age], (1000 + age, 1000 + age))
    prepare_engine(str(files[0]))  # is used again
    size = sum(file.stat().st_size for file in (home / keys[0]).iterdir())
    monkeypatch.setattr(kept_engines, "MAX_BYTES", int(2.5 * size))
    abandoned = home / ".0123.part"
    abandoned.mkdir()
    os.utime(abandoned, (1000, 1000))
    prepare_engine(str(files[2])).keep()
    assert kept(home) == sorted([keys[0], keys[2]])


def test_whoever_wants_none_has_none(home, file, monkeypatch):
    monkeypatch.setenv("BOXWRIGHT_ENGINES", "0")
    prepare_engine(str(file)).keep()
    assert not home.exists()


def test_a_model_of_the_catalogue_is_told_by_its_files_hash(random_arrays, tmp_path):
    entry = entries()["darknet19"]
    spec = spec_of(entry)
    weights = tmp_path / "mine.weights"
    old = {"darknet.minor": "1"}  # a header as that file has it
    write_darknet(Model("random", spec, random_arrays(spec.network, 1), old), tmp_path / "mine.cfg", weights)
    pull(entry.name, source=weights)
    cold = prepare_engine(entry.name)
    cold.keep()
    warm = prepare_engine(entry.name)
    assert not isinstance(warm.facts, Model)
    assert warm.facts.provenance == cold.facts.provenance
    assert len(warm.facts.provenance["sha256"]) == 64
    x = images(spec.input_size, 1)
    np.testing.assert_array_equal(warm.engine(x), cold.engine(x))
    path_of(entry).write_bytes(path_of(entry).read_bytes()[:-4] + b"\0\0\0\0")
    with pytest.raises(ModelFileError, match="its hash is"):
        prepare_engine(entry.name)


def test_another_version_of_the_package_that_writes_graphs_is_another_key(monkeypatch):
    before, version = kept_engines.key_of("a model"), importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.0" if name == "onnx" else version(name))
    assert kept_engines.key_of("a model") != before
