"""Agreement with tensornets itself: its graphs, files and boxes."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detector.boxes.geometry import box_iou
from detector.boxes.grid import decode
from detector.detector import Detector
from detector.errors import ArraysError, MissingExtra, ModelFileError, NetworkError, SettingError, UnknownModel
from detector.imaging.image import read_image
from detector.network.architectures import darknet19, tiny_yolov2, yolov2
from detector.network.layers import Conv
from detector.network.shapes import array_shapes
from detector.network.spec import Model, ModelSpec
from tests.weights.formats.tensornets.tensornets_files import Payload, write_npz, write_tensornets
from weights.engines.factory import build_engine
from weights.errors import FetchError
from weights.formats.tensornets.compat import fetch_from_catalogue, import_tensornets
from weights.formats.tensornets.graph import TensornetsGraph
from weights.formats.tensornets.mapping import read_tensornets, tensornets_network
from weights.hub import resolve
from weights.hub.catalogue import entries, entry_of, spec_of

ROOT = Path(__file__).resolve().parents[4]
VOC = spec_of(entry_of("tensornets-yolov2-voc"))
TINY_VOC = spec_of(entry_of("tensornets-tiny-yolov2-voc"))
STEM = replace(spec_of(entry_of("tensornets-darknet19")), input_size=64)
THRESHOLD, OVERLAP = 0.1, 0.4  # the defaults of get_boxes

pytestmark = pytest.mark.slow  # the full YOLOv2 in three engines


def make_labels(count):
    return tuple(f"class {number}" for number in range(count))


def random_images(size, count=2):
    """Return images of coarse patches, so that neighbouring cells differ."""
    coarse = np.random.default_rng(5).integers(0, 256, (count, 13, 13, 3), np.uint8)
    return np.stack([np.asarray(Image.fromarray(patches).resize((size, size), Image.Resampling.BICUBIC)) for patches in coarse])


def with_confident_outputs(arrays, size_bias):
    """Return the arrays with a last layer that outputs dozens of boxes. size_bias: logarithm of their size relative to the anchors."""
    kernel = arrays["linear/kernel"].reshape(1, 1, 1024, 5, 25) * np.repeat([0.3, 0.1, 1], [2, 2, 21])  # x y, w h, objectness and classes
    bias = np.zeros((5, 25))
    bias[:, 2:4], bias[:, 4] = size_bias, -6
    return arrays | {"linear/kernel": np.float32(kernel.reshape(1, 1, 1024, 125)), "linear/bias": np.float32(bias.reshape(125))}


@pytest.fixture(scope="module")
def arrays(random_arrays):
    return random_arrays(VOC.network, 3)


@pytest.fixture(scope="module")
def model(arrays):
    """The full YOLOv2 on Darknet19 for VOC. Few of its boxes overlap two others that do not overlap each other."""
    return Model("random", VOC, with_confident_outputs(arrays, -1.4))


@pytest.fixture(scope="module")
def tensornets_engine(model):
    return build_engine(model, "tensornets")


@pytest.fixture(scope="module")
def onnx_engine(model):
    return build_engine(model, "onnxruntime")


def assert_close(actual, expected):
    assert actual.shape == expected.shape
    assert actual.dtype == expected.dtype == np.float32
    assert np.abs(actual).max() > 1
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-4)


# The full network


def test_the_full_yolov2_gives_the_same_output_in_tensornets_and_in_our_engines(model, tensornets_engine, onnx_engine):
    images = random_images(416).astype(np.float32)
    logits = tensornets_engine(images)
    assert logits.shape == (2, 13, 13, 5, 25)
    assert_close(logits, onnx_engine(images))
    assert_close(logits, build_engine(model, "tensorflow")(images))


def test_a_batch_gives_the_same_output_as_single_images(tensornets_engine):
    images = random_images(416, count=3).astype(np.float32)
    np.testing.assert_allclose(tensornets_engine(images), np.concatenate([tensornets_engine(image[None]) for image in images]), atol=1e-4)


def test_the_graph_returns_the_arrays_that_were_assigned(model, tensornets_engine):
    read = tensornets_engine.graph.model("read")
    assert read.spec == model.spec
    assert set(read.arrays) == set(model.arrays)
    for name, array in model.arrays.items():
        np.testing.assert_array_equal(read.arrays[name], array)


# Boxes


def tensornets_boxes(tensornets_engine, logits, height, width):
    """Return [(label, xmin, ymin, xmax, ymax, score)] of the first image, from `model.get_boxes`."""
    flat = logits.reshape(len(logits), 13, 13, 125)
    boxes_by_label = tensornets_engine.graph.output.get_boxes(flat, (height, width), threshold=THRESHOLD)
    return [(VOC.labels[label], *box) for label, boxes in enumerate(boxes_by_label) for box in boxes.tolist()]


def our_boxes(detector, image):
    """Return our boxes in the same form. tensornets reports each box once, with its best label, so equal boxes count once."""
    detections = detector.detect(image, score_threshold=THRESHOLD, iou_threshold=OVERLAP)
    unique = {}
    for detection in detections:
        unique.setdefault(detection.box, (VOC.labels[detection.class_id], *detection.box, detection.score))
    return list(unique.values())


def assert_same(boxes, reference):
    assert len(boxes) == len(reference)
    left = list(reference)
    for label, *corners, score in boxes:
        matches = [
            box for box in left if box[0] == label and np.abs(np.subtract(corners, box[1:5])).max() <= 1 and abs(score - box[5]) <= 1e-3
        ]
        assert matches, f"{label} {corners} {score} has no counterpart"
        left.remove(matches[0])


@pytest.fixture(scope="module")
def detector(onnx_engine):
    return Detector(VOC, onnx_engine)


def test_our_boxes_equal_those_of_get_boxes(detector, tensornets_engine):
    for image in random_images(416, count=4):
        reference = tensornets_boxes(tensornets_engine, tensornets_engine(image[None].astype(np.float32)), 416, 416)
        assert len(reference) > 24
        assert_same(our_boxes(detector, image), reference)
        assert len(detector.detect(image, score_threshold=THRESHOLD, iou_threshold=1)) > len(reference), "some boxes were suppressed"


def test_the_readme_example_of_tensornets_gives_our_boxes(shared, arrays, model, tensornets_engine):
    cv2 = pytest.importorskip("cv2", reason="tensornets resizes images with OpenCV")
    sparse, graph = Model("sparse", VOC, with_confident_outputs(arrays, -2.2)), tensornets_engine.graph  # small boxes that hardly overlap
    detector = Detector(VOC, build_engine(sparse))
    graph.assign(sparse.arrays)
    for name in ("cat.png", "dog.jpg", "kite.jpg"):
        path = shared / "photos" / name
        image = cv2.imread(str(path))[None].astype(
            np.float32
        )  # as the evaluation of tensornets reads images; its `load_img` would swap the colours twice
        output = graph.session.run(graph.output, {graph.images: graph.output.preprocess(image)})
        reference = tensornets_boxes(tensornets_engine, output, *image.shape[1:3])
        assert len(reference) > 24
        assert_same(our_boxes(detector, read_image(path.read_bytes())), reference)
    graph.assign(model.arrays)


@pytest.mark.parametrize("engine", ["onnxruntime", "tensornets"])
def test_the_detect_command_gives_the_boxes_of_the_readme_example(shared, arrays, model, tensornets_engine, tmp_path, monkeypatch, engine):
    cv2 = pytest.importorskip("cv2", reason="tensornets resizes images with OpenCV")
    sparse, graph, path = Model("sparse", VOC, with_confident_outputs(arrays, -2.2)), tensornets_engine.graph, shared / "photos" / "cat.png"
    (tmp_path / "weights").mkdir()
    write_tensornets(sparse, tmp_path / "weights" / entry_of("tensornets-yolov2-voc").file)
    monkeypatch.setenv("BOXWRIGHT_HOME", str(tmp_path))
    monkeypatch.setenv("BOXWRIGHT_OFFLINE", "1")
    options = ["--model", "tensornets-yolov2-voc", "--confidence", "0.1", "--iou", "0.4", "--engine", engine, "--json"]
    command = [sys.executable, "-m", "cli.main", "detect", str(path), *options]
    record = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    unique = {}
    for detection in record["detections"]:  # as in `our_boxes`
        box = tuple(detection["box"].values())
        unique.setdefault(box, (detection["label"], *box, detection["score"]))

    graph.assign(sparse.arrays)
    image = cv2.imread(str(path))[None].astype(np.float32)
    output = graph.session.run(graph.output, {graph.images: graph.output.preprocess(image)})
    reference = tensornets_boxes(tensornets_engine, output, *image.shape[1:3])
    graph.assign(model.arrays)
    assert len(reference) > 24
    assert_same(list(unique.values()), reference)


def test_boxes_on_an_image_of_other_proportions_equal_those_of_get_boxes(detector, tensornets_engine):
    image = np.asarray(Image.fromarray(random_images(416, count=1)[0]).resize((300, 650)))
    prepared = detector.preprocess(image)
    assert_same(our_boxes(detector, image), tensornets_boxes(tensornets_engine, tensornets_engine(prepared.pixels[None]), 650, 300))


def test_get_boxes_decodes_only_the_first_image_of_a_batch(detector, tensornets_engine):
    images = random_images(416, count=3)
    logits = tensornets_engine(images.astype(np.float32))
    first = tensornets_boxes(tensornets_engine, logits[:1], 416, 416)
    assert tensornets_boxes(tensornets_engine, logits, 416, 416) == first
    for image, image_logits in zip(images, logits, strict=True):
        detections = detector.postprocess(image_logits, detector.preprocess(image), score_threshold=THRESHOLD, iou_threshold=OVERLAP)
        unique = {each.box: (VOC.labels[each.class_id], *each.box, each.score) for each in reversed(list(detections))}
        assert_same(list(unique.values()), tensornets_boxes(tensornets_engine, image_logits[None], 416, 416))


def suppressed_in_order(boxes, scores):
    """Suppress boxes like tensornets: pair by pair in the order of the cells. A box that is suppressed later still suppresses others."""
    scores = np.where(scores > THRESHOLD, scores, 0)
    for column in scores.T:
        overlaps = box_iou(boxes, boxes) >= OVERLAP
        for index in np.nonzero(column)[0]:
            for later in np.nonzero(column[index + 1 :])[0] + index + 1:
                if column[index] and overlaps[index, later]:
                    column[index if column[later] > column[index] else later] = 0
    return scores


def test_with_many_overlapping_boxes_only_the_order_of_suppression_differs(arrays, model, tensornets_engine):
    tensornets_engine.graph.assign(with_confident_outputs(arrays, -1))
    image = random_images(416, count=1).astype(np.float32)
    logits = tensornets_engine(image)
    tensornets_engine.graph.assign(model.arrays)
    reference = tensornets_boxes(tensornets_engine, logits, 416, 416)
    boxes, scores = decode(logits[0], VOC.anchors, VOC.stride)
    kept = suppressed_in_order(boxes, scores)
    expected = [(VOC.labels[kept[i].argmax()], *np.clip(boxes[i], 0, 416), kept[i].max()) for i in np.nonzero(kept.any(axis=1))[0]]
    assert_same(expected, reference)
    assert len(our_boxes(Detector(VOC, lambda _: logits), image[0].astype(np.uint8))) > len(reference)


# Networks


@pytest.mark.parametrize(
    "spec",
    [
        replace(TINY_VOC, input_size=96),
        replace(TINY_VOC, input_size=64, labels=make_labels(3), network=tiny_yolov2(make_labels(3), filters=512)),
        STEM,
        replace(STEM, pixel_scale=1 / 128, pixel_offset=-1.0),
    ],
    ids=["tiny", "tiny with three labels", "stem", "stem with pixels from -1 to 1"],
)
def test_the_other_networks_give_the_same_output_in_tensornets_and_onnxruntime(spec, random_arrays):
    model = Model("random", spec, random_arrays(spec.network, 1))
    images = random_images(spec.input_size).astype(np.float32)
    assert_close(build_engine(model, "tensornets")(images), build_engine(model, "onnxruntime")(images))


@pytest.mark.parametrize("labels", [1, 80])
def test_the_graph_is_built_for_any_number_of_labels(labels):
    spec = replace(VOC, labels=make_labels(labels), network=yolov2(make_labels(labels)), input_size=64)
    graph = TensornetsGraph.build(spec)
    assert {name: tuple(variable.shape) for name, variable in graph.variables.items()} == array_shapes(spec.network)
    assert graph.output.shape[1:] == (2, 2, 5 * (5 + labels))


def test_variable_names_are_those_of_tensornets():
    names = tensornets_network(VOC).variables
    assert list(names)[:5] == [f"conv1/{part}" for part in ("kernel", "gamma", "mean", "variance", "beta")]
    assert names["conv1/kernel"] == "genYOLOv2/stem/conv1/1/conv/weights:0"
    assert names["conv5_3/mean"] == "genYOLOv2/stem/conv5/3/bn/moving_mean:0"
    assert names["conv5a/beta"] == "genYOLOv2/conv5a/bias/biases:0"
    assert names["linear/bias"] == "genYOLOv2/linear/conv/biases:0"
    assert tensornets_network(TINY_VOC).variables["conv1/variance"] == "REFtinyyolov2voc/conv1/bn/moving_variance:0"
    assert tensornets_network(STEM).variables["conv6_5/gamma"] == "darknet19/conv6/5/bn/gamma:0"


@pytest.mark.parametrize(("function", "spec"), [("yolov2voc", VOC), ("tinyyolov2voc", TINY_VOC), ("yolov2", None)])
def test_labels_and_anchors_of_the_catalogue_equal_those_of_tensornets(function, spec):
    import_tensornets()
    options = sys.modules["tensornets.references.yolo_utils"].opts(function)
    spec = spec or spec_of(entry_of("tensornets-yolov2-coco"))
    assert tuple(options["labels"]) == spec.labels
    assert [side for anchor in spec.anchors for side in anchor] == options["anchors"]


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (yolov2(VOC.labels, order="darknet"), "Reorg.*darknet.* where its YOLOv2 has Reorg.*space-to-depth"),
        (yolov2(VOC.labels, filters=512), "filters=512.* where its YOLOv2 has .*filters=1024"),
        (tiny_yolov2(VOC.labels, filters=512), "filters=512.* where its TinyYOLOv2VOC has .*filters=1024"),
        (tuple(replace(layer, epsilon=1e-6) if isinstance(layer, Conv) else layer for layer in VOC.network), "epsilon=1e-06"),
        ((*darknet19().layers, Conv("linear", 125, size=1, normalize=False, activation="linear")), "YOLOv2 has .*conv7"),
    ],
)
def test_unknown_networks_are_refused_and_the_message_names_the_first_layer_that_differs(network, message):
    arrays = {name: np.zeros(shape, np.float32) for name, shape in array_shapes(network).items()}
    model = Model("other", replace(VOC, network=network), arrays)
    for use in (lambda: build_engine(model, "tensornets"), lambda: tensornets_network(model.spec)):
        with pytest.raises(NetworkError, match=rf"tensornets has no such network: .*{message}.*\. Choose another"):
            use()


def test_a_stem_that_tensornets_does_not_have_is_refused():
    with pytest.raises(NetworkError, match="nothing where its Darknet19 has"):
        tensornets_network(ModelSpec((), (), STEM.network[:-1], 64))
    with pytest.raises(NetworkError, match="where its Darknet19 has nothing"):
        tensornets_network(ModelSpec((), (), (*STEM.network, Conv("surplus", 8)), 64))


def test_arrays_that_do_not_fit_are_refused():
    with pytest.raises(ArraysError, match="conv1/kernel"):
        TensornetsGraph.build(STEM).assign({})


def test_engines_are_found_by_name(tiny_model):
    assert build_engine(tiny_model).name == build_engine(tiny_model, "onnxruntime").name == "onnxruntime"
    assert build_engine(tiny_model, "tensorflow").name == "tensorflow"
    with pytest.raises(NetworkError, match="Choose another engine"):
        build_engine(tiny_model, "tensornets")
    with pytest.raises(SettingError, match="no engine 'abacus'; choose one of auto, onnxruntime, openvino, tensorflow, tensornets"):
        build_engine(tiny_model, "abacus")


# Files


@pytest.fixture(scope="module")
def tiny(random_arrays):
    return Model("tiny", replace(TINY_VOC, input_size=64), random_arrays(TINY_VOC.network, 4))


@pytest.fixture(scope="module")
def tiny_file(tiny, tmp_path_factory):
    path = tmp_path_factory.mktemp("tiny") / "ref_tiny_yolo_v2_voc.npz"
    write_tensornets(tiny, path)
    return path


def assert_equal(actual, expected):
    assert set(actual) == set(expected)
    for name, array in actual.items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)


def test_a_full_file_is_written_and_read_back(model, tmp_path):
    path = tmp_path / "ref_yolo_v2_voc.npz"
    write_tensornets(model, path)
    assert path.stat().st_size > 202_000_000
    read = read_tensornets(path, VOC)
    assert (read.name, read.spec, read.provenance) == ("ref_yolo_v2_voc", VOC, {"format": "tensornets", "weights": path.name})
    assert_equal(read.arrays, model.arrays)


def test_variables_are_in_the_order_of_tensornets(tiny):
    graph = TensornetsGraph.build(tiny.spec)
    with graph.session.graph.as_default():
        assert list(tensornets_network(tiny.spec).variables.values()) == [variable.name for variable in graph.output.get_weights()]


def test_pretrained_uses_the_file_that_fetch_file_returns(tiny, tiny_file):
    requested = []
    graph = TensornetsGraph.build(tiny.spec)
    graph.pretrained(lambda name: requested.append(name) or tiny_file)
    assert requested == [entry_of("tensornets-tiny-yolov2-voc").file]
    assert_equal(graph.read_back(), tiny.arrays)
    assert_equal(read_tensornets(tiny_file, tiny.spec).arrays, tiny.arrays)


def test_the_stem_ignores_the_classifier_in_its_file(random_arrays, tmp_path):
    model = Model("stem", STEM, random_arrays(STEM.network, 5))
    write_tensornets(model, tmp_path / "stem.npz")
    assert_equal(read_tensornets(tmp_path / "stem.npz", STEM).arrays, model.arrays)

    graph = TensornetsGraph.build(STEM)
    graph.assign(model.arrays)
    stem = dict(zip(tensornets_network(STEM).variables.values(), graph.session.run(list(graph.variables.values())), strict=True))
    classifier = {"darknet19/logits/weights:0": np.zeros((1, 1, 1024, 1000), np.float32), "darknet19/logits/biases:0": np.zeros(1000, "f4")}
    write_npz(tmp_path / "darknet19.npz", stem | classifier)
    assert_equal(read_tensornets(tmp_path / "darknet19.npz", STEM).arrays, model.arrays)
    graph.assign({name: array * 2 for name, array in model.arrays.items()})
    graph.pretrained(lambda name: tmp_path / name)
    assert_equal(graph.read_back(), model.arrays)


def test_pretrained_requests_its_files_from_the_catalogue(monkeypatch, tmp_path):
    monkeypatch.setenv("BOXWRIGHT_HOME", str(tmp_path))
    monkeypatch.setenv("BOXWRIGHT_OFFLINE", "1")
    for name in ("tensornets-yolov2-coco", "tensornets-darknet19"):
        graph = TensornetsGraph.build(replace(spec_of(entry_of(name)), input_size=32))
        with pytest.raises(FetchError, match=f"boxwright weights pull {name} "):
            graph.pretrained()


def test_the_catalogue_has_the_addresses_and_hashes_of_tensornets(monkeypatch):
    nets, requested = import_tensornets(), {}
    pretrained = sys.modules["tensornets.pretrained"]
    monkeypatch.setattr(pretrained, "get_file", lambda *names, file_hash, **_: requested.update({names[0]: (names[1], file_hash)}))
    monkeypatch.setattr(pretrained, "parse_weights", str)
    for load in ("darknet19", "ref_yolo_v2_coco", "ref_yolo_v2_voc", "ref_tiny_yolo_v2_voc"):
        getattr(pretrained, f"load_{load}")(None, return_fn=print)
    ours = [entry for entry in entries().values() if entry.format == "tensornets"]
    assert {entry.file: (entry.addresses[0], entry.hashes["md5"]) for entry in ours} == requested
    assert nets.__version__ == "0.4.6"


def test_a_file_that_is_not_in_the_catalogue_is_not_fetched():
    with pytest.raises(UnknownModel, match=r"requests resnet50\.npz.*ref_yolo"):
        fetch_from_catalogue("resnet50.npz")


def test_a_file_of_another_network_is_refused(tiny_file, tiny, tmp_path):
    with pytest.raises(ModelFileError, match=r"voc\.npz: it contains 42 arrays, but the network has 112"):
        read_tensornets(tiny_file, VOC)
    other = replace(TINY_VOC, labels=make_labels(3), network=tiny_yolov2(make_labels(3), filters=512))
    with pytest.raises(
        ModelFileError, match=r"array 36, 'conv8/kernel', has shape \(3, 3, 1024, 1024\), but the network needs \(3, 3, 1024, 512\)"
    ):
        read_tensornets(tiny_file, other)
    with pytest.raises(ModelFileError, match="tensornets cannot use the file that it requested"):
        TensornetsGraph.build(STEM).pretrained(lambda _: tiny_file)
    for invalid in (np.nan, np.inf, -1.0):
        arrays = dict(tiny.arrays) | {"conv3/variance": np.full(64, invalid, np.float32)}
        write_tensornets(replace(tiny, arrays=arrays), tmp_path / "bad.npz")
        with pytest.raises(ModelFileError, match="array 14, 'conv3/variance', contains NaN, infinity or a negative variance"):
            read_tensornets(tmp_path / "bad.npz", tiny.spec)


def test_tensornets_itself_does_not_unpickle(tmp_path):
    values = np.empty(1, object)
    values[0] = Payload(tmp_path / "ran")
    np.savez(tmp_path / "bad.npz", names=np.array(["a"]), values=values)
    graph = TensornetsGraph.build(STEM)
    for use in (
        lambda: graph.pretrained(lambda _: tmp_path / "bad.npz"),
        lambda: graph.output.load(tmp_path / "bad.npz", graph.session),
    ):
        with pytest.raises(ModelFileError, match=r"its pickle names .*open"):
            use()
    assert not (tmp_path / "ran").exists()


# The import


def test_tensornets_is_imported_lazily_and_its_substitute_modules_are_removed():
    code = """
