"""The Open Inference Protocol, with tritonclient and with hand-written requests."""

import base64
import io
import json
import struct

import numpy as np
import pytest
from PIL import Image
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from detector.imaging.image import read_image
from service.errors import BadJson
from service.routes.open_inference.inputs import parse_infer

INFER = "/v2/models/tiny-random/infer"
NAMES = ["boxes", "scores", "classes", "labels", "num_detections"]
LABELS = ["cat", "dog", "person"]
LOW_CONFIDENCE = {"confidence": 0.05}


@pytest.fixture(scope="module")
def triton(served):
    client = InferenceServerClient(f"127.0.0.1:{served.port}", network_timeout=30, connection_timeout=30)
    yield client
    client.close()


def image_input(images, binary=True):
    """Return image files as an input of tritonclient: raw if `binary`, else base64 in JSON."""
    values = images if binary else [base64.b64encode(image_bytes) for image_bytes in images]
    tensor = InferInput("image", [len(images)], "BYTES")
    return [tensor.set_data_from_numpy(np.array(values, object), binary_data=binary)]


def pixel_input(images, binary=True):
    array = np.stack(images)
    return [InferInput("pixels", list(array.shape), "UINT8").set_data_from_numpy(array, binary_data=binary)]


def check_same(result, row, expected):
    """Assert that row `row` of the outputs equals the native response."""
    count = result.as_numpy("num_detections")[row]
    assert count == len(expected) > 2
    boxes = np.array([list(detection["box"].values()) for detection in expected])
    assert np.allclose(result.as_numpy("boxes")[row, :count], boxes, atol=5.1e-3)
    assert np.allclose(result.as_numpy("scores")[row, :count], [detection["score"] for detection in expected], atol=5.1e-5)
    labels = [label.decode() if isinstance(label, bytes) else label for label in result.as_numpy("labels")[row, :count]]
    assert labels == [detection["label"] for detection in expected]
    assert [LABELS[class_id] for class_id in result.as_numpy("classes")[row, :count]] == labels


@pytest.mark.parametrize("binary_inputs", [True, False], ids=["binary data", "base64 in JSON"])
@pytest.mark.parametrize("binary_outputs", [None, True, False], ids=["all outputs", "binary outputs", "JSON outputs"])
def test_tritonclient_gets_the_native_boxes_for_files(triton, native, two_images, binary_inputs, binary_outputs):
    outputs = None if binary_outputs is None else [InferRequestedOutput(name, binary_data=binary_outputs) for name in NAMES]
    result = triton.infer(
        "tiny-random", image_input(two_images, binary_inputs), outputs=outputs, request_id="seven", parameters=LOW_CONFIDENCE
    )
    for row, image_bytes in enumerate(two_images):
        check_same(result, row, native(image_bytes))
    assert result.get_response()["id"] == "seven"
    assert (result.get_response()["model_name"], result.get_response()["model_version"]) == ("tiny-random", "1")
    assert all(("data" in result.get_output(name)) == (binary_outputs is False) for name in NAMES)


@pytest.mark.parametrize("binary_inputs", [True, False], ids=["binary data", "numbers in JSON"])
def test_tritonclient_gets_the_native_boxes_for_pixels(triton, native, make_image_bytes, binary_inputs):
    images = [make_image_bytes(41, 30, form="PNG"), make_image_bytes(41, 30, form="JPEG")]
    result = triton.infer(
        "tiny-random",
        pixel_input([read_image(image_bytes) for image_bytes in images], binary_inputs),
        model_version="1",
        parameters=LOW_CONFIDENCE,
    )
    for row, image_bytes in enumerate(images):
        check_same(result, row, native(image_bytes))


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 999), (999, 1), (3, 2)])
def test_pixels_of_any_size_give_the_native_boxes(triton, native, height, width):
    image = np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    result = triton.infer("tiny-random", pixel_input([image]), parameters=LOW_CONFIDENCE)
    check_same(result, 0, native(file.getvalue()))


