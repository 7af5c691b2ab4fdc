"""Darknet .cfg files: official networks, round trips and layer names."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.errors import ModelFileError, NetworkError
from detector.network.architectures import darknet19, tiny_yolov2, upsampling_head, yolov2
from detector.network.layers import Conv, Reorg, Upsample
from detector.network.shapes import operations, parameters
from detector.network.spec import ModelSpec
from tests.weights.formats.darknet.cfg_lines import CONV, NET
from weights.formats.darknet.cfg import DARKNET_EPSILON, MAX_CFG_BYTES, format_cfg, parse_cfg, read_cfg
from weights.formats.darknet.weights import read_darknet
from weights.formats.layer_names import name_layers

VOC = tuple(f"class {index}" for index in range(20))
COCO = tuple(f"class {index}" for index in range(80))


def without_epsilon(network):
    return tuple(replace(layer, epsilon=0.0) if isinstance(layer, Conv) else layer for layer in network)


@pytest.mark.parametrize(
    ("name", "network", "labels", "input_size", "billion_operations", "million_parameters"),
    [
        ("yolov2-voc", yolov2(VOC, order="darknet"), VOC, 416, 29.36, 50.676061),
        ("yolov2-coco", yolov2(COCO, order="darknet"), COCO, 608, 62.94, 50.983561),
        ("yolov2-tiny-voc", tiny_yolov2(VOC), VOC, 416, 6.97, 15.867885),
        ("yolov2-tiny-coco", tiny_yolov2(COCO, filters=512), COCO, 416, 5.41, 11.237145),
    ],
)
def test_official_networks_equal_ours_layer_by_layer(shared, name, network, labels, input_size, billion_operations, million_parameters):
    spec = read_cfg(shared / "weights" / f"{name}.cfg")
    assert without_epsilon(spec.network) == without_epsilon(network)
    assert {layer.epsilon for layer in spec.network if isinstance(layer, Conv) and layer.normalize} == {DARKNET_EPSILON}
    assert (spec.labels, spec.input_size, spec.fit, spec.resample) == (labels, input_size, "letterbox", "darknet")
    assert (spec.pixel_scale, spec.pixel_offset, len(spec.anchors), spec.edges) == (1 / 255, 0, 5, "inclusive")
    assert round(operations(spec.network, input_size) / 1e9, 2) == billion_operations  # as published
    assert parameters(spec.network) == million_parameters * 1e6  # from the size of the official file


def test_anchors_are_the_published_ones(shared):
    spec = read_cfg(shared / "weights" / "yolov2-voc.cfg")
    assert spec.anchors == ((1.3221, 1.73145), (3.19275, 4.00944), (5.05587, 8.09892), (9.47112, 4.84053), (11.2364, 10.0071))


def test_the_first_layers_of_a_classifier_are_a_backbone(shared):
    spec = read_cfg(shared / "weights" / "darknet19_448.cfg", layers=23)
    assert without_epsilon(spec.network) == without_epsilon(darknet19().layers)
    assert (spec.labels, spec.anchors, spec.input_size, spec.is_detector) == ((), (), 448, False)


def test_a_classifier_is_refused_with_advice_to_read_its_backbone(shared):
    with pytest.raises(NetworkError, match=r"darknet19_448\.cfg: line 193: \[avgpool\].*use --layers 24\."):
        read_cfg(shared / "weights" / "darknet19_448.cfg")


def test_every_official_cfg_survives_a_round_trip(shared):
    for path in sorted((shared / "weights").glob("yolo*.cfg")):
        spec = read_cfg(path)
        assert parse_cfg(format_cfg(spec)) == spec, path.name


@settings(deadline=None)
@given(data=st.data())
def test_parsing_is_the_inverse_of_formatting(darknet_models, data):
    spec = data.draw(darknet_models).spec
    assert parse_cfg(format_cfg(spec)) == spec


def test_an_upsampling_layer_is_read_and_written():
    spec = parse_cfg(NET + "[maxpool]\nsize=4\nstride=4\n[upsample]\nstride=2\n[upsample]\n")
    assert spec.network[1:] == (Upsample("upsample1", 2), Upsample("upsample2", 2))
    assert format_cfg(spec).count("[upsample]\nstride=2\n") == 2
    head = ModelSpec(VOC, ((1.0, 1.0),) * 5, upsampling_head(VOC, filters=8), 64)
    assert [type(layer) for layer in parse_cfg(format_cfg(head)).network] == [type(layer) for layer in head.network]


def test_an_upsampling_layer_that_scales_its_input_is_refused():
    with pytest.raises(NetworkError, match=r"\[upsample\] scale=2 is not supported"):
        parse_cfg(NET + "[upsample]\nscale=2\n")


def test_a_stage_ends_at_each_pool_and_strided_convolution():
    text = (
        CONV * 2
        + "[maxpool]\nstride=2\n"
        + CONV
        + CONV
        + "stride=2\nfilters=4\n"
        + CONV
        + "filters=4\n[route]\nlayers=-1\n[reorg]\nstride=2\n"
        + CONV
    )
    assert [layer.name for layer in parse_cfg(NET + text).network] == [
        *("conv1_1", "conv1_2", "pool1", "conv2", "conv3_1", "conv3_2", "route1", "reorg1", "conv4"),
    ]


def test_a_narrow_yolov2_gets_our_layer_names_and_a_longer_network_does_not():
    narrow = yolov2(("a",), backbone=darknet19(0.25), filters=8)
    assert name_layers(narrow) == narrow
    assert name_layers(narrow)[-1].name == "linear"
    assert name_layers((*narrow, Conv("x", 3)))[-1].name == "conv7_3"


def test_labels_replace_the_generated_ones():
    region = "filters=12\n[region]\nanchors=1,2,3,4\nclasses=1\nnum=2\nsoftmax=1\n"
    assert parse_cfg(NET + CONV + region).labels == ("class 0",)
    assert parse_cfg(NET + CONV + region, labels=["raccoon"]).labels == ("raccoon",)
    with pytest.raises(NetworkError, match=r"--labels gives 2 labels, but the network has 1 class\."):
        parse_cfg(NET + CONV + region, labels=["raccoon", "cat"])


def test_reorg3d_is_space_to_depth_and_reorg_old_is_reorg():
    def order(kind):
        return parse_cfg(NET + CONV + f"filters=4\n[{kind}]\nstride=2\n").network[1].order

    assert [order(kind) for kind in ("reorg", "reorg_old", "reorg3d")] == ["darknet", "darknet", "space-to-depth"]


def test_the_weights_of_an_edited_cfg_are_read(shared, tmp_path):
    weights = shared / "weights" / "yolo-lite-voc-bn.weights"
    original = shared / "weights" / "yolo-lite-voc-bn.cfg"
    edited = original.read_text().replace("filters=125", "filters=125 # 5*(20+5)").replace("width=224", "width=224 # was 416")
    edited = (
        edited.replace("[net]", "[net]\nbatch=64\nbatch=1")
        .replace("16.62,10.52", "16.62,10.52,")
        .replace("[region]", "[reorg3d]\nstride=1\n[region]")
    )
    (tmp_path / "edited.cfg").write_text(edited)
    expected, model = read_darknet(original, weights), read_darknet(tmp_path / "edited.cfg", weights)
    assert (model.spec.anchors, model.spec.labels, model.spec.input_size) == (expected.spec.anchors, expected.spec.labels, 224)
    assert len(model.spec.network) == len(expected.spec.network) + 1
    assert all(
        np.array_equal(array, expected_array) for array, expected_array in zip(model.arrays.values(), expected.arrays.values(), strict=True)
    )


def test_a_large_file_is_refused_without_reading_it(tmp_path):
    path = tmp_path / "a.cfg"
    path.write_bytes(b"#" * (MAX_CFG_BYTES + 1))
    with pytest.raises(ModelFileError, match=r"a\.cfg has 1048577 bytes, but a text file of this kind has at most 1048576"):
        read_cfg(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pixel_scale": 1 / 128}, r"input is pixel / 255, but this network's is pixel \* 0\.0078125 \+ 0\.0"),
        ({"pixel_offset": 0.5}, r"\+ 0\.5; a \.cfg cannot express that"),
        ({"network": (Conv("c", 4, size=2, padding=(0, 1)),)}, "layer 'c': a .cfg cannot express padding of 0 before and 1 after"),
        ({"network": (Conv("c", 4), Reorg("r"))}, "layer 'r': Darknet's reorg is not space-to-depth"),
        ({"labels": (), "network": (Conv("c", 10),)}, "requires at least one class"),
    ],
)
def test_a_network_that_a_cfg_cannot_express_is_refused(small_model, change, message):
    anchors = {"anchors": ()} if change.get("labels") is None and "network" in change else {}
    with pytest.raises(NetworkError, match=message):
        format_cfg(replace(small_model.spec, **change, **anchors))
