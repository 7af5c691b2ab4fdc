"""The engine cache: identical results, damaged and foreign files are not used, and an unusable cache is not an error."""

import importlib.metadata
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from detector.engines.onnxruntime import GRAPH_FILE, KERNELS_FILE, OnnxEngine
from detector.errors import ModelFileError
from detector.network.layers import Conv
from detector.network.spec import Model, ModelSpec
from weights.embedded import EMBEDDED
from weights.engines import disk_cache
from weights.engines.disk_cache import METADATA
from weights.engines.factory import prepare_engine
from weights.formats.darknet.weights import write_darknet
from weights.formats.safetensors import content_checksum, load_model, save_model
from weights.hub.cache import cached_path
from weights.hub.catalogue import entries, spec_of
from weights.hub.fetch import pull

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def file(tiny_model, tmp_path):
    path = tmp_path / "tiny.safetensors"
    save_model(tiny_model, path)
    return path


def images(size, count=2):
    return np.random.default_rng(4).uniform(0, 255, (count, size, size, 3)).astype(np.float32)


def cached_keys(home):
    return sorted(folder.name for folder in home.iterdir())


def test_parallel_calls_get_a_session_once_the_engine_is_cached(file, monkeypatch):
    monkeypatch.setattr("detector.engines.onnxruntime.MAX_SECOND_SESSION_BYTES", 0)
    cold = prepare_engine(str(file), concurrent_sessions=True)
    assert cold.engine.single_threaded_session is None  # as for a large model
    cold.persist()
    x = images(64, 1)
    for engine in (cold.engine, prepare_engine(str(file), concurrent_sessions=True).engine):
        assert engine.single_threaded_session is not None
        assert engine.single_threaded_session is not engine.session
        np.testing.assert_array_equal(engine.run_concurrently(x), engine(x))


@pytest.mark.parametrize("why", ["disabled", "unwritable"])
def test_without_a_cache_a_small_engine_gets_a_second_session_after_the_start(file, monkeypatch, home, why):
    if why == "disabled":
        monkeypatch.setenv("BOXWRIGHT_ENGINES", "0")
    else:
        home.parent.write_bytes(b"a file")
    ready = prepare_engine(str(file), concurrent_sessions=True)
    assert ready.engine.single_threaded_session is None
    ready.persist()
    x = images(64, 1)
    assert ready.engine.single_threaded_session is not None
    np.testing.assert_array_equal(ready.engine.run_concurrently(x), ready.engine(x))


@pytest.mark.parametrize("name", EMBEDDED)
def test_a_cached_engine_computes_bit_identical_results(name):
    cold = prepare_engine(name)
    cold.persist()
    warm = prepare_engine(name)
    assert isinstance(cold.facts, Model)
    assert not isinstance(warm.facts, Model)
    assert (warm.facts.name, warm.facts.spec, warm.facts.provenance) == (cold.facts.name, cold.facts.spec, cold.facts.provenance)
    x = images(cold.facts.spec.input_size)
    np.testing.assert_array_equal(warm.engine(x), cold.engine(x))
    np.testing.assert_array_equal(warm.engine(x), OnnxEngine.of(load_model(EMBEDDED[name]))(x))


