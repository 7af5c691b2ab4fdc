"""OpenVINO in each precision, compared with onnxruntime, and errors for unavailable devices and precisions."""

from dataclasses import replace

import numpy as np
import onnxruntime
import pytest

pytest.importorskip("openvino", reason="needs the extra 'openvino'")

from detector.detector import Detector
from detector.engines import load_engine
from detector.engines.cores import has_bfloat16, has_vnni
from detector.engines.onnxruntime import execution_providers
from detector.engines.openvino import COMPILED_FILE, OpenvinoEngine
from detector.engines.support import DEVICES, PRECISIONS, unsupported_reason
from detector.errors import EngineCacheError, SettingError
from detector.imaging.image import read_image
from weights.embedded import EVERYDAY, EVERYDAY_INT8, SAMPLE_IMAGE
from weights.formats.safetensors import load_model

needs_vnni = pytest.mark.skipif(not has_vnni(), reason="needs a processor with VNNI")
needs_bfloat16 = pytest.mark.skipif(not has_bfloat16(), reason="needs a processor with AVX-512 BF16 or AMX")


@pytest.fixture(scope="module")
def everyday():
    return load_model(EVERYDAY)


def sample_pixels(model):
    detector = Detector(model.spec, lambda images: images)
    return detector.preprocess(read_image(SAMPLE_IMAGE.read_bytes())).pixels[None]


def test_float32_is_exact_on_the_shipped_model(everyday):
    engine = load_engine(everyday, "openvino")
    assert (engine.name, engine.precision) == ("openvino", "float32")
    np.testing.assert_allclose(engine(sample_pixels(everyday)), load_engine(everyday)(sample_pixels(everyday)), rtol=0, atol=1e-4)


def test_darknet_networks_have_the_same_logits(shared):
    from weights.formats.darknet.weights import read_darknet

    for name in ("yolo-lite-voc-nobn", "yolo-lite-voc-bn"):
        model = read_darknet(*(shared / "weights" / f"{name}.{suffix}" for suffix in ("cfg", "weights")))
        exact = load_engine(model)(sample_pixels(model))
        np.testing.assert_allclose(load_engine(model, "openvino")(sample_pixels(model)), exact, atol=1e-4 * max(1, np.abs(exact).max()))


@pytest.mark.parametrize(
    ("precision", "file"),
    [pytest.param("bfloat16", EVERYDAY, marks=needs_bfloat16), pytest.param("int8", EVERYDAY_INT8, marks=needs_vnni)],
)
def test_the_fast_precisions_detect_the_cat(precision, file):
    model = load_model(file)
    image = read_image(SAMPLE_IMAGE.read_bytes())
    engine = load_engine(model, "openvino", precision=precision)
    assert engine.precision == precision
    detections, exact = (Detector(model.spec, each).detect(image) for each in (engine, load_engine(load_model(EVERYDAY))))
    assert model.spec.labels[detections.class_ids[0]] == model.spec.labels[exact.class_ids[0]] == "cat"
    np.testing.assert_allclose(detections.scores[0], exact.scores[0], atol=0.03)
    np.testing.assert_allclose(detections.boxes[0], exact.boxes[0], atol=0.03 * max(image.shape))


def test_a_cached_engine_computes_bit_identical_logits(everyday, tmp_path):
    engine = OpenvinoEngine.of(everyday)
    engine.write_cache(tmp_path)
    reloaded = OpenvinoEngine.from_cache(tmp_path, len(everyday.spec.anchors), concurrent_sessions=True)
    x = sample_pixels(everyday)
    np.testing.assert_array_equal(reloaded(x), engine(x))
    np.testing.assert_array_equal(reloaded.run_concurrently(x), engine(x))
    (tmp_path / COMPILED_FILE).write_bytes((tmp_path / COMPILED_FILE).read_bytes()[:1000])
    with pytest.raises(EngineCacheError, match="OpenVINO cannot read the cached engine"):
        OpenvinoEngine.from_cache(tmp_path, len(everyday.spec.anchors))


