"""Responses of POST /detect."""

import base64
import io
import json
import math
from dataclasses import replace

import httpx
import numpy as np
import pytest
from PIL import Image

from detector.detector import Detector
from detector.engines.onnxruntime import OnnxEngine
from detector.imaging.draw import MAX_DRAWN_PIXELS, draw_detections, drawn_size
from detector.imaging.image import read_image
from service.app import create_app
from service.models.loaded_model import LoadedModel
from service.models.registry import Registry
from service.settings import Settings


@pytest.fixture(scope="module")
def detector(tiny_model):
    return Detector(tiny_model.spec, OnnxEngine.of(tiny_model))


def test_the_response_has_exactly_the_documented_fields(detect, make_image_bytes):
    response = detect(make_image_bytes(), confidence=0.05).json()
    assert list(response) == ["model", "version", "image", "detections", "timing_ms"]
    assert response["model"] == "tiny-random"
    assert response["image"] == {"width": 80, "height": 50}
    assert list(response["timing_ms"]) == ["decode", "prepare", "network", "select", "total"]
    assert list(response["detections"][0]) == ["label", "score", "box"]
    assert list(response["detections"][0]["box"]) == ["xmin", "ymin", "xmax", "ymax"]


def test_the_boxes_are_those_of_the_detector(detect, make_image_bytes, detector, tiny_model):
    expected = detector.detect(read_image(make_image_bytes()), score_threshold=0.05)
    response = detect(make_image_bytes(), confidence=0.05).json()["detections"]
    assert [detection["label"] for detection in response] == [tiny_model.spec.labels[class_id] for class_id in expected.class_ids]
    assert np.allclose([detection["score"] for detection in response], expected.scores, atol=5e-5)
    assert np.allclose([list(detection["box"].values()) for detection in response], expected.boxes, atol=5e-3)


def test_the_best_score_comes_first_and_boxes_are_inside_the_image(detect, make_image_bytes):
    response = detect(make_image_bytes(), confidence=0, max_detections=1000).json()["detections"]
    scores = [detection["score"] for detection in response]
    assert len(scores) > 3
    assert scores == sorted(scores, reverse=True)
    assert all(
        0 <= detection["box"]["xmin"] <= detection["box"]["xmax"] <= 80 and 0 <= detection["box"]["ymin"] <= detection["box"]["ymax"] <= 50
        for detection in response
    )


def test_the_total_time_includes_every_stage(detect, make_image_bytes):
    timing = detect(make_image_bytes()).json()["timing_ms"]
    assert timing["total"] >= sum(value for stage, value in timing.items() if stage != "total") - 0.05  # every value is rounded
    assert min(timing.values()) >= 0


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "image/jpeg"},
        {"content-type": "application/octet-stream"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "text/plain"},
        {},
    ],
    ids=lambda headers: headers.get("content-type", "none"),
)
def test_a_plain_body_is_an_image_for_any_content_type(detect, make_image_bytes, headers):
    assert detect(make_image_bytes(), headers).json()["image"] == {"width": 80, "height": 50}


def test_a_form_field_gives_the_same_boxes_as_a_plain_body(send_request, tiny_app, detect, make_image_bytes):
    def form(part):
        return send_request(tiny_app, "POST", "/detect?confidence=0.05", files={"image": part}).json()["detections"]

    expected = detect(make_image_bytes(), confidence=0.05).json()["detections"]
    assert form(("dog.jpg", make_image_bytes(), "image/jpeg")) == expected
    assert form(("dog.jpg", make_image_bytes())) == expected


def test_a_form_part_needs_no_file_name_and_no_content_type(detect, make_image_bytes):
    body = b'--edge\r\nContent-Disposition: form-data; name="image"\r\n\r\n' + make_image_bytes() + b"\r\n--edge--\r\n"
    response = detect(body, {"content-type": "multipart/form-data; boundary=edge"}, confidence=0.05)
    assert response.json()["detections"] == detect(make_image_bytes(), confidence=0.05).json()["detections"]


