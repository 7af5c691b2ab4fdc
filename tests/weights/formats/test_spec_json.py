"""Specs as JSON: round trips and invalid documents."""

import json
from dataclasses import fields

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.errors import ModelError, ModelFileError
from detector.network.architectures import efficientnet_lite0, upsampling_head, yolov2
from detector.network.spec import ModelSpec
from weights.formats.spec_json import spec_from_json, spec_to_json


@settings(deadline=None)
@given(data=st.data())
def test_every_spec_survives_a_round_trip_through_json(any_models, data):
    spec = data.draw(any_models).spec
    assert spec_from_json(spec_to_json(spec)) == spec


def test_unusual_labels_and_numbers_survive_a_round_trip():
    labels = ("Straße", "犬", "a / b")
    network = yolov2(labels, backbone=efficientnet_lite0(), filters=8)
    spec = ModelSpec(labels, ((0.1, 1e-3),) * 5, network, 64, "stretch", "antialiased", 1 / 128, -127 / 128)
    assert spec_from_json(spec_to_json(spec)) == spec


def test_a_spec_with_an_upsampling_head_survives_a_round_trip():
    spec = ModelSpec(("a",), ((1.0, 1.0),) * 5, upsampling_head(("a",), backbone=efficientnet_lite0(), filters=8), 64)
    assert spec_from_json(spec_to_json(spec)) == spec


SPEC_EDITS = [
    ({"surprise": 1}, "spec has the unknown field 'surprise'"),
    ({"labels": "cat"}, "spec.labels must be a list, got 'cat'"),
    ({"labels": ["cat", 1]}, r"spec.labels\[1\] must be a string, got 1"),
    ({"anchors": [[1, 2, 3]]}, r"spec.anchors\[0\] must be a list of 2"),
    ({"anchors": [[1, "2"]]}, r"spec.anchors\[0\]\[1\] must be a number"),
    ({"anchors": [[True, 2]]}, r"spec.anchors\[0\]\[0\] must be a number, got True"),
    ({"input_size": 16.0}, "spec.input_size must be a whole number from 0 to 2147483647, got 16.0"),
    ({"input_size": True}, "spec.input_size must be a whole number"),
    ({"input_size": 10**30}, "spec.input_size must be a whole number"),
    ({"input_size": -16}, "spec.input_size must be a whole number"),
    ({"input_size": 0}, "input_size must be 1 to"),
    ({"fit": "crop"}, "spec.fit must be one of letterbox, stretch, got 'crop'"),
    ({"resample": None}, "spec.resample must be one of"),
    ({"pixel_scale": float("nan")}, "spec is not valid JSON: NaN is not a JSON number"),
    ({"pixel_scale": 10**400}, "spec.pixel_scale must be a number"),
    ({"network": {}}, "spec.network must be a list of at most 1000 layers"),
    ({"network": [{}] * 1001}, "spec.network must be a list of at most 1000 layers"),
    ({"network": [7]}, r"spec.network\[0\] must be an object, got 7"),
    ({"network": []}, "the network has no layers"),
    ({"labels": ["dog", "dog"]}, "label 'dog' appears twice"),
]


@pytest.mark.parametrize(("edit", "message"), SPEC_EDITS)
def test_an_invalid_spec_is_refused_and_the_message_names_the_field(small_model, edit, message):
    spec = json.loads(spec_to_json(small_model.spec)) | edit
    with pytest.raises(ModelError, match=f"^{message}"):
        spec_from_json(json.dumps(spec))


@pytest.mark.parametrize(
    ("layer", "edit", "message"),
    [
        (0, {"type": "dense"}, r"spec.network\[0\].type must be one of conv, maxpool, reorg, route, shortcut, upsample, got 'dense'"),
        (0, {"type": None}, r"spec.network\[0\].type must be one of"),
        (0, {"filters": "4"}, r"spec.network\[0\].filters must be a whole number"),
        (0, {"filters": 0}, "filters, size, stride and groups must be at least 1"),
        (3, {"filters": 6}, "layer 'shortcut1': adds 'conv2_1'"),
        (0, {"normalize": 1}, r"spec.network\[0\].normalize must be true or false"),
        (0, {"activation": "ramp"}, r"spec.network\[0\].activation must be one of linear"),
        (0, {"epsilon": None}, r"spec.network\[0\].epsilon must be a number"),
        (0, {"padding": [1]}, r"spec.network\[0\].padding must be a list of 2"),
        (0, {"bias": True}, r"spec.network\[0\] has the unknown field 'bias'"),
        (1, {"padding": [0, 1]}, r"spec.network\[1\].padding must be a whole number"),
        (1, {"stride": 0}, "size and stride must be at least 1"),
        (4, {"source": "missing"}, "no earlier layer is named 'missing'"),
        (6, {"layers": "conv1"}, r"spec.network\[6\].layers must be a list"),
        (7, {"order": "other"}, r"spec.network\[7\].order must be one of darknet, space-to-depth"),
    ],
)
def test_an_invalid_layer_is_refused_and_the_message_names_the_field(small_model, layer, edit, message):
    spec = json.loads(spec_to_json(small_model.spec))
    spec["network"][layer] |= edit
    with pytest.raises(ModelError, match=message):
        spec_from_json(json.dumps(spec))


def test_every_field_is_required(small_model):
    spec = json.loads(spec_to_json(small_model.spec))
    assert spec.keys() == {field.name for field in fields(ModelSpec)}
    for name in spec:
        with pytest.raises(ModelFileError, match=f"spec lacks the field '{name}'"):
            spec_from_json(json.dumps({key: value for key, value in spec.items() if key != name}))
    for index, layer in enumerate(spec["network"]):
        assert layer.keys() - {"type"} == {field.name for field in fields(small_model.spec.network[index])}
        for name in layer.keys() - {"type"}:
            shortened = [*spec["network"][:index], {key: value for key, value in layer.items() if key != name}]
            with pytest.raises(ModelFileError, match=rf"spec.network\[{index}\] lacks the field '{name}'"):
                spec_from_json(json.dumps(spec | {"network": shortened}))


@pytest.mark.parametrize("text", ["", "{", '{"a": 1, "a": 1}', "[" * 50_000, '{"labels": Infinity}', "1" * 5000, '"\\ud800"', "null"])
def test_invalid_json_is_refused(text):
    with pytest.raises(ModelFileError, match=r"^spec (is not valid JSON: .*|must be an object, got .*)\.$"):
        spec_from_json(text)
