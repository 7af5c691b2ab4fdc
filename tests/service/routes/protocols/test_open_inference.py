"""The Open Inference Protocol with hand-written requests."""

import base64
import json
import struct

import numpy as np
import pytest

from detector.imaging.image import read_image
from service.errors import BadJson
from service.routes.open_inference.inputs import parse_infer
from tests.service.routes.protocols.open_inference import LOW_CONFIDENCE, NAMES

INFER = "/v2/models/tiny-random/infer"


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


@pytest.fixture(scope="module")
def infer(http):
    """Return a function (JSON or bytes, binary tensors, declared length of the JSON) -> response."""

    def send(head, rest=b"", length=None):
        text = head if isinstance(head, bytes) else json.dumps(head).encode()
        headers = {"Inference-Header-Content-Length": str(len(text)) if length is None else length} if rest or length else {}
        headers = {} if length == "" else headers
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
        (binary_request(7), ELEMENT, "", "so the header Inference-Header-Content-Length is required"),
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
        (json_request(["AAAA"], parameters={"confidence": 10**400}), b"", None, "parameters.confidence"),
        (
            json_request(["AAAA"], parameters={"confidnce": 0.5}),
            b"",
            None,
            "parameters: unknown key 'confidnce'. Did you mean 'confidence'? See /docs",
        ),
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


def test_the_model_name_that_kserves_python_client_adds_to_the_body_is_ignored(http, make_image_bytes):
    request = json_request([base64.b64encode(make_image_bytes()).decode()])
    added = {"id": "ab12", "model_name": "tiny-random"}
    response = http.post(INFER, json=request | added)
    assert response.status_code == 200, response.text
    assert response.json()["outputs"] == http.post(INFER, json=request).json()["outputs"]


def test_the_content_types_that_mlservers_client_adds_have_no_effect(http):
    pixels = {"name": "pixels", "shape": [1, 8, 8, 3], "datatype": "UINT8", "data": [7] * 192}
    added = {"parameters": {"content_type": "np"}}
    response = http.post(INFER, json={"inputs": [pixels | added]} | added)
    assert response.status_code == 200, response.text
    assert response.json() == http.post(INFER, json={"inputs": [pixels]}).json()


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
def test_the_requests_of_the_bug_report_about_null_are_answered(http, shared, name):
    body = (shared / "cases" / "23-kserve-json-null" / name).read_bytes()
    response = http.post(INFER, content=body, headers={"content-type": "application/json"})
    assert response.status_code == 200, response.text


def test_lists_that_are_nested_deeper_than_a_tensor_are_refused():
    """Each level of millions of lists would cost a pass over all of them, so the depth is limited."""
    data = b",".join([b"[" * 170 + b"1,2,3" + b"]" * 170] * 4)
    body = b'{"inputs": [{"name": "pixels", "datatype": "UINT8", "shape": [1, 1, 4, 3], "data": [' + data + b"]}]}"
    with pytest.raises(BadJson, match=r"must be whole numbers from 0 to 255 \(.list"):
        parse_infer(body, None)