def test_confidence_omits_lower_scores(detect, make_image_bytes):
    everything = detect(make_image_bytes(), confidence=0).json()["detections"]
    middle = everything[len(everything) // 2]["score"]
    rest = detect(make_image_bytes(), confidence=middle + 1e-4).json()["detections"]
    assert rest == [detection for detection in everything if detection["score"] > middle + 1e-4]
    assert 0 < len(rest) < len(everything)


def test_the_parameter_classes_keeps_only_the_named_labels(detect, make_image_bytes):
    everything = detect(make_image_bytes(), confidence=0.01).json()["detections"]
    some = detect(make_image_bytes(), confidence=0.01, classes=["dog", "cat"]).json()["detections"]
    assert some == [detection for detection in everything if detection["label"] != "person"]
    assert {detection["label"] for detection in everything} == {"cat", "dog", "person"}


def test_max_detections_keeps_the_best(detect, make_image_bytes):
    everything = detect(make_image_bytes(), confidence=0.01).json()["detections"]
    assert detect(make_image_bytes(), confidence=0.01, max_detections=2).json()["detections"] == everything[:2]


def test_an_iou_of_one_suppresses_nothing(detect, make_image_bytes):
    few, many = (detect(make_image_bytes(), confidence=0.01, iou=iou).json()["detections"] for iou in (0, 1))
    assert len(few) < len(many)


def test_format_image_is_the_image_with_boxes(detect, make_image_bytes, detector, tiny_model):
    image = read_image(make_image_bytes())
    drawn = draw_detections(image, detector.detect(image, score_threshold=0.05), tiny_model.spec.labels)
    response = detect(make_image_bytes(), {"accept": "image/png"}, format="image", confidence=0.05)
    assert response.headers["content-type"] == "image/png"
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(response.content))), drawn)
    assert not np.array_equal(image, drawn)


def test_format_image_is_a_jpeg_unless_png_is_preferred(detect, make_image_bytes):
    response = detect(make_image_bytes(), {"accept": "image/jpeg, image/png;q=0.9"}, format="image")
    assert response.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(response.content)).size == (80, 50)


def test_an_image_too_long_for_a_jpeg_is_sent_as_png(detect, make_image_bytes):
    response = detect(make_image_bytes(65_510, 1, form="PNG"), {"accept": "image/jpeg"}, format="image")
    assert response.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(response.content)).size == (65_510, 1)


def test_format_both_is_json_with_the_annotated_image(detect, make_image_bytes):
    response = detect(make_image_bytes(), {"accept": "image/png"}, format="both", confidence=0.05).json()
    assert response["detections"] == detect(make_image_bytes(), confidence=0.05).json()["detections"]
    assert response["annotated"]["media_type"] == "image/png"
    drawn = detect(make_image_bytes(), {"accept": "image/png"}, format="image", confidence=0.05).content
    assert base64.b64decode(response["annotated"]["base64"]) == drawn


@pytest.fixture(scope="module")
def antialiased_app(tiny_model):
    """The service of a model that accepts large JPEGs decoded at a reduced scale."""
    model = replace(tiny_model, spec=replace(tiny_model.spec, resample="antialiased"))
    return create_app(Registry([LoadedModel.of(model, OnnxEngine.of(model))]), Settings())


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_a_large_image_has_the_same_scores_with_and_without_drawing(antialiased_app, send_request, make_image_bytes, form):
    content = make_image_bytes(900, 700, form=form)
    responses = [
        send_request(antialiased_app, "POST", "/detect", content=content, params={"confidence": 0.01, "format": response_format}).json()
        for response_format in ("json", "both")
    ]
    assert responses[0]["detections"] == responses[1]["detections"] != []
    assert responses[0]["image"] == responses[1]["image"] == {"width": 900, "height": 700}


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_a_large_image_is_drawn_at_full_size(antialiased_app, send_request, make_image_bytes, form):
    content = make_image_bytes(900, 700, form=form)
    response = send_request(antialiased_app, "POST", "/detect?format=image&confidence=1", content=content, headers={"accept": "image/png"})
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(response.content))), read_image(content))


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_an_image_above_the_limit_is_drawn_at_reduced_size(antialiased_app, send_request, form):
    width, height = MAX_DRAWN_PIXELS // 4000 + 500, 4000
    file = io.BytesIO()
    Image.linear_gradient("L").resize((width, height)).save(file, form)
    image, both = (
        send_request(
            antialiased_app, "POST", f"/detect?format={each}&confidence=1", content=file.getvalue(), headers={"accept": "image/jpeg"}
        )
        for each in ("image", "both")
    )
    size = Image.open(io.BytesIO(image.content)).size
    assert size == drawn_size(width, height)
    assert math.prod(size) <= MAX_DRAWN_PIXELS
    assert float(image.headers["x-image-scale"]) == both.json()["annotated"]["scale"] == round(size[0] / width, 6)
    assert both.json()["image"] == {"width": width, "height": height}