def test_the_model_decides_the_precision_unless_one_is_named(tiny_model):
    small = load_model(EVERYDAY_INT8)
    assert load_engine(small).precision == "int8"
    exact = load_engine(small, precision="float32")
    assert exact.precision == "float32"
    np.testing.assert_array_equal(exact(sample_pixels(small)), load_engine(replace(small, quantization=None))(sample_pixels(small)))
    assert load_engine(small, "tensorflow").precision == "float32"
    with pytest.raises(SettingError, match="'tiny-random' has no 8-bit version"):
        load_engine(tiny_model, precision="int8")


@needs_bfloat16
def test_bfloat16_needs_openvino(tiny_model):
    assert load_engine(tiny_model, precision="bfloat16").name == "openvino"
    with pytest.raises(SettingError, match="the engine onnxruntime does not compute in bfloat16; use openvino"):
        load_engine(tiny_model, "onnxruntime", precision="bfloat16")


@pytest.mark.parametrize("device", ["cuda", "tensorrt", "directml", "coreml", "gpu"])
def test_a_missing_device_of_onnxruntime_is_an_error(tiny_model, device):
    if len(set(onnxruntime.get_available_providers()) - {"CPUExecutionProvider", "AzureExecutionProvider"}) > 0:
        pytest.skip("this onnxruntime supports other devices")
    with pytest.raises(SettingError, match=rf"device '{device}' needs an onnxruntime with \w+"):
        load_engine(tiny_model, "onnxruntime", device=device)


def test_a_missing_device_of_openvino_is_an_error(tiny_model):
    with pytest.raises(SettingError, match="OpenVINO finds only CPU on this machine"):
        load_engine(tiny_model, "openvino", device="npu")
    with pytest.raises(SettingError, match="the engine openvino does not support the device 'cuda'; use onnxruntime"):
        load_engine(tiny_model, "openvino", device="cuda")


@pytest.mark.parametrize(
    ("device", "available", "expected"),
    [
        ("cpu", ["CUDAExecutionProvider", "CPUExecutionProvider"], ["CPUExecutionProvider"]),
        (
            "auto",
            ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"],
            ["CUDAExecutionProvider", "CPUExecutionProvider"],
        ),
        ("gpu", ["DmlExecutionProvider", "CPUExecutionProvider"], ["DmlExecutionProvider", "CPUExecutionProvider"]),
        ("tensorrt", ["TensorrtExecutionProvider", "CPUExecutionProvider"], ["TensorrtExecutionProvider", "CPUExecutionProvider"]),
        ("coreml", ["CoreMLExecutionProvider", "CPUExecutionProvider"], ["CoreMLExecutionProvider", "CPUExecutionProvider"]),
        ("auto", ["CoreMLExecutionProvider", "CPUExecutionProvider"], ["CPUExecutionProvider"]),
    ],
)
def test_a_device_selects_onnxruntimes_execution_provider(device, available, expected, monkeypatch):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: available)
    assert [each if isinstance(each, str) else each[0] for each in execution_providers(device)] == expected


def test_cuda_computes_float32_without_rounding_the_factors(monkeypatch):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    assert execution_providers("cuda")[0] == ("CUDAExecutionProvider", {"use_tf32": "0"})


def test_onnxruntime_and_openvino_support_float32_on_the_cpu():
    for engine in ("onnxruntime", "openvino"):
        assert unsupported_reason(engine, "float32", "cpu") is None
    assert PRECISIONS.keys() == DEVICES.keys()


@pytest.mark.parametrize(
    ("flags", "int8", "bfloat16"), [("avx2", False, False), ("avx_vnni avx2", True, False), ("avx512_bf16", False, True)]
)
def test_the_processor_decides_which_precisions_openvino_offers(flags, int8, bfloat16, monkeypatch):
    monkeypatch.setattr("detector.engines.cores.cpu_flags", lambda *_: f"flags : {flags}")
    assert (unsupported_reason("openvino", "int8", "auto") is None) == int8
    assert (unsupported_reason("openvino", "bfloat16", "auto") is None) == bfloat16
    assert unsupported_reason("onnxruntime", "int8", "auto") is None
