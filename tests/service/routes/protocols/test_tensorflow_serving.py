"""The REST interface of TensorFlow Serving."""

import base64

import numpy as np
import pytest

URL = "/v1/models/tiny-random"
LABELS = ["cat", "dog", "person"]


def b64(data):
    return {"b64": base64.b64encode(data).decode()}


def to_native(row, size):
    """Convert a row of predictions to labels, scores and corners in pixels."""
    count = int(row["num_detections"])
    corners = np.array(row["detection_boxes"]).reshape(-1, 4)[:count, [1, 0, 3, 2]] * np.tile(size, 2)
    classes = [LABELS[int(class_number) - 1] for class_number in row["detection_classes"][:count]]
    assert classes == row["detection_class_entities"][:count]
    return classes, row["detection_scores"][:count], corners


def check_same(row, size, expected):
    labels, scores, corners = to_native(row, size)
    assert labels == [detection["label"] for detection in expected]
    assert np.allclose(scores, [detection["score"] for detection in expected], atol=5.1e-5)
    assert np.allclose(corners, [list(detection["box"].values()) for detection in expected], atol=5.1e-3)


SIZES = [(80, 50), (33, 64)]


@pytest.mark.parametrize("version", ["", "/versions/1"])
@pytest.mark.parametrize("named", [False, True])
def test_rows_of_instances_get_the_native_boxes(http, native, two_images, version, named):
    instances = [{"image_bytes": b64(image_bytes)} if named else b64(image_bytes) for image_bytes in two_images]
    body = {"signature_name": "serving_default", "instances": instances}
    response = http.post(f"{URL}{version}:predict?confidence=0.05", json=body).json()
    assert list(response) == ["predictions"]
    for row, image_bytes, size in zip(response["predictions"], two_images, SIZES, strict=True):
        check_same(row, size, native(image_bytes))


@pytest.mark.parametrize("named", [False, True])
def test_columns_of_inputs_get_the_same_as_rows(http, two_images, named):
    images = [b64(image_bytes) for image_bytes in two_images]
    inputs = {"image_bytes": images} if named else images
    columns = http.post(f"{URL}:predict?confidence=0.05", json={"inputs": inputs}).json()["outputs"]
    rows = http.post(f"{URL}:predict?confidence=0.05", json={"instances": images}).json()["predictions"]
    assert [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)] == rows


def test_outputs_are_padded_with_zeros(http, two_images):
    outputs = http.post(f"{URL}:predict?confidence=0.05", json={"inputs": [b64(image_bytes) for image_bytes in two_images]}).json()[
        "outputs"
    ]
    counts = np.array(outputs["num_detections"], int)
    largest = counts.max()
    assert counts.min() < largest
    assert np.array(outputs["detection_boxes"]).shape == (2, largest, 4)
    fewest = counts.argmin()
    assert not np.any(outputs["detection_boxes"][fewest][counts[fewest] :])
    assert not np.any(outputs["detection_scores"][fewest][counts[fewest] :])
    assert not np.any(outputs["detection_classes"][fewest][counts[fewest] :])


def test_an_image_without_boxes_is_a_row_of_empty_lists(http, make_image_bytes):
    (row,) = http.post(f"{URL}:predict?confidence=1", json={"instances": [b64(make_image_bytes())]}).json()["predictions"]
    assert row == {name: 0.0 if name == "num_detections" else [] for name in row}


