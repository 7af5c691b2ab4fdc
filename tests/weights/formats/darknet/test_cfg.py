"""Darknet .cfg files: official networks, round trips, and text that is refused with its line."""

import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.errors import ModelError, ModelFileError, NetworkError, SettingError
from detector.network import Conv, MaxPool, Reorg, Route, Shortcut, Upsample, darknet19, tiny_yolov2, upsampling_head, yolov2
from detector.shapes import operations, parameters
from detector.spec import ModelSpec
from weights.formats.darknet.cfg import DARKNET_EPSILON, MAX_CFG_BYTES, format_cfg, parse_cfg, read_cfg
from weights.formats.darknet.weights import read_darknet
from weights.formats.layer_names import name_layers

NET = "[net]\nwidth=32\nheight=32\nchannels=3\n"  # four lines
CONV = "[convolutional]\nactivation=leaky\n"
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


def test_the_first_layers_of_a_classifier_are_a_stem(shared):
    spec = read_cfg(shared / "weights" / "darknet19_448.cfg", layers=23)
    assert without_epsilon(spec.network) == without_epsilon(darknet19().layers)
    assert (spec.labels, spec.anchors, spec.input_size, spec.is_detector) == ((), (), 448, False)


def test_a_classifier_is_refused_with_advice_to_read_its_stem(shared):
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


def test_defaults_are_those_of_darknets_parser():
    spec = parse_cfg(NET + "[convolutional]\n[maxpool]\n[maxpool]\nstride=2\n[reorg]\n[shortcut]\nfrom=-1\n")
    assert spec.network == (
        Conv("conv1", 1, size=1, normalize=False, activation="logistic"),
        MaxPool("pool1", size=1, stride=1),
        MaxPool("pool2", size=2, stride=2),
        Reorg("reorg1", stride=1, order="darknet"),
        Shortcut("shortcut1", "reorg1", "linear"),
    )


@pytest.mark.parametrize(
    ("options", "pads"),
    [
        ("size=3", 0),
        ("size=3\npad=1", 1),
        ("size=5\npad=1", 2),
        ("size=3\npadding=2", 2),
        ("size=3\npad=1\npadding=2", 1),
        ("size=2\npad=1", 1),
    ],
)
def test_pad_is_half_the_size_and_padding_is_cells(options, pads):
    (conv,) = parse_cfg(NET + CONV + "stride=32\n" + options).network
    assert conv.pads == (pads, pads)


def test_route_layers_are_relative_if_negative_and_absolute_otherwise():
    spec = parse_cfg(NET + CONV * 3 + "[route]\nlayers = -1, 0,-3\n")
    assert spec.network[-1] == Route("route1", ("conv1_3", "conv1_1", "conv1_1"))


@pytest.mark.parametrize(
    "text",
    [
        NET.replace("\n", "\r\n") + CONV.replace("\n", "\r\n"),
        NET.replace("\n", "\r") + CONV.replace("\n", "\r"),
        "# a comment\n; another\n\n" + NET.replace("=", " =\t") + "   [convolutional]  \n  activation = leaky",
        NET.replace("[net]", "[network]")
        + "momentum=0.9\nsteps=1,2\n"
        + CONV.replace("convolutional", "conv")
        + "stopbackward=1\ndilation=1",
    ],
)
def test_whitespace_comments_line_ends_and_aliases_have_no_effect(text):
    assert parse_cfg(text) == parse_cfg(NET + CONV)


def test_comments_may_be_in_any_encoding_and_the_file_may_have_a_byte_order_mark(tmp_path):
    path = tmp_path / "a.cfg"
    path.write_bytes(b"\xef\xbb\xbf" + NET.encode() + b"# caf\xe9 \xff\x85\n" + CONV.encode())
    assert read_cfg(path) == parse_cfg(NET + CONV)


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
    with pytest.raises(NetworkError, match="--labels gives 2 labels, but the network has 1 class\\."):
        parse_cfg(NET + CONV + region, labels=["raccoon", "cat"])


@pytest.mark.parametrize("layers", [-1, 0, 3])
def test_an_invalid_number_of_layers_is_refused(layers):
    with pytest.raises(SettingError, match=f"--layers must be 1 to 2, the number of layers in the .cfg; got {layers}"):
        parse_cfg(NET + CONV * 2, layers=layers)