def test_a_second_start_neither_reads_arrays_nor_builds_a_graph(file):
    prepare_engine(str(file)).persist()
    code = (
        "import sys; from weights.engines import factory; factory.MIN_CACHED_FILE_BYTES = 0;"
        f"prepared = factory.prepare_engine({str(file)!r});"
        "print(type(prepared.facts).__name__, 'onnx' in sys.modules, 'requests' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["CachedEngine", "False", "False"]


def test_a_different_model_in_the_same_file_gets_its_own_engine(file, tiny_model):
    prepare_engine(str(file)).persist()
    arrays = dict(tiny_model.arrays)
    arrays["linear/bias"] = arrays["linear/bias"] + 1
    save_model(replace(tiny_model, arrays=arrays), file)
    other = prepare_engine(str(file))
    assert isinstance(other.facts, Model)
    x = images(64)
    np.testing.assert_allclose(other.engine(x) - OnnxEngine.of(tiny_model)(x), 1, atol=1e-4)


@pytest.mark.parametrize(
    ("attribute", "value"),
    [("detector.engines.onnxruntime.cpu_flags", lambda: "flags : of another processor"), ("onnxruntime.__version__", "0.0.1")],
)
def test_a_different_processor_or_onnxruntime_does_not_use_the_cached_engine(attribute, value, file, monkeypatch):
    prepare_engine(str(file)).persist()
    assert not isinstance(prepare_engine(str(file)).facts, Model)
    monkeypatch.setattr(attribute, value)
    assert isinstance(prepare_engine(str(file)).facts, Model)


@pytest.mark.parametrize("name", [GRAPH_FILE, KERNELS_FILE, METADATA])
@pytest.mark.parametrize("damage", ["flipped", "cut", "missing", "emptied"])
def test_a_damaged_cached_engine_is_reported_deleted_and_replaced(name, damage, home, tmp_path, caplog):
    layers = (Conv("a", 16), Conv("b", 16))
    rng = np.random.default_rng(0)
    arrays = {f"{each}/{part}": np.ones(16, np.float32) for each in "ab" for part in ("gamma", "beta", "mean", "variance")}
    arrays |= {
        "a/kernel": rng.normal(size=(3, 3, 3, 16)).astype(np.float32),
        "b/kernel": rng.normal(size=(3, 3, 16, 16)).astype(np.float32),
    }
    file = tmp_path / "two.safetensors"
    save_model(Model("two", ModelSpec((), (), layers, 32), arrays), file)
    original = prepare_engine(str(file))
    original.persist()
    (key,) = cached_keys(home)
    damaged_file = home / key / name
    data = bytearray(damaged_file.read_bytes())
    if damage == "flipped":
        data[len(data) // 2] ^= 4
    damaged_file.unlink()
    if damage != "missing":
        damaged_file.write_bytes({"flipped": data, "cut": data[: len(data) // 2], "emptied": b""}[damage])
    rebuilt = prepare_engine(str(file))
    assert isinstance(rebuilt.facts, Model)
    assert "is damaged" in caplog.text
    assert cached_keys(home) == []
    x = images(32)
    np.testing.assert_array_equal(rebuilt.engine(x), original.engine(x))
    rebuilt.persist()
    assert cached_keys(home) == [key]


def test_an_unwritable_cache_is_reported_and_the_engine_works(home, file, caplog):
    home.parent.write_text("a file where the folder should be")
    prepared = prepare_engine(str(file))
    prepared.persist()
    assert "the engine of tiny-random is not cached for the next start" in caplog.text
    assert "BOXWRIGHT_HOME" in caplog.text
    assert prepared.engine(images(64)).shape == (2, 2, 2, 2, 8)


def test_a_failed_write_leaves_nothing_behind(home, file, caplog, monkeypatch):
    monkeypatch.setattr("detector.engines.onnxruntime.GRAPH_FILE", "no such folder/graph.onnx")
    prepare_engine(str(file)).persist()
    assert "is not cached for the next start" in caplog.text
    assert cached_keys(home) == []


def test_nothing_is_cached_on_a_nearly_full_disk(home, file, caplog, monkeypatch):
    usage = shutil.disk_usage(file.parent)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    prepare_engine(str(file)).persist()
    assert "half of the 1,000 free bytes" in caplog.text
    assert cached_keys(home) == []


def test_the_least_recently_used_engines_are_deleted(home, tiny_model, tmp_path, monkeypatch):
    files = []
    for number in range(3):
        files.append(tmp_path / f"{number}.safetensors")
        save_model(replace(tiny_model, name=f"model-{number}"), files[-1])
    keys = [disk_cache.engine_key(content_checksum(file)) for file in files]
    for age, file in enumerate(files[:2]):
        prepare_engine(str(file)).persist()
        os.utime(home / keys[age], (1000 + age, 1000 + age))
    prepare_engine(str(files[0]))  # uses the engine of model 0 again
    size = sum(file.stat().st_size for file in (home / keys[0]).iterdir())
    monkeypatch.setattr(disk_cache, "MAX_CACHE_BYTES", int(2.5 * size))
    abandoned = home / ".0123.part"
    abandoned.mkdir()
    os.utime(abandoned, (1000, 1000))
    prepare_engine(str(files[2])).persist()
    assert cached_keys(home) == sorted([keys[0], keys[2]])


def test_the_environment_variable_turns_the_cache_off(home, file, monkeypatch):
    monkeypatch.setenv("BOXWRIGHT_ENGINES", "0")
    prepare_engine(str(file)).persist()
    assert not home.exists()


def test_a_catalogue_model_is_identified_by_the_hash_of_its_file(random_arrays, tmp_path):
    entry = entries()["darknet19"]
    spec = spec_of(entry)
    weights = tmp_path / "mine.weights"
    old = {"darknet.minor": "1"}  # the header version of the official file
    write_darknet(Model("random", spec, random_arrays(spec.network, 1), old), tmp_path / "mine.cfg", weights)
    pull(entry.name, source=weights)
    cold = prepare_engine(entry.name)
    cold.persist()
    warm = prepare_engine(entry.name)
    assert not isinstance(warm.facts, Model)
    assert warm.facts.provenance == cold.facts.provenance
    assert len(warm.facts.provenance["sha256"]) == 64
    x = images(spec.input_size, 1)
    np.testing.assert_array_equal(warm.engine(x), cold.engine(x))
    cached_path(entry).write_bytes(cached_path(entry).read_bytes()[:-4] + b"\0\0\0\0")
    with pytest.raises(ModelFileError, match="its hash is"):
        prepare_engine(entry.name)


def test_the_cache_key_depends_on_the_version_of_onnx(monkeypatch):
    before, version = disk_cache.engine_key("a model"), importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.0" if name == "onnx" else version(name))
    assert disk_cache.engine_key("a model") != before


@pytest.mark.parametrize("level", ["cache", "engine"])
def test_a_cache_that_other_users_can_write_is_not_used(file, home, level, caplog):
    prepare_engine(str(file)).persist()
    (key,) = cached_keys(home)
    folder = home if level == "cache" else home / key
    folder.chmod(0o777)
    assert isinstance(prepare_engine(str(file)).facts, Model)
    assert f"{folder} is not used: other users can write it" in caplog.text
    assert cached_keys(home) == [key]
    folder.chmod(0o755)
    assert not isinstance(prepare_engine(str(file)).facts, Model)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change the owner of a folder")
def test_an_engine_of_another_user_is_not_used(file, home):
    prepare_engine(str(file)).persist()
    (key,) = cached_keys(home)
    os.chown(home / key, 12345, 12345)
    assert isinstance(prepare_engine(str(file)).facts, Model)


def test_a_symbolic_link_to_a_cached_engine_is_not_used(file, home, tmp_path):
    prepare_engine(str(file)).persist()
    (key,) = cached_keys(home)
    (home / key).rename(tmp_path / "elsewhere")
    (home / key).symlink_to(tmp_path / "elsewhere")
    assert isinstance(prepare_engine(str(file)).facts, Model)


def test_new_cache_folders_are_writable_only_for_their_owner(file, home):
    home.mkdir(parents=True)
    home.chmod(0o777)
    prepare_engine(str(file)).persist()
    (key,) = cached_keys(home)
    assert [folder.stat().st_mode & 0o777 for folder in (home, home / key)] == [0o755, 0o755]