def test_an_image_within_the_limit_has_no_scale(detect, make_image_bytes):
    assert "x-image-scale" not in detect(make_image_bytes(), format="image").headers
    assert "scale" not in detect(make_image_bytes(), format="both").json()["annotated"]


def test_format_both_runs_the_network_once(tiny_model, make_image_bytes, send_request):
    calls = []
    engine = OnnxEngine.of(tiny_model)

    class CountingEngine:
        name = "counting"

        def __call__(self, images):
            calls.append(len(images))
            return engine(images)

    app = create_app(Registry([LoadedModel.of(tiny_model, CountingEngine())]), Settings())
    calls.clear()
    assert send_request(app, "POST", "/detect?format=both", content=make_image_bytes()).status_code == 200
    assert calls == [1]


@pytest.mark.parametrize(
    ("form", "mode", "options"),
    [
        ("PNG", "P", {"transparency": 3}),
        ("PNG", "RGBA", {}),
        ("PNG", "1", {}),
        ("PNG", "L", {}),
        ("JPEG", "CMYK", {}),
        ("JPEG", "L", {}),
        ("GIF", "P", {}),
        ("WEBP", "RGB", {}),
        ("BMP", "RGB", {}),
        ("TIFF", "RGB", {}),
    ],
)
def test_every_image_format_and_mode_is_accepted(detect, make_image_bytes, form, mode, options):
    response = detect(make_image_bytes(40, 30, form=form, mode=mode, **options))
    assert response.status_code == 200, response.text
    assert response.json()["image"] == {"width": 40, "height": 30}


def test_a_16_bit_image_is_accepted(detect):
    file = io.BytesIO()
    Image.fromarray(np.linspace(0, 65535, 40 * 30).astype(np.uint16).reshape(30, 40)).save(file, "PNG")
    assert detect(file.getvalue()).json()["image"] == {"width": 40, "height": 30}


def test_the_first_frame_of_an_animation_is_used(detect):
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "blue", "green")]
    animated, first_frame = io.BytesIO(), io.BytesIO()
    frames[0].save(animated, "GIF", save_all=True, append_images=frames[1:])
    frames[0].save(first_frame, "GIF")
    responses = [detect(file.getvalue(), confidence=0).json()["detections"] for file in (animated, first_frame)]
    assert responses[0] == responses[1]


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 5000), (5000, 1), (2, 3)])
def test_extreme_sizes_are_answered_in_every_format(detect, make_image_bytes, width, height):
    for form in ("json", "image", "both"):
        response = detect(make_image_bytes(width, height, form="PNG"), format=form, confidence=0.01)
        assert response.status_code == 200, response.text
    assert response.json()["image"] == {"width": width, "height": height}


def test_boxes_refer_to_the_upright_image(detect, make_image_bytes):
    pixels = Image.open(io.BytesIO(make_image_bytes(80, 50, form="PNG")))
    exif = Image.Exif()
    exif[0x0112] = 6  # EXIF orientation: rotate clockwise to display
    rotated, upright = io.BytesIO(), io.BytesIO()
    pixels.transpose(Image.Transpose.ROTATE_90).save(rotated, "PNG", exif=exif)
    pixels.save(upright, "PNG")
    first, second = (detect(file.getvalue(), confidence=0.01).json() for file in (rotated, upright))
    assert first["image"] == {"width": 80, "height": 50}
    assert first["detections"] == second["detections"]


def test_a_request_with_the_default_content_type_of_curl_is_answered(served, make_image_bytes):
    response = httpx.post(f"{served.url}/detect", content=make_image_bytes(), headers={"content-type": "application/x-www-form-urlencoded"})
    assert json.loads(response.content)["image"] == {"width": 80, "height": 50}