REGION = CONV + "filters=14\n[region]\nanchors=1,2,3,4\nclasses=2\nnum=2\nsoftmax=1\n"  # lines 5 to 12


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"the first section must be \[net\]"),
        (CONV, r"the first section must be \[net\]"),
        (NET, "the network has no layers"),
        ("size=3\n" + NET, "line 1: 'size=3' is before the first"),
        (NET + "what\n", r"line 5: 'what' is not a \[section\]"),
        (NET + "x=\n", "line 5: 'x=' has no value"),
        (NET + "[net] comment\n", r"line 5: '\[net\]comment' is not a section: only a comment may follow"),
        (NET + "[net\n", r"line 5: '\[net' is not a section"),
        (NET + NET, r"line 5: \[net\] is not supported"),
        (NET + "width=64\n", r"line 5: \[net\] width=64 contradicts width=32 in line 2\. Darknet uses the first.*Delete one of the lines"),
        (NET.replace("width=32\n", "") + CONV, r"line 1: \[net\] has no 'width'"),
        (NET.replace("width=32", "width=64") + CONV, "width and height must be equal, got 64 and 32"),
        (NET.replace("channels=3", "channels=1") + CONV, r"channels must be 3 \(red, green, blue\), got 1"),
        (NET.replace("=32", "=5000") + CONV, "input_size must be 1 to 4096"),
        (NET + "[dropout]\nprobability=.5\n", r"line 5: \[dropout\] is not supported. Supported sections: \[convolutional\]"),
        (NET + CONV + "[cost]\n", r"line 7: \[cost\].*use --layers 1\."),
        (NET + CONV + "size=three\n", r"line 7: \[convolutional\] size must be an integer of 32 bits, got 'three'"),
        (NET + CONV + "size=3.0\n", "got '3.0'"),
        (NET + CONV + "size=1_0\n", "got '1_0'"),
        (NET + CONV + "filters=2147483648\n", "got '2147483648'"),
        (NET + CONV + "size=0\n", r"line 7: \[convolutional\] size must be at least 1, got 0"),
        (NET + CONV + "dilation=2\n", r"line 7: \[convolutional\] dilation=2 is not supported"),
        (NET + CONV + "activaton=relu\n", "activaton=relu is not supported. If the network computes the same without it, delete the line"),
        (NET + "[convolutional]\nactivation=ramp\n", "line 6: .* activation must be one of linear, leaky, .*; got 'ramp'"),
        (NET + CONV + "filters=3\ngroups=2\n", "groups=2 must divide channels=3 and filters=3"),
        (NET + "[reorg]\nstride=2\nreverse=1\n", r"line 7: \[reorg\] reverse=1 is not supported"),
        (NET + "[reorg]\nflatten=1\n", "flatten=1 is not supported"),
        (NET + "[reorg]\nextra=7\n", "extra=7 is not supported"),
        (NET + "[reorg]\nstride=2\n", "Darknet's order needs a multiple of 4 channels, got 3"),
        (NET + "[maxpool]\nsize=2\npadding=9\n", "padding 0 to 2"),
        (NET + CONV + "[route]\n", r"line 7: \[route\] has no 'layers'"),
        (NET + CONV + "[route]\nlayers=1\n", r"line 8: \[route\] is layer 1, but layers refers to layer 1, which is not before it"),
        (NET + CONV + "[route]\nlayers=-2\n", "refers to layer -2, which is not before it"),
        (NET + CONV + "[route]\nlayers=-1,\n", "layers=-1, has a surplus comma at its end; Darknet adds layer 0 for it. Delete the comma"),
        (NET + CONV + "[route]\nlayers=0\ngroups=2\n", "groups=2 is not supported"),
        (NET + CONV + "[shortcut]\nfrom=0,0\n", "from must name one layer, got 2"),
        (NET + CONV + "filters=2\n" + CONV + "[shortcut]\nfrom=0\n", "the shapes must be equal"),
        (NET + REGION + CONV, r"line 8: \[region\] must be the last section"),
        (NET + REGION.replace("=14", "=15"), "has 15 outputs; 2 anchors and 2 labels need 14"),
        (NET + REGION.replace("softmax=1", "softmax=0"), r"line 8: \[region\] softmax must be 1"),
        (NET + REGION.replace("softmax=1", ""), "softmax must be 1"),
        (NET + REGION + "coords=5\n", "coords=5 is not supported"),
        (NET + REGION + "tree=coco.tree\n", "tree=coco.tree is not supported"),
        (NET + REGION.replace("num=2", "num=3"), "has num=3, so anchors must be 6 numbers; got 4"),
        (NET + REGION.replace("=1,2", "=1,nan"), "line 9: .* anchors must be a number, got 'nan'"),
        (NET + REGION.replace("=1,2", "=1e400,2"), "anchors must be a number, got '1e400'"),
        (NET + REGION.replace("=1,2", "=0,2"), "anchors must be positive"),
        (NET + REGION.replace("classes=2", "classes=2000000000"), "classes must be at most 100000"),
        (NET + "[maxpool]\n" * 1001, "the .cfg has 1001 layers; the limit is 1000"),
    ],
)
def test_unsupported_or_invalid_text_is_refused_and_the_message_names_the_line(text, message):
    with pytest.raises(NetworkError, match=message):
        parse_cfg(text)


