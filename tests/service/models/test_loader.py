"""Memory limits and engine options of the model folder."""

from math import prod

import pytest

from detector.engines.support import MAX_SECOND_SESSION_BYTES
from detector.errors import SettingError
from detector.network.shapes import array_shapes
from service.models.loaded_model import estimate_memory
from service.models.loader import LOADING_FACTOR, ModelLoader, available_memory
from service.settings import Settings
from weights.embedded import EVERYDAY_INT8
from weights.engines.options import EngineOptions
from weights.formats.memory_entries import MAX_MEMORY_BYTES
from weights.formats.safetensors import MAX_HEADER_BYTES, load_model
from weights.repository.publish import add_version, remove_version

MIB = 2**20


@pytest.fixture(autouse=True)
def two_cores(monkeypatch):
    """The estimate depends on the number of cores."""
    for module in ("loader", "loaded_model"):
        monkeypatch.setattr(f"service.models.{module}.usable_cores", lambda: 2)


def test_model_beyond_the_budget_is_rejected_and_loaded_once_it_fits(watch, models, tiny_model, another_model):
    needed = estimate_memory(tiny_model.spec, None)
    for name in ("a", "b"):
        add_version(models, name, tiny_model)
    folder = watch(budget=2 * needed)
    assert folder.served == {"a": ["1"], "b": ["1"]}
    assert {model.memory for model in folder.registry} == {needed}
    add_version(models, "c", another_model)
    folder.scan(4)
    assert folder.served == {"a": ["1"], "b": ["1"]}
    assert "Remove a model, or raise BOXWRIGHT_MAX_MODEL_BYTES" in folder.rejected["c", "1"]
    assert [rejected.out_of_memory for rejected in folder.registry.rejected] == [True]
    assert folder.registry.rejection_count == 1
    for name in ("a", "b"):
        remove_version(models, name)
    assert folder.scan().served == {"c": ["1"]}
    assert not folder.rejected


def test_file_that_is_larger_than_the_free_memory_is_rejected_before_it_is_copied(watch, models, tiny_model):
    """The copy is in memory, and a sparse file of any size takes no space on the disk."""
    needed = estimate_memory(tiny_model.spec, None)
    folder = watch(budget=needed)
    with (models / "large.safetensors").open("wb") as file:
        file.truncate(MAX_MEMORY_BYTES + MAX_HEADER_BYTES + needed + 1)
    folder.scan(4)
    assert "raise BOXWRIGHT_MAX_MODEL_BYTES" in folder.rejected["large", "1"]
    assert [rejected.out_of_memory for rejected in folder.registry.rejected] == [True]


def test_model_that_does_not_fit_in_addition_to_the_others_is_rejected_until_they_are_removed(watch, models, tiny_model):
    """Loading takes more memory than the loaded model. Without this check the process would be killed."""
    needed = estimate_memory(tiny_model.spec, None)
    add_version(models, "a", tiny_model)
    folder = watch(budget=3 * needed, process_limit=LOADING_FACTOR * needed)
    assert folder.served == {"a": ["1"]}
    add_version(models, "b", tiny_model)
    assert folder.scan(3).served == {"a": ["1"]}
    assert "give the service more memory" in folder.rejected["b", "1"]
    assert folder.registry.rejection_count == 1
    remove_version(models, "a")
    assert folder.scan().served == {"b": ["1"]}


def test_memory_is_checked_before_the_weights_are_read(watch, models, tiny_model):
    path = add_version(models, "mine", tiny_model).path
    path.write_bytes(path.read_bytes()[:-4] + b"oops")  # damaged weights, which only a full read detects
    assert "the model needs" in watch(budget=1).rejected["mine", "1"]


def test_parallel_calls_are_limited_to_what_fits_into_the_budget(watch, models, tiny_model, monkeypatch):
    monkeypatch.setattr("service.models.loader.usable_cores", lambda: 16)
    add_version(models, "mine", tiny_model)
    memory = {calls: estimate_memory(tiny_model.spec, None, calls) for calls in (1, 5, 16)}
    assert watch(budget=memory[16]).registry.get("mine").max_concurrency == 16
    limited = watch(budget=memory[5]).registry.get("mine")
    assert (limited.max_concurrency, limited.memory) == (5, memory[5])
    assert watch(budget=memory[1]).registry.get("mine").max_concurrency == 1


def test_each_parallel_call_adds_its_activations_and_the_second_session_adds_its_weights(tiny_model):
    memory = [estimate_memory(tiny_model.spec, None, calls) for calls in (1, 2, 3, 4)]
    activations = memory[2] - memory[1]
    assert memory[3] - memory[2] == activations > 0
    shapes = array_shapes(tiny_model.spec.network).values()
    weights = sum(4 * prod(shape) for shape in shapes)
    assert weights <= MAX_SECOND_SESSION_BYTES
    assert memory[1] - memory[0] == activations + weights


def test_default_budget_is_half_of_the_available_memory(tmp_path):
    assert ModelLoader.of(Settings(max_model_bytes=5)).budget == 5
    assert 0 < ModelLoader.of(Settings()).budget == available_memory() // 2
    (tmp_path / "memory.max").write_text("1048576\n")
    assert available_memory(tmp_path) == MIB
    (tmp_path / "memory.max").write_text("max\n")
    assert available_memory(tmp_path) == available_memory(tmp_path / "none")
    (tmp_path / "memory.max").unlink()
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text("2097152\n")
    assert available_memory(tmp_path) == 2 * MIB


@pytest.mark.parametrize(("process_cgroups", "root"), [("0::/a/b\n", ""), ("4:memory:/a/b\n0::/\n", "memory/")])
def test_lowest_limit_of_the_control_group_and_its_parents_applies(tmp_path, process_cgroups, root):
    own = tmp_path / root / "a" / "b"
    own.mkdir(parents=True)
    (tmp_path / "process_cgroups").write_text(process_cgroups)
    name = "memory.limit_in_bytes" if root else "memory.max"
    (own / name).write_text("2097152\n")
    assert available_memory(tmp_path, tmp_path / "process_cgroups") == 2 * MIB
    (own.parent / name).write_text("1048576\n")
    assert available_memory(tmp_path, tmp_path / "process_cgroups") == MIB


def test_the_options_of_the_service_apply_to_every_model_of_the_folder(models, tiny_model):
    path = add_version(models, "mine", tiny_model)
    loader = ModelLoader(EngineOptions("onnxruntime", precision="auto", input_size=96), 1000 * MIB)
    loaded = loader.load(path, models, 1000 * MIB)
    assert (loaded.detector.spec.input_size, loaded.precision, loaded.engine) == (96, "float32", "onnxruntime")
    assert loaded.memory == estimate_memory(tiny_model.at_input_size(96).spec, None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (EngineOptions(input_size=100), "input size 100: this network needs a multiple of 32"),
        (EngineOptions(precision="int8"), "this model has no 8-bit version"),
    ],
)
def test_a_model_that_does_not_support_the_options_is_an_error_that_names_its_file(models, tiny_model, options, message):
    version = add_version(models, "mine", tiny_model)
    with pytest.raises(SettingError, match=rf"mine/1/model.safetensors: {message}"):
        ModelLoader(options, 1000 * MIB).load(version, models, 1000 * MIB)


def test_an_8_bit_model_of_the_folder_can_be_computed_in_float32(models):
    version = add_version(models, "mine", load_model(EVERYDAY_INT8))
    for precision in ("int8", "float32"):
        loaded = ModelLoader(EngineOptions("onnxruntime", precision=precision), 1000 * MIB).load(version, models, 1000 * MIB)
        assert loaded.precision == precision
