"""Which precisions a model has, which of them "auto" permits, and which engines are candidates."""

from dataclasses import replace

import numpy as np
import pytest

from detector.errors import SettingError
from detector.network.layers import Conv
from detector.network.quantization import Quantization
from detector.network.spec import Model, ModelSpec
from weights.embedded import EVERYDAY, EVERYDAY_INT8
from weights.engines import factory
from weights.engines.factory import choose_engine, possible_choices, prepare_engine
from weights.engines.options import EngineOptions
from weights.engines.precision import QUANTIZED_FROM_ARRAYS, RecordedAp, Versions, add_provenance, ap_record, recorded_ap50
from weights.formats.safetensors import arrays_checksum, load_model, read_header, save_model
from weights.hub.resolve import ModelSource, find_model

IMAGES = "301 images (animals, val)"


@pytest.fixture
def processor(monkeypatch):
    """(flags) -> make the processor appear to have these instruction sets."""
    return lambda flags: monkeypatch.setattr("detector.engines.cores.cpu_flags", lambda *_: f"flags : {flags}")


@pytest.fixture
def installed(monkeypatch):
    """(engines) -> make only these engines appear installed."""
    return lambda *names: monkeypatch.setattr(factory, "installed_engines", lambda: names)


@pytest.fixture
def files(tmp_path, random_arrays):
    """(provenance of the float32 file, provenance of the 8-bit file or None) -> the float32 file."""
    layers = (Conv("a", 14, normalize=False, activation="linear"),)
    model = Model("mine", ModelSpec(("x", "y"), ((1.0, 1.0), (2.0, 2.0)), layers, 32), random_arrays(layers, 1))
    ranges = {"pixels/scaled": (0.0, 1.0), "a": (-5.0, 5.0)}

    def write(float32, int8=None):
        path = tmp_path / "mine.safetensors"
        save_model(replace(model, provenance=float32), path)
        if int8 is not None:
            provenance = {QUANTIZED_FROM_ARRAYS: arrays_checksum(path)} | int8
            quantized = replace(model, name="mine-int8", quantization=Quantization(("a",), ranges), provenance=provenance)
            save_model(quantized, tmp_path / "mine-int8.safetensors")
        return path

    return write


def allowed(path, choice="auto"):
    return Versions.of(ModelSource(path)).allowed(choice)


def test_everyday_has_two_files_under_one_name(processor):
    processor("avx512_vnni")
    versions = Versions.of(find_model("everyday"))
    assert versions.sources["float32"].path == EVERYDAY
    assert versions.sources["int8"].path == EVERYDAY_INT8
    assert versions.sources["int8"].load().name == load_model(EVERYDAY).name == "everyday"
    assert versions.allowed("auto") == ("int8",)
    assert allowed(EVERYDAY_INT8, None) == ("int8",)
    assert allowed(EVERYDAY, None) == ("float32",)


@pytest.mark.parametrize(
    ("float32", "int8", "expected"),
    [
        ({}, None, "float32"),
        ({}, {}, "float32"),
        ({}, {"ap50_float32": f"0.8043 on {IMAGES}", "ap50_int8": f"0.8008 on {IMAGES}"}, "int8"),
        ({}, {"ap50_before": f"0.8043 on {IMAGES}", "ap50_after": f"0.8008 on {IMAGES}"}, "int8"),
        ({}, {"ap50_float32": f"0.8000 on {IMAGES}", "ap50_int8": f"0.7950 on {IMAGES}"}, "int8"),
        ({}, {"ap50_float32": f"0.8000 on {IMAGES}", "ap50_int8": f"0.7949 on {IMAGES}"}, "float32"),
        ({"ap50_float32": f"0.8000 on {IMAGES}"}, {"ap50_int8": f"0.8100 on {IMAGES}"}, "int8"),
        ({"ap50_float32": f"0.8000 on {IMAGES}"}, {"ap50_int8": "0.8000 on 5 images (others, val)"}, "float32"),
        ({"ap50_float32": "very good"}, {"ap50_int8": "very good"}, "float32"),
    ],
)
def test_auto_uses_8_bits_only_if_a_loss_of_at_most_half_a_point_is_recorded(files, processor, float32, int8, expected):
    processor("avx_vnni")
    assert allowed(files(float32, int8)) == (expected,)


def test_a_rare_class_does_not_decide_the_precision(files, processor):
    processor("avx_vnni")
    small_loss, large_loss = (
        ap_record("float32", 0.8, 0.7, IMAGES) | ap_record("int8", *aps, IMAGES) for aps in ((0.75, 0.699), (0.8, 0.69))
    )
    assert allowed(files({}, small_loss)) == ("int8",)
    assert allowed(files({}, large_loss)) == ("float32",)