import sys, warnings
import weights.formats.tensornets.mapping, weights.formats.tensornets.engine, weights.engines.factory
from weights.formats.tensornets.compat import import_tensornets
print([name for name in sys.modules if name.split(".")[0] in ("tensorflow", "keras", "tf_keras", "tensornets")])
import keras
before = set(sys.modules)
warnings.simplefilter("error")
nets = import_tensornets()
new = [name for name in set(sys.modules) - before if name.startswith(("tensorflow.", "tf_keras."))]
print(nets.__name__, len(new) > 0, [name for name in new if sys.modules[name].__spec__ is None or sys.modules[name].__name__ != name])
print(nets is import_tensornets())
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() == ["[]", "tensornets True []", "True"]


def test_without_tensornets_the_message_tells_how_to_install_it(monkeypatch):
    import_tensornets()
    monkeypatch.setitem(sys.modules, "tensornets", None)
    with pytest.raises(MissingExtra, match=r"Install the extra 'train'"):
        TensornetsGraph.build(STEM)


def test_a_pulled_file_is_resolved_by_its_catalogue_name(model, tmp_path, monkeypatch):
    monkeypatch.setenv("BOXWRIGHT_HOME", str(tmp_path))
    (tmp_path / "weights").mkdir()
    entry = entry_of("tensornets-yolov2-voc")
    write_tensornets(model, tmp_path / "weights" / entry.file)
    loaded = resolve.resolve_model(entry.name)
    assert (loaded.name, loaded.spec, loaded.provenance["catalogue"]) == (entry.name, VOC, entry.name)
    assert_equal(loaded.arrays, model.arrays)