def test_parameters_have_the_effect_of_the_native_query(triton, native, make_image_bytes):
    parameters = {"confidence": 0.01, "iou": 1.0, "max_detections": 4}
    check_same(
        triton.infer("tiny-random", image_input([make_image_bytes()]), parameters=parameters), 0, native(make_image_bytes(), **parameters)
    )


def test_outputs_are_padded_to_the_image_with_the_most_boxes(triton, two_images):
    result = triton.infer("tiny-random", image_input(two_images), parameters=LOW_CONFIDENCE)
    counts = result.as_numpy("num_detections")
    fewest, largest = int(counts.argmin()), int(counts.max())
    assert counts[fewest] < largest
    assert result.as_numpy("boxes").shape == (2, largest, 4)
    assert not result.as_numpy("boxes")[fewest, counts[fewest] :].any()
    assert not result.as_numpy("scores")[fewest, counts[fewest] :].any()
    assert set(result.as_numpy("classes")[fewest, counts[fewest] :]) == {-1}
    assert set(result.as_numpy("labels")[fewest, counts[fewest] :]) == {b""}


@pytest.mark.parametrize("binary", [True, False])
def test_no_boxes_are_an_empty_tensor(triton, make_image_bytes, binary):
    outputs = [InferRequestedOutput(name, binary_data=binary) for name in NAMES]
    result = triton.infer("tiny-random", image_input([make_image_bytes()]), outputs=outputs, parameters={"confidence": 1.0})
    assert [result.as_numpy(name).shape for name in NAMES] == [(1, 0, 4), (1, 0), (1, 0), (1, 0), (1,)]


def test_only_requested_outputs_are_sent_each_in_its_requested_form(triton, make_image_bytes):
    outputs = [InferRequestedOutput("scores", binary_data=True), InferRequestedOutput("labels", binary_data=False)]
    response = triton.infer("tiny-random", image_input([make_image_bytes()]), outputs=outputs, parameters=LOW_CONFIDENCE).get_response()
    assert [(output["name"], "data" in output) for output in response["outputs"]] == [("scores", False), ("labels", True)]
    assert "id" not in response


def test_a_body_may_be_one_image_file(http, native, make_image_bytes):
    response = http.post(INFER, content=make_image_bytes(), headers={"Inference-Header-Content-Length": "0"}).json()
    (count,) = response["outputs"][NAMES.index("num_detections")]["data"]
    assert count == len(native(make_image_bytes(), confidence=0.25))


@pytest.mark.parametrize("shape", [[2], [2, 1]])
@pytest.mark.parametrize("nested", [False, True])
def test_data_in_json_may_be_flat_or_nested(http, native, two_images, shape, nested):
    texts = [base64.b64encode(image_bytes).decode() for image_bytes in two_images]
    tensor = {"name": "image", "shape": shape, "datatype": "BYTES", "data": [[text] for text in texts] if nested else texts}
    response = http.post(INFER, json={"inputs": [tensor], "parameters": LOW_CONFIDENCE}).json()
    outputs = {output["name"]: np.array(output["data"]).reshape(output["shape"]) for output in response["outputs"]}
    assert outputs["num_detections"].tolist() == [len(native(image_bytes)) for image_bytes in two_images]


def test_pixels_in_json_may_be_nested_flat_or_base64(http, make_image_bytes):
    image = read_image(make_image_bytes(9, 7, form="PNG"))
    tensor = {"name": "pixels", "shape": [1, 7, 9, 3], "datatype": "UINT8"}
    text = base64.b64encode(image.tobytes()).decode()
    forms = [[image.tolist()], image.ravel().tolist(), text, [text]]
    responses = [http.post(INFER, json={"inputs": [tensor | {"data": form}], "parameters": LOW_CONFIDENCE}) for form in forms]
    assert [response.status_code for response in responses] == [200] * 4
    assert len({response.text for response in responses}) == 1


