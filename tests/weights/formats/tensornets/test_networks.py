"""Networks, labels and variable names agree with those of tensornets."""

import sys
from dataclasses import replace

import numpy as np
import pytest

from detector.errors import ArraysError, NetworkError, SettingError
from detector.network.architectures import darknet19, tiny_yolov2, yolov2
from detector.network.layers import Conv
from detector.network.shapes import array_shapes
from detector.network.spec import Model, ModelSpec
from tests.weights.formats.tensornets.networks import BACKBONE, TINY_VOC, VOC, assert_close, make_labels, random_images
from weights.engines.factory import build_engine
from weights.formats.tensornets.compat import import_tensornets
from weights.formats.tensornets.graph import TensornetsGraph
from weights.formats.tensornets.mapping import tensornets_network
from weights.hub.catalogue import entry_of, spec_of

pytestmark = pytest.mark.slow  # many graphs of tensornets


@pytest.mark.parametrize(
    "spec",
    [
        replace(TINY_VOC, input_size=96),
        replace(TINY_VOC, input_size=64, labels=make_labels(3), network=tiny_yolov2(make_labels(3), filters=512)),
        BACKBONE,
        replace(BACKBONE, pixel_scale=1 / 128, pixel_offset=-1.0),
    ],
    ids=["tiny", "tiny with three labels", "backbone", "backbone with pixels from -1 to 1"],
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
    assert tensornets_network(BACKBONE).variables["conv6_5/gamma"] == "darknet19/conv6/5/bn/gamma:0"


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
        (yolov2(VOC.labels, order="darknet"), "Reorg.*darknet.* where tensornets' YOLOv2 has Reorg.*space-to-depth"),
        (yolov2(VOC.labels, filters=512), "filters=512.* where tensornets' YOLOv2 has .*filters=1024"),
        (tiny_yolov2(VOC.labels, filters=512), "filters=512.* where tensornets' TinyYOLOv2VOC has .*filters=1024"),
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


def test_a_backbone_that_tensornets_does_not_have_is_refused():
    with pytest.raises(NetworkError, match="nothing where tensornets' Darknet19 has"):
        tensornets_network(ModelSpec((), (), BACKBONE.network[:-1], 64))
    with pytest.raises(NetworkError, match="where tensornets' Darknet19 has nothing"):
        tensornets_network(ModelSpec((), (), (*BACKBONE.network, Conv("surplus", 8)), 64))


def test_arrays_that_do_not_fit_are_refused():
    with pytest.raises(ArraysError, match="conv1/kernel"):
        TensornetsGraph.build(BACKBONE).assign({})


def test_engines_are_found_by_name(tiny_model):
    assert build_engine(tiny_model).name == build_engine(tiny_model, "onnxruntime").name == "onnxruntime"
    assert build_engine(tiny_model, "tensorflow").name == "tensorflow"
    with pytest.raises(NetworkError, match="Choose another engine"):
        build_engine(tiny_model, "tensornets")
    with pytest.raises(SettingError, match="no engine 'abacus'; choose one of auto, onnxruntime, openvino, tensorflow, tensornets"):
        build_engine(tiny_model, "abacus")
