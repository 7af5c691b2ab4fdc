"""The Open Inference Protocol with tritonclient."""

import base64
import io

import numpy as np
import pytest
from PIL import Image
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from detector.imaging.image import read_image
from tests.service.routes.protocols.open_inference import LOW_CONFIDENCE, NAMES

LABELS = ["cat", "dog", "person"]


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
def test_an_image_without_boxes_gives_empty_tensors(triton, make_image_bytes, binary):
    outputs = [InferRequestedOutput(name, binary_data=binary) for name in NAMES]
    result = triton.infer("tiny-random", image_input([make_image_bytes()]), outputs=outputs, parameters={"confidence": 1.0})
    assert [result.as_numpy(name).shape for name in NAMES] == [(1, 0, 4), (1, 0), (1, 0), (1, 0), (1,)]


def test_only_requested_outputs_are_sent_each_in_its_requested_form(triton, make_image_bytes):
    outputs = [InferRequestedOutput("scores", binary_data=True), InferRequestedOutput("labels", binary_data=False)]
    response = triton.infer("tiny-random", image_input([make_image_bytes()]), outputs=outputs, parameters=LOW_CONFIDENCE).get_response()
    assert [(output["name"], "data" in output) for output in response["outputs"]] == [("scores", False), ("labels", True)]
    assert "id" not in response


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