def test_binary_elements_may_be_base64(triton, native, make_image_bytes):
    tensor = InferInput("image", [1], "BYTES")
    tensor.set_data_from_numpy(np.array([base64.b64encode(make_image_bytes())], object))
    tensor._parameters["content_type"] = "base64"
    check_same(triton.infer("tiny-random", [tensor], parameters=LOW_CONFIDENCE), 0, native(make_image_bytes()))


def test_parameters_of_sequences_and_queues_are_ignored(triton, native, make_image_bytes):
    result = triton.infer(
        "tiny-random",
        image_input([make_image_bytes()]),
        sequence_id=3,
        sequence_start=True,
        priority=1,
        timeout=10,
        parameters=LOW_CONFIDENCE,
    )
    check_same(result, 0, native(make_image_bytes()))


def test_tritonclient_reads_health_and_metadata(triton):
    assert triton.is_server_live()
    assert triton.is_server_ready()
    assert triton.is_model_ready("tiny-random")
    assert triton.is_model_ready("tiny-random", "1")
    assert not triton.is_model_ready("tiny-random", "2")
    assert not triton.is_model_ready("other")
    server = triton.get_server_metadata()
    assert (server["name"], server["extensions"]) == ("boxwright", ["binary_tensor_data"])
    metadata = triton.get_model_metadata("tiny-random")
    assert metadata == triton.get_model_metadata("tiny-random", "1")
    assert (metadata["name"], metadata["versions"], metadata["platform"]) == ("tiny-random", ["1"], "onnxruntime")
    assert [(tensor["name"], tensor["datatype"], tensor["shape"]) for tensor in metadata["inputs"]] == [
        ("image", "BYTES", [-1]),
        ("pixels", "UINT8", [-1, -1, -1, 3]),
    ]


def test_outputs_agree_with_the_metadata(triton, two_images):
    documented = {output["name"]: output for output in triton.get_model_metadata("tiny-random")["outputs"]}
    response = triton.infer("tiny-random", image_input(two_images)).get_response()["outputs"]
    assert [output["name"] for output in response] == list(documented)
    for output in response:
        assert output["datatype"] == documented[output["name"]]["datatype"]
        assert len(output["shape"]) == len(documented[output["name"]]["shape"])
        assert all(expected in (-1, length) for expected, length in zip(documented[output["name"]]["shape"], output["shape"], strict=True))


def test_tritonclient_raises_the_error_of_a_refused_request(triton, make_image_bytes):
    with pytest.raises(InferenceServerException, match="image 2 of 2: the image format is unknown") as refused:
        triton.infer("tiny-random", image_input([make_image_bytes(), b"no image"]))
    assert refused.value.status() == "400"
    with pytest.raises(InferenceServerException, match="tiny-random") as refused:
        triton.get_model_metadata("other")
    assert refused.value.status() == "404"


@pytest.fixture(scope="module")
def infer(http):
    """Return a function (JSON or bytes, binary tensors, declared length of the JSON) -> response."""

    def send(head, rest=b"", length=None):
        text = head if isinstance(head, bytes) else json.dumps(head).encode()
        headers = {"Inference-Header-Content-Length": str(len(text)) if length is None else length} if rest or length else {}
        return http.post(INFER, content=text + rest, headers=headers)

    return send


def binary_request(size, name="image", shape=(1,), datatype="BYTES"):
    return {"inputs": [{"name": name, "shape": list(shape), "datatype": datatype, "parameters": {"binary_data_size": size}}]}


def json_request(data, name="image", shape=(1,), datatype="BYTES", **more):
    return {"inputs": [{"name": name, "shape": list(shape), "datatype": datatype, "data": data}], **more}


ELEMENT = struct.pack("<I", 3) + b"abc"