@pytest.mark.parametrize("version", ["", "/versions/1"])
def test_status_and_metadata_have_the_format_of_tensorflow_serving(http, version):
    assert http.get(f"{URL}{version}").json() == {
        "model_version_status": [{"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}]
    }
    metadata = http.get(f"{URL}{version}/metadata").json()
    assert metadata["model_spec"] == {"name": "tiny-random", "signature_name": "", "version": "1"}
    signature = metadata["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["inputs"]["image_bytes"]["dtype"] == "DT_STRING"
    assert signature["outputs"]["detection_boxes"]["tensor_shape"]["dim"] == [
        {"size": "-1", "name": ""},
        {"size": "-1", "name": ""},
        {"size": "4", "name": ""},
    ]


def test_the_metadata_names_the_outputs(http, make_image_bytes):
    outputs = http.post(f"{URL}:predict", json={"inputs": [b64(make_image_bytes())]}).json()["outputs"]
    metadata = http.get(f"{URL}/metadata").json()["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert list(outputs) == list(metadata["outputs"])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, 'either "instances" or "inputs"'),
        ({"instances": [{"b64": "AAAA"}], "inputs": [{"b64": "AAAA"}]}, 'either "instances" or "inputs"'),
        ({"instances": []}, "at least 1"),
        ({"instances": [{"b64": "AAAA"}] * 17}, "at most 16"),
        ({"instances": ["AAAA"]}, 'instances.0: must be an image as {"b64"'),
        ({"instances": [{"image_bytes": "AAAA"}]}, 'instances.0: must be an image as {"b64"'),
        ({"instances": [{"b64": "AAAA", "x": 1}]}, 'instances.0: must be an image as {"b64"'),
        ({"instances": [{"b64": "A"}]}, "instances.0: is not base64"),
        ({"inputs": {"pixels": [{"b64": "AAAA"}]}}, "inputs"),
        ({"inputs": {"b64": "AAAA"}}, "inputs"),
        ({"instances": [{"b64": "AAAA"}], "signature_name": "other"}, "serving_default"),
        ({"instances": [{"b64": "AAAA"}]}, "the image format is unknown"),
        ({"instances": [{"b64": ""}]}, "empty"),
    ],
    ids=str,
)
def test_an_invalid_request_is_refused_with_a_message(http, body, message):
    response = http.post(f"{URL}:predict", json=body)
    assert (response.status_code, list(response.json())) == (400, ["error"])
    assert message in response.json()["error"]


def test_an_invalid_image_is_named_by_its_number(http, make_image_bytes):
    response = http.post(f"{URL}:predict", json={"instances": [b64(make_image_bytes()), b64(b"no image")]})
    assert response.status_code == 400
    assert response.json()["error"].startswith("image 2 of 2: ")


@pytest.mark.parametrize("path", ["/v1/models/other", "/v1/models/other:predict", f"{URL}/versions/2", f"{URL}/versions/2:predict"])
def test_an_unknown_model_is_not_found(http, path):
    response = http.post(path, json={"instances": []}) if path.endswith(":predict") else http.get(path)
    assert (response.status_code, list(response.json())) == (404, ["error"])


@pytest.mark.parametrize("version", ["", "/versions/1"])
def test_predict_with_get_is_a_wrong_method_and_not_an_unknown_model(http, version):
    response = http.get(f"{URL}{version}:predict")
    assert (response.status_code, response.headers["allow"]) == (405, "POST")
    assert "does not support GET" in response.json()["error"]


def test_an_unknown_parameter_gets_the_closest_one_as_suggestion(http, make_image_bytes):
    response = http.post(f"{URL}:predict?confidnce=0.5", json={"instances": [b64(make_image_bytes())]})
    assert "Did you mean 'confidence'?" in response.json()["error"]


@pytest.mark.parametrize("query", ["confidence=2", "confidnce=0.5", "iou=0.1&iou=0.2"])
def test_an_invalid_query_is_refused(http, make_image_bytes, query):
    response = http.post(f"{URL}:predict?{query}", json={"instances": [b64(make_image_bytes())]})
    assert (response.status_code, list(response.json())) == (400, ["error"])


def test_a_signature_name_of_null_is_the_default(http, make_image_bytes):
    response = http.post("/v1/models/tiny-random:predict", json={"signature_name": None, "instances": [b64(make_image_bytes())]})
    assert response.status_code == 200


@pytest.mark.parametrize(("given", "absent"), [("instances", "inputs"), ("inputs", "instances")])
def test_null_in_the_other_field_of_images_means_that_it_is_absent(http, make_image_bytes, given, absent):
    response = http.post(f"{URL}:predict", json={given: [b64(make_image_bytes())], absent: None})
    assert response.status_code == 200, response.text


def test_unknown_top_level_fields_are_ignored(http, make_image_bytes):
    body = {"instances": [b64(make_image_bytes())]}
    extended = body | {"model": "resnet", "id": 7, "parameters": {"a": None}, "version": None}
    responses = [http.post(f"{URL}:predict", json=each) for each in (body, extended)]
    assert responses[0].json() == responses[1].json()
    assert responses[1].status_code == 200


@pytest.mark.parametrize("method", [":classify", ":regress", ":x", "/versions/1:classify"])
def test_methods_other_than_predict_are_refused_like_tensorflow_serving_does(http, method):
    response = http.post(f"/v1/models/tiny-random{method}", json={"examples": []})
    assert (response.status_code, list(response.json())) == (400, ["error"])
    assert ":predict" in response.json()["error"]
