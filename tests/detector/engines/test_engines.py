"""The engines against numpy, against each other, and against OpenCV's Darknet importer."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from detector.detector import Detector
from detector.engines import ConcurrentEngine, load_engine
from detector.errors import NetworkError, SettingError, UnknownLabel
from detector.network.architectures import darknet19, efficientnet_lite0, upsampling_head, yolov2
from detector.network.layers import ACTIVATIONS, Conv, MaxPool, Reorg, Route, Shortcut, Upsample
from detector.network.shapes import array_shapes
from detector.network.spec import Model, ModelSpec

ENGINES = ("onnxruntime", "openvino", "tensorflow")


def model_of(random_arrays, *layers, size=64, **spec_options):
    """Return a backbone model of these layers with seeded random arrays."""
    return Model("layers", ModelSpec((), (), layers, size, **spec_options), random_arrays(layers, 3))


def images(size, count=2):
    return np.random.default_rng(5).uniform(0, 255, (count, size, size, 3)).astype(np.float32)


def assert_engines_agree(model, tolerance=1e-4):
    reference, *others = (load_engine(model, name)(images(model.spec.input_size)) for name in ENGINES)
    scale = max(1.0, float(np.abs(reference).max()))
    for other in others:
        assert reference.dtype == other.dtype == np.float32
        assert reference.shape == other.shape
        np.testing.assert_allclose(other, reference, atol=tolerance * scale)
    return reference


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_upsampling_repeats_every_cell_on_both_axes(engine, stride):
    model = Model("layers", ModelSpec((), (), (MaxPool("pool", 6, 6, padding=0), Upsample("a", stride)), 24), {})
    pixels = images(24)
    pooled = (pixels / 255).reshape(2, 4, 6, 4, 6, 3).max(axis=(2, 4))
    repeated = pooled.repeat(stride, axis=1).repeat(stride, axis=2)
    np.testing.assert_allclose(load_engine(model, engine)(pixels), repeated, rtol=1e-6)


def test_a_network_with_an_upsampling_head_is_the_same_in_all_engines(random_arrays):
    network = upsampling_head(("a", "b"), backbone=efficientnet_lite0(), filters=16, lateral=8, anchors=2)
    model = Model("upsampling", ModelSpec(("a", "b"), ((1.0, 1.0), (2.0, 3.0)), network, 64), random_arrays(network, 3))
    assert_engines_agree(model)
    assert load_engine(model)(images(64)).shape == (2, 4, 4, 2, 7)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_all_engines_agree_on_every_activation(activation, random_arrays):
    assert_engines_agree(model_of(random_arrays, Conv("a", 6, activation=activation, stride=4, size=4, padding=(0, 0)), Conv("b", 3)))


FORMULAS = {
    "linear": lambda x: x,
    "leaky": lambda x: np.where(x > 0, x, 0.1 * x),
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "elu": lambda x: np.where(x > 0, x, np.expm1(x)),
    "selu": lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(x)),
    "logistic": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
    "swish": lambda x: x / (1 + np.exp(-x)),
    "mish": lambda x: x * np.tanh(np.log1p(np.exp(x))),
}


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("engine", ENGINES)
def test_every_activation_equals_its_formula(activation, engine):
    layer = Conv("a", 3, size=1, normalize=False, activation=activation)
    arrays = {"a/kernel": np.eye(3, dtype=np.float32)[None, None], "a/bias": np.zeros(3, np.float32)}
    spec = ModelSpec((), (), (layer,), 16, pixel_scale=0.05, pixel_offset=-5.0)
    x = images(16)
    expected = FORMULAS[activation](x.astype(np.float64) * 0.05 - 5)
    np.testing.assert_allclose(load_engine(Model("a", spec, arrays), engine)(x), expected, atol=2e-5)


@pytest.mark.parametrize(
    "layers",
    [
        (Conv("a", 4, stride=2),),
        (Conv("a", 4, stride=2, padding=(0, 1)),),
        (Conv("a", 4, size=5, stride=2, padding=(1, 2)), Conv("b", 8, size=2, padding=(0, 1))),
        (Conv("a", 6, size=3, groups=3), Conv("b", 6, groups=6), Conv("c", 12, groups=2, stride=2)),
        (Conv("a", 4), MaxPool("b", size=2, stride=1), MaxPool("c"), MaxPool("d", size=3, stride=2), MaxPool("e", size=3, stride=1)),
        (Conv("a", 4, stride=4, size=4, padding=(0, 0)), MaxPool("b", size=2, stride=2, padding=0)),
        (Conv("a", 8), Reorg("b", order="darknet"), Conv("c", 2)),
        (Conv("a", 8), Reorg("b", order="space-to-depth", stride=4), Conv("c", 2)),
        (Conv("a", 4), MaxPool("b"), Route("c", ("a",)), MaxPool("d"), Route("e", ("d", "b")), Conv("f", 8), Shortcut("g", "e", "leaky")),
    ],
)
def test_all_engines_agree_on_every_layer(layers, random_arrays):
    assert_engines_agree(model_of(random_arrays, *layers))


def test_all_engines_agree_on_yolov2_with_efficientnet(random_arrays):
    labels = ("a", "b")
    network = yolov2(labels, backbone=efficientnet_lite0(), filters=32)
    spec = ModelSpec(labels, ((1.0, 2.0),) * 5, network, 96, pixel_scale=1 / 128, pixel_offset=-127 / 128)
    logits = assert_engines_agree(Model("small", spec, random_arrays(network, 1)))
    assert logits.shape == (2, 3, 3, 5, 7)


def test_reorg_in_the_engines_equals_the_reference(random_arrays):
    from detector.network.reorg import reorg

    for order in ("darknet", "space-to-depth"):
        plain = model_of(random_arrays, Conv("a", 8))
        reordered = model_of(random_arrays, Conv("a", 8), Reorg("b", order=order))
        x = images(64)
        for name in ENGINES:
            before, after = (load_engine(model, name)(x).transpose(0, 3, 1, 2) for model in (plain, reordered))
            np.testing.assert_allclose(after, reorg(before, 2, order), atol=1e-5)


def test_arrays_survive_a_round_trip_through_keras(random_arrays):
    from detector.network.keras_model import build_keras, read_keras_arrays

    model = model_of(random_arrays, Conv("a", 6), Conv("b", 6, groups=6), Conv("c", 4, groups=2, normalize=False))
    arrays = read_keras_arrays(build_keras(model), model.spec)
    assert list(arrays) == list(array_shapes(model.spec.network))
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, model.arrays[name])


def test_yolov2_agrees_with_opencvs_darknet_importer(shared, random_arrays, tmp_path):
    cv2 = pytest.importorskip("cv2", reason="needs opencv-python-headless 4.10; later versions have no Darknet importer")
    if not hasattr(cv2.dnn, "readNetFromDarknet"):
        pytest.skip(f"OpenCV {cv2.__version__} has no Darknet importer; 4.10 has")
    from weights.formats.darknet.weights import read_cfg, read_darknet, write_darknet

    spec = read_cfg(shared / "weights" / "yolov2-voc.cfg")
    cfg, weights = tmp_path / "yolov2-voc.cfg", tmp_path / "yolov2-voc.weights"
    write_darknet(Model("random", spec, random_arrays(spec.network, 7)), cfg, weights)
    assert weights.stat().st_size in (202_704_260, 202_704_264)
    model = read_darknet(cfg, weights)

    x = images(416, count=1)
    ours = {name: load_engine(model, name)(x)[0] for name in ENGINES}
    for name in ENGINES[1:]:
        np.testing.assert_allclose(ours[name], ours["onnxruntime"], atol=1e-4 * np.abs(ours["onnxruntime"]).max())

    network = cv2.dnn.readNetFromDarknet(str(cfg), str(weights))
    blob = np.ascontiguousarray(x.transpose(0, 3, 1, 2) / np.float32(255))
    network.setInput(blob)  # OpenCV does not copy the blob, so it must exist until `forward` returns
    last_convolution = [name for name in network.getLayerNames() if name.startswith("conv")][-1]
    theirs = network.forward(last_convolution)[0]  # before the region layer
    flat = ours["onnxruntime"].reshape(13, 13, 125).transpose(2, 0, 1)
    assert np.abs(theirs - flat).max() <= 1e-3 * np.abs(flat).max()


def test_the_detector_does_not_import_tensorflow():
    code = (
        "import sys, detector.detector, detector.imaging.draw, detector.imaging.image, detector.engines.onnxruntime;"
        "print([m for m in sys.modules if m.split('.')[0] in ('tensorflow', 'keras', 'tf_keras')])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_detections_are_in_image_pixels_within_the_image(tiny_model):
    detector = Detector(tiny_model.spec, load_engine(tiny_model))
    image = np.random.default_rng(0).integers(0, 256, (50, 200, 3), np.uint8)
    detections = detector.detect(image, score_threshold=0.01)
    assert len(detections) > 1
    assert (detections.boxes >= 0).all()
    assert (detections.boxes[:, [0, 2]] <= 200).all()
    assert (detections.boxes[:, [1, 3]] <= 50).all()
    assert detections.boxes[:, 2].max() > 50


def test_detections_can_be_limited_to_classes_and_to_the_best_scores(tiny_model):
    detector = Detector(tiny_model.spec, load_engine(tiny_model))
    image = np.random.default_rng(0).integers(0, 256, (50, 200, 3), np.uint8)
    everything = detector.detect(image, score_threshold=0.0)
    dogs = detector.detect(image, score_threshold=0.0, class_ids=detector.class_ids(["dog"]))
    assert set(dogs.class_ids.tolist()) == {1}
    assert len(dogs) == (everything.class_ids == 1).sum()
    np.testing.assert_array_equal(detector.detect(image, score_threshold=0.0, max_detections=3).boxes, everything.boxes[:3])


def test_a_detector_refuses_invalid_options(tiny_model, random_arrays):
    detector = Detector(tiny_model.spec, load_engine(tiny_model))
    image = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(SettingError, match="the confidence threshold must be a number from 0 to 1, got 2"):
        detector.detect(image, score_threshold=2)
    with pytest.raises(SettingError, match="the IoU threshold"):
        detector.detect(image, iou_threshold=-0.1)
    with pytest.raises(SettingError, match="max_detections"):
        detector.detect(image, max_detections=0)
    with pytest.raises(UnknownLabel, match=r"no class 'zebra'\. Its classes are cat, dog, person"):
        detector.class_ids(["zebra"])
    with pytest.raises(SettingError, match="unknown engine 'abacus'"):
        load_engine(tiny_model, "abacus")
    with pytest.raises(NetworkError, match="backbone"):
        Detector(model_of(random_arrays, Conv("a", 4)).spec, detector.engine)


def test_an_unknown_label_error_lists_a_hundred_labels():
    spec = ModelSpec(tuple(f"label {number}" for number in range(1, 9419)), ((1.0, 1.0),), (Conv("a", 9423, size=1),), 1)
    detector = Detector(spec, lambda images: images)
    with pytest.raises(UnknownLabel, match=r"no class 'zebra'. Its classes are label 1, .*label 100 and 9,318 more\.$"):
        detector.class_ids(["zebra"])


@pytest.mark.parametrize("engine", ENGINES)
def test_a_model_runs_at_another_input_size(tiny_model, engine):
    larger = tiny_model.at_input_size(128)
    assert load_engine(larger, engine)(images(128)).shape == (2, 4, 4, 2, 8)
    assert tiny_model.at_input_size(None) is tiny_model.at_input_size(64) is tiny_model


@pytest.mark.parametrize(("size", "nearest"), [(100, 96), (0, 32), (-32, 32), (4128, 4096), (33, 32)])
def test_a_wrong_input_size_is_an_error_that_names_the_nearest_size(tiny_model, size, nearest):
    message = f"input size {size}: this network needs a multiple of 32 from 32 to 4096 pixels, such as {nearest}."
    with pytest.raises(SettingError, match=message):
        tiny_model.at_input_size(size)


@pytest.mark.parametrize("library", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("backbone", [darknet19(width=0.25), efficientnet_lite0()])
def test_concurrent_calls_give_identical_logits(backbone, library, random_arrays):
    network = yolov2(("a", "b"), backbone=backbone, filters=64)
    model = Model("random", ModelSpec(("a", "b"), ((1, 1), (2, 3), (3, 2), (1, 2), (4, 4)), network, 96), random_arrays(network, 7))
    engine = load_engine(model, library, threads=2, concurrent_sessions=True)
    assert isinstance(engine, ConcurrentEngine)
    assert engine.single_threaded_session is not None
    batches = [images(96, 1) + number for number in range(16)]
    sequential = [engine(batch).tobytes() for batch in batches]
    for session in (engine.single_threaded_session, None):  # None: concurrent calls share the multi-threaded session
        engine.single_threaded_session = session
        with ThreadPoolExecutor(4) as pool:
            assert [logits.tobytes() for logits in pool.map(engine.run_concurrently, batches)] == sequential


def test_a_second_session_is_created_only_on_request_and_for_a_small_model(random_arrays, monkeypatch):
    model = model_of(random_arrays, Conv("a", 6))
    assert load_engine(model, threads=2).single_threaded_session is None
    assert load_engine(model, threads=1, concurrent_sessions=True).single_threaded_session is None
    monkeypatch.setattr("detector.engines.onnxruntime.MAX_SECOND_SESSION_BYTES", 100)
    assert load_engine(model, threads=2, concurrent_sessions=True).single_threaded_session is None


def test_tensorflow_is_not_a_concurrent_engine(random_arrays):
    assert not isinstance(load_engine(model_of(random_arrays, Conv("a", 6)), "tensorflow"), ConcurrentEngine)