@pytest.mark.parametrize(
    ("head", "rest", "length", "message"),
    [
        (binary_request(7), ELEMENT, "x", "Inference-Header-Content-Length must be"),
        (binary_request(7), ELEMENT, "-1", "Inference-Header-Content-Length must be"),
        (binary_request(7), ELEMENT, "9" * 5000, "Inference-Header-Content-Length must be"),
        (binary_request(7), ELEMENT, "100000", "Inference-Header-Content-Length must be"),
        (binary_request(7), ELEMENT, "7", "cannot be parsed"),
        (binary_request(8), ELEMENT, None, "The JSON is followed by 7 bytes, but binary_data_size is 8"),
        (binary_request(2**31), b"", None, "The JSON is followed by 0 bytes"),
        (binary_request(2**70), b"", None, "binary_data_size"),
        (binary_request(7, shape=[2]), ELEMENT, None, "has 1 element, but its shape is [2]"),
        (binary_request(7, shape=[17]), ELEMENT, None, "1 to 16 images, got 17"),
        (binary_request(7, shape=[0]), ELEMENT, None, "1 to 16 images, got 0"),
        (binary_request(3), b"abc", None, "has 4 bytes, but only 3 follow"),
        (binary_request(7), b"\xff\xff\xff\xff" + b"abc", None, "states 4,294,967,295 bytes, but only 3 follow"),
        (binary_request(68), bytes(68), None, "more than 16 elements"),
        (binary_request(7), ELEMENT, None, "the image format is unknown"),
        (binary_request(4), bytes(4), None, "empty"),
        (binary_request(3, "pixels", (1, 1, 2, 3), "UINT8"), b"abc", None, "has 3 bytes, but its shape [1, 1, 2, 3] needs 6"),
        (binary_request(3, "pixels", (1, 0, 1, 3), "UINT8"), b"abc", None, "the input must be"),
        (binary_request(3, "pixels", (1, 2**31, 2**31, 3), "UINT8"), b"abc", None, "needs 13,835,058,055,282,163,712"),
        (binary_request(3, "pixels", (1, 1, 1, 3), "FP32"), b"abc", None, "the input must be 'image' BYTES [N] or 'pixels' UINT8"),
        (binary_request(3, "pixels", (1, 65_536, 1, 3), "UINT8"), b"abc", None, "needs 196,608"),
        (json_request(["AAAA"], name="input_1"), b"", None, "got 'input_1'"),
        (json_request(["AAAA"], shape=[-1]), b"", None, "shape.0"),
        (json_request(["AAAA"], shape=["1"]), b"", None, "shape.0"),
        (json_request(["AAAA"]) | {"inputs": []}, b"", None, "at least 1"),
        ({"inputs": json_request(["AAAA"])["inputs"] * 2}, b"", None, "at most 1"),
        (json_request(["AAAA"] * 17, shape=[16]), b"", None, "got 17"),
        (json_request([7]), b"", None, "an element must be a string with an image file in base64, got a number"),
        (json_request(["?"]), b"", None, "an element is not base64"),
        (json_request(None), b"", None, "either data or binary_data_size"),
        (json_request([[["AAAA"], "AAAA"]]), b"", None, "an element must be"),
        (json_request([0, 1, 256], "pixels", (1, 1, 1, 3), "UINT8"), b"", None, "whole numbers from 0 to 255"),
        (json_request([0, 1, 0.5], "pixels", (1, 1, 1, 3), "UINT8"), b"", None, "whole numbers from 0 to 255"),
        (json_request([0, 1], "pixels", (1, 1, 1, 3), "UINT8"), b"", None, "has 2 bytes"),
        (json_request(["AAAA"], outputs=[{"name": "masks"}]), b"", None, "outputs.0.name: Input should be 'boxes'"),
        (json_request(["AAAA"], outputs=[{"name": "boxes"}] * 2), b"", None, "may be requested once"),
        (json_request(["AAAA"], parameters={"confidence": 2}), b"", None, "parameters.confidence"),
        (json_request(["AAAA"], parameters={"confidnce": 0.5}), b"", None, "parameters.confidnce: unknown key"),
        (json_request(["AAAA"], id=7), b"", None, "id"),
        (
            {"inputs": [binary_request(7)["inputs"][0] | {"parameters": {"content_type": "hex"}}]},
            b"",
            None,
            "content_type: Input should be 'base64'",
        ),
        (b"", b"", None, "cannot be parsed"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_an_invalid_request_is_refused_with_a_message(infer, head, rest, length, message):
    response = infer(head, rest, length)
    assert (response.status_code, list(response.json())) == (400, ["error"])
    assert message in response.json()["error"]
    assert len(response.content) < 1000


def test_pixel_tensors_with_a_side_above_the_limit_are_refused_like_image_files(infer):
    response = infer(binary_request(3 * 65_536, "pixels", (1, 65_536, 1, 3), "UINT8"), bytes(3 * 65_536))
    assert (response.status_code, list(response.json())) == (413, ["error"])


def test_a_compressed_body_and_a_wrong_method_are_refused_in_the_format_of_the_protocol(http):
    responses = [http.post(INFER, content=b"x", headers={"content-encoding": "gzip"}), http.get(INFER), http.get("/v2/nothing")]
    assert [(response.status_code, list(response.json())) for response in responses] == [
        (400, ["error"]),
        (405, ["error"]),
        (404, ["error"]),
    ]


NULLS = [
    {"id": None, "parameters": None, "outputs": None},
    {"parameters": {"confidence": None, "iou": None, "max_detections": None, "binary_data_output": None, "priority": None}},
    {"outputs": [{"name": "boxes", "parameters": None}, {"name": "scores", "parameters": {"binary_data": None}}]},
]


@pytest.mark.parametrize("nulls", NULLS, ids=str)
def test_null_in_an_optional_field_means_that_it_is_absent(http, make_image_bytes, nulls):
    tensor = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [base64.b64encode(make_image_bytes()).decode()]}
    with_nulls = http.post(INFER, json={"inputs": [tensor | {"parameters": None}]} | nulls)
    assert with_nulls.status_code == 200, with_nulls.text
    names = [output["name"] for output in nulls.get("outputs") or []]
    without_nulls = http.post(INFER, json={"inputs": [tensor]} | ({"outputs": [{"name": name} for name in names]} if names else {}))
    assert with_nulls.json() == without_nulls.json()


@pytest.mark.parametrize("parameters", [{}, {"binary_data_size": None, "content_type": None}])
def test_null_in_the_parameters_of_an_input_means_that_they_are_absent(http, make_image_bytes, parameters):
    tensor = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [base64.b64encode(make_image_bytes()).decode()]}
    assert http.post(INFER, json={"inputs": [tensor | {"parameters": parameters}]}).status_code == 200


@pytest.mark.parametrize("field", ["name", "shape", "datatype", "data"])
def test_null_in_a_required_field_is_refused(http, field):
    tensor = {"name": "image", "shape": [1], "datatype": "BYTES", "data": ["AAAA"]}
    assert http.post(INFER, json={"inputs": [tensor | {field: None}]}).status_code == 400


@pytest.mark.parametrize("name", ["parameters.json", "outputs.json", "input.json"])
def test_the_reported_requests_with_null_are_answered(http, shared, name):
    body = (shared / "cases" / "23-kserve-json-null" / name).read_bytes()
    response = http.post(INFER, content=body, headers={"content-type": "application/json"})
    assert response.status_code == 200, response.text


def test_lists_that_are_nested_deeper_than_a_tensor_are_refused():
    """Each level of millions of lists would cost a pass over all of them, so the depth is limited."""
    data = b",".join([b"[" * 170 + b"1,2,3" + b"]" * 170] * 4)
    body = b'{"inputs": [{"name": "pixels", "datatype": "UINT8", "shape": [1, 1, 4, 3], "data": [' + data + b"]}]}"
    with pytest.raises(BadJson, match=r"must be whole numbers from 0 to 255 \(.list"):
        parse_infer(body, None)