@pytest.mark.parametrize(
    "text",
    [
        NET + CONV + "filters=4 # 2*(1+1)\nsize=3;size\npad=1\nstride=1 // one\n",
        NET.replace("width=32", "width=32 # was 416") + CONV + "filters=4,\nsize=3\npad=1\n",
        NET.replace("[net]", "[net] # network") + CONV.replace("l]", "l]  ; first") + "filters=4\nsize=3\npad=1\n",
        NET + "batch=1\nbatch=64\nsteps=1,2,\nlearning_rate=0.1\nlearning_rate=0.2\n" + CONV + "filters=4\nsize=3\npad=1\n",
        NET + CONV + "filters=4\nsize=3\npad=1\nstopbackward=1\nstopbackward=2\nfilters=4 # again\n",
    ],
    ids=["comment after a value", "comma after a number", "comment after a section", "duplicates without effect", "equal duplicates"],
)
def test_numbers_end_at_a_comment_and_options_without_effect_may_contradict_each_other(text):
    assert parse_cfg(text) == parse_cfg(NET + CONV + "filters=4\nsize=3\npad=1\n")


@pytest.mark.parametrize(
    ("old", "new"),
    [("3,4", "3,4,"), ("3,4", "3,4 # two, of them"), ("classes=2", "classes=2 #voc"), ("softmax=1", "softmax=1\nthresh=.1\nthresh=.2")],
)
def test_a_region_accepts_a_trailing_comma_and_comments(old, new):
    assert parse_cfg(NET + REGION.replace(old, new)) == parse_cfg(NET + REGION)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (NET + CONV + "[route]\nlayers=-1 # one, two\n", "has a surplus comma in its comment; Darknet adds layer 0 for it"),
        (NET + CONV + "[shortcut]\nfrom=-1,\n", "has a surplus comma at its end"),
        (NET + "[convolutional]\nactivation=leaky # not relu\n", "line 6: .* Darknet reads the comment as a part of the value. Move it"),
        (NET + CONV + "size=3x\n", "must be an integer of 32 bits, got '3x'. If the rest is a comment, move it to a separate line"),
        (NET + CONV + "size=3.0\n", "got '3.0'"),
        (NET + CONV + "size=# three\n", "line 7: 'size=#three' has no value. Add the value or delete the line"),
        (NET + CONV + "a note\n", "line 7: 'anote' is not a .section., an option=value or a comment, which begins with #"),
        (NET + CONV + "size=3\nsize=1\n", "size=1 contradicts size=3 in line 7. Darknet uses the first, OpenCV the last. Delete one"),
        (NET + CONV + "dilation=1\ndilation=2\n", "dilation=2 contradicts dilation=1"),
        (NET + CONV + "unknown=1\nunknown=2\n", "unknown=1 is not supported"),
        (NET + REGION.replace("3,4", "3,,4"), "a surplus comma or no value. Each item must be a number"),
        (NET + REGION.replace("3,4", "3,4,,"), "a surplus comma or no value"),
    ],
)
def test_ambiguous_text_is_refused_with_advice(text, message):
    with pytest.raises(NetworkError, match=message):
        parse_cfg(text)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
def test_a_utf_16_file_is_refused_with_advice(tmp_path, encoding):
    path = tmp_path / "a.cfg"
    path.write_bytes(("" if encoding == "utf-16" else "\ufeff").encode(encoding) + (NET + CONV).encode(encoding))
    with pytest.raises(ModelFileError, match=r"a\.cfg is UTF-16 text\. Save it as UTF-8\."):
        read_cfg(path)


def test_yolov1_is_refused_by_name():
    with pytest.raises(NetworkError, match=r"\[detection\] belongs to YOLOv1, which is not supported"):
        parse_cfg(NET + CONV + "[connected]\noutput=1470\n[detection]\nclasses=20\n")


@pytest.mark.parametrize("kind", ["yolo", "Gaussian_yolo"])
def test_yolov3_and_later_are_refused_by_name(kind):
    text = NET + CONV + f"[upsample]\nstride=2\n[{kind}]\nmask=0,1,2\n"
    with pytest.raises(NetworkError, match=rf"line 9: \[{kind}\] belongs to YOLOv3 or later, which is not supported\."):
        parse_cfg(text)
    assert parse_cfg(text, layers=1) == parse_cfg(NET + CONV)


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


def test_a_mutated_cfg_is_read_or_refused(shared):
    rng = random.Random(2)
    lines = (shared / "weights" / "yolov2-voc.cfg").read_text().splitlines(keepends=True)
    pieces = ["=", "-1", "0", "9" * 12, "[route]\n", "[region]\n", "\n", "#", ",", "\0", "\u00ff", "stride=0\n", "size=-3\n", " ", "[", "]"]
    refused = 0
    for _ in range(2000):
        text = list(lines)
        for _ in range(rng.randint(1, 3)):
            index = rng.randrange(len(text))
            match rng.randrange(4):
                case 0:
                    del text[index:][: rng.randint(1, 3)]
                    text.pop(index)
                case 1:
                    text.insert(index, rng.choice(pieces))
                case 2:
                    text[index] = text[rng.randrange(len(text))]
                case _:
                    cut = rng.randrange(len(text[index]) + 1)
                    text[index] = text[index][:cut] + rng.choice(pieces) + text[index][cut + rng.randint(0, 2) :]
        try:
            parse_cfg("".join(text))
        except ModelError:
            refused += 1
    assert 200 < refused < 1900  # some files are read, some are refused
