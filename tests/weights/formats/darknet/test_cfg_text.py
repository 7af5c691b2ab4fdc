"""The text of Darknet .cfg files: defaults, comments and encodings, and text that is refused with its line."""

import random

import pytest

from detector.errors import ModelError, NetworkError, SettingError
from detector.network.layers import Conv, MaxPool, Reorg, Route, Shortcut
from tests.weights.formats.darknet.cfg_lines import CONV, NET
from weights.formats.darknet.cfg import parse_cfg, read_cfg


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
def test_pad_adds_half_the_size_and_padding_adds_its_number_of_cells(options, pads):
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
        (NET + "[net] comment\n", r"line 5: '\[net\]comment' is not a section: write \[name\], and after it only a comment"),
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


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_a_utf_16_file_is_read(tmp_path, encoding):
    path = tmp_path / "a.cfg"
    path.write_bytes(("\ufeff" + NET + CONV).encode(encoding))
    assert read_cfg(path) == parse_cfg(NET + CONV)


def test_yolov1_is_refused_by_name():
    with pytest.raises(NetworkError, match=r"\[detection\] belongs to YOLOv1, which is not supported"):
        parse_cfg(NET + CONV + "[connected]\noutput=1470\n[detection]\nclasses=20\n")


@pytest.mark.parametrize("kind", ["yolo", "Gaussian_yolo"])
def test_yolov3_and_later_are_refused_by_name(kind):
    text = NET + CONV + f"[upsample]\nstride=2\n[{kind}]\nmask=0,1,2\n"
    with pytest.raises(NetworkError, match=rf"line 9: \[{kind}\] belongs to YOLOv3 or later, which is not supported\."):
        parse_cfg(text)
    assert parse_cfg(text, layers=1) == parse_cfg(NET + CONV)


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