def test_auto_uses_8_bits_only_on_a_processor_with_vnni(files, processor):
    path = files({}, {"ap50_float32": f"0.8043 on {IMAGES}", "ap50_int8": f"0.8008 on {IMAGES}"})
    processor("avx2")
    assert allowed(path) == allowed(EVERYDAY) == allowed(EVERYDAY_INT8) == ("float32",)
    assert allowed(path, "int8") == ("int8",)


def test_an_8_bit_file_of_another_model_is_not_used(files, processor):
    processor("avx512_vnni")
    ap = {"ap50_float32": f"0.8 on {IMAGES}", "ap50_int8": f"0.8 on {IMAGES}"}
    path = files({}, ap | {QUANTIZED_FROM_ARRAYS: "0" * 64})
    assert allowed(path) == ("float32",)
    with pytest.raises(SettingError, match=r"this model has no 8-bit version\. 'boxwright quantize MODEL"):
        allowed(path, "int8")


def test_bfloat16_requires_a_record_and_a_processor_that_has_it(files, processor):
    path = files({"ap50": f"0.8000 on {IMAGES}"})
    add_provenance(path, {"ap50_bfloat16": f"0.7961 on {IMAGES}"})
    assert recorded_ap50(read_header(path).provenance, "bfloat16") == RecordedAp(0.7961, IMAGES)
    processor("avx512_bf16 avx512_vnni")
    assert allowed(path) == ("bfloat16",)
    processor("avx512_vnni")
    assert allowed(path) == ("float32",)


def test_recording_an_ap_changes_nothing_else_and_keeps_the_8_bit_version(files, processor):
    processor("avx512_vnni")
    path = files({"source": "us"}, {"ap50_int8": f"0.8000 on {IMAGES}"})
    before = load_model(path)
    assert allowed(path) == ("float32",)
    add_provenance(path, ap_record("float32", 0.8, 0.7, IMAGES))
    after = load_model(path)
    assert after.provenance == {"source": "us", "ap50_float32": f"0.8000 on {IMAGES}", "ap50_frequent_float32": f"0.7000 on {IMAGES}"}
    assert (after.spec, after.name) == (before.spec, before.name)
    for name, array in before.arrays.items():
        np.testing.assert_array_equal(after.arrays[name], array)
    assert allowed(path) == ("int8",)


def test_a_short_command_starts_the_engine_that_starts_fastest(files, processor, installed):
    processor("avx512_vnni avx512_bf16")
    installed("onnxruntime", "openvino")
    source = ModelSource(files({"ap50": f"0.8 on {IMAGES}", "ap50_bfloat16": f"0.8 on {IMAGES}"}, {"ap50_int8": f"0.8 on {IMAGES}"}))
    options = EngineOptions(precision="auto")
    pairs = [(choice.engine, choice.precision) for choice in possible_choices(source, options)]
    assert pairs == [("onnxruntime", "int8"), ("openvino", "int8"), ("openvino", "bfloat16")]
    assert (choose_engine(source, options).engine, choose_engine(source, options).precision) == ("onnxruntime", "int8")
    assert choose_engine(source, EngineOptions(precision="bfloat16")).engine == "openvino"
    assert choose_engine(source, EngineOptions("tensorflow", precision="auto")).precision == "float32"
    with pytest.raises(SettingError, match="the engine tensorflow does not compute in int8; use onnxruntime or openvino"):
        choose_engine(source, EngineOptions("tensorflow", precision="int8"))


def test_float32_is_exact_whatever_auto_would_choose():
    exact = prepare_engine("everyday", EngineOptions(precision="float32"))
    assert exact.engine.precision == "float32"
    x = np.random.default_rng(0).uniform(0, 255, (1, 320, 320, 3)).astype(np.float32)
    np.testing.assert_array_equal(exact.engine(x), factory.build_engine(load_model(EVERYDAY))(x))


def test_the_input_size_is_part_of_the_prepared_engine():
    resized = prepare_engine("everyday", EngineOptions(input_size=352))
    x = np.random.default_rng(0).uniform(0, 255, (1, 352, 352, 3)).astype(np.float32)
    model = load_model(EVERYDAY)
    other_file = replace(model, spec=replace(model.spec, input_size=352))
    assert resized.facts.spec == other_file.spec
    np.testing.assert_array_equal(resized.engine(x), factory.build_engine(other_file)(x))
