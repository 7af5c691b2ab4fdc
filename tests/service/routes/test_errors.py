"""Error responses of POST /detect: status, kind of problem, and a message."""

import pytest

from detector.engines.onnxruntime import OnnxEngine
from service.app import create_app
from service.models.loaded_model import LoadedModel
from service.models.registry import Registry
from service.schemas.problem_kinds import PROBLEM_KINDS
from service.settings import Settings

FORM = "multipart/form-data; boundary=edge"


def part(name, data):
    return b'--edge\r\nContent-Disposition: form-data; name="' + name + b'"; filename="x"\r\n\r\n' + data + b"\r\n"


def check(response, status, slug):
    """Check that the response is a problem of this kind with a message."""
    problem = response.json()
    assert (response.status_code, problem["type"]) == (status, f"urn:boxwright:problem:{slug}"), response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert problem["status"] == status
    assert problem["title"] in {kind.title for kind in PROBLEM_KINDS.values()}
    assert len(problem["detail"]) > 20
    assert "Traceback" not in problem["detail"]
    return problem


@pytest.mark.parametrize(
    ("body", "status", "slug"),
    [
        (b"", 400, "empty-image"),
        (b"just some text, not an image", 415, "not-an-image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415, "not-an-image"),
        (b"\x00" * 1000, 415, "not-an-image"),
    ],
    ids=["empty", "text", "svg", "zeros"],
)
def test_a_body_that_is_not_an_image_is_refused(detect, body, status, slug):
    check(detect(body), status, slug)


def test_a_png_with_60000_x_60000_pixels_is_refused_from_its_header(detect, png_with_claimed_size):
    check(detect(png_with_claimed_size(60_000, 60_000)), 413, "image-too-large")


def test_a_png_with_fewer_pixels_than_declared_is_refused(detect, png_with_claimed_size):
    check(detect(png_with_claimed_size(100, 100)), 422, "damaged-image")


def test_a_truncated_jpeg_is_refused(detect, make_image_bytes):
    complete = make_image_bytes(200, 150)
    check(detect(complete[: len(complete) // 2]), 422, "damaged-image")


def test_an_image_above_the_pixel_limit_is_refused(tiny_model, make_image_bytes, send_request):
    app = create_app(Registry([LoadedModel.of(tiny_model, OnnxEngine.of(tiny_model))]), Settings(max_pixels=79 * 50))
    check(send_request(app, "POST", "/detect", content=make_image_bytes(80, 50)), 413, "image-too-large")
    assert send_request(app, "POST", "/detect", content=make_image_bytes(79, 50)).status_code == 200


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({"confidence": "2"}, ["confidence"]),
        ({"confidence": "-0.1"}, ["confidence"]),
        ({"confidence": "nan"}, ["confidence"]),
        ({"confidence": "high"}, ["confidence"]),
        ({"iou": "1.01"}, ["iou"]),
        ({"max_detections": "0"}, ["max_detections"]),
        ({"max_detections": "1001"}, ["max_detections"]),
        ({"format": "xml"}, ["format"]),
        ({"confidnce": "0.5"}, ["confidnce"]),
        ({"confidence": "2", "iou": "x" * 1000}, ["confidence", "iou"]),
    ],
    ids=str,
)
def test_an_invalid_parameter_is_named(detect, make_image_bytes, query, names):
    problem = check(detect(make_image_bytes(), **query), 422, "bad-parameter")
    assert [entry["parameter"] for entry in problem["errors"]] == names
    assert all(name in problem["detail"] for name in names)
    assert len(problem["detail"]) < 500


@pytest.mark.parametrize(
    ("name", "known"),
    [("confidance", "confidence"), ("Confidence", "confidence"), ("class", "classes"), ("max_detection", "max_detections")],
)
def test_an_unknown_parameter_gets_the_closest_one_as_suggestion(detect, make_image_bytes, name, known):
    problem = check(detect(make_image_bytes(), **{name: "1"}), 422, "bad-parameter")
    assert problem["detail"] == f"{name}: Unknown parameter. Did you mean '{known}'? See /docs for the parameters."


def test_an_unknown_parameter_that_resembles_no_other_gets_no_suggestion(detect, make_image_bytes):
    assert check(detect(make_image_bytes(), x="1"), 422, "bad-parameter")["detail"] == "x: Unknown parameter. See /docs for the parameters."


def test_an_unknown_class_is_refused_with_a_list_of_the_known_ones(detect, make_image_bytes):
    problem = check(detect(make_image_bytes(), classes=["cat", "unicorn"]), 422, "unknown-class")
    assert all(name in problem["detail"] for name in ("unicorn", "cat", "dog", "person"))


def test_an_unknown_model_is_refused_with_a_list_of_the_known_ones(detect, make_image_bytes):
    problem = check(detect(make_image_bytes(), model="yolov9"), 404, "unknown-model")
    assert "yolov9" in problem["detail"]
    assert "tiny-random" in problem["detail"]


def test_an_unsupported_content_type_is_refused(detect, make_image_bytes):
    check(detect(make_image_bytes(), {"content-type": "multipart/mixed; boundary=edge"}), 415, "unsupported-body")


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        pytest.param("multipart/form-data", part(b"image", b"x") + b"--edge--\r\n", id="no boundary"),
        pytest.param("multipart/form-data; boundary=" + "e" * 300, b"", id="a boundary too long"),
        pytest.param(FORM, b"", id="empty"),
        pytest.param(FORM, b"not a form", id="no form"),
        pytest.param(FORM, b"--edge--\r\n", id="no part"),
        pytest.param(FORM, part(b"image", b"x"), id="truncated"),
        pytest.param(FORM, part(b"picture", b"x") + b"--edge--\r\n", id="another name"),
        pytest.param(FORM, part(b"image", b"x") + part(b"confidence", b"0.5") + b"--edge--\r\n", id="two fields"),
        pytest.param(FORM, part(b"image", b"x") * 17 + b"--edge--\r\n", id="17 parts"),
        pytest.param(FORM, b"--edge\r\nContent-Type: image/jpeg\r\n\r\nx\r\n--edge--\r\n", id="a part without name"),
        pytest.param(
            FORM, part(b"image", b"x").replace(b"form-data", b"form-data; a=" + b"x" * 5000) + b"--edge--\r\n", id="a header too long"
        ),
        pytest.param(FORM, part(b"image", b"x").replace(b"Content", b"X-Y: z\r\n" * 8 + b"Content", 1) + b"--edge--\r\n", id="9 headers"),
    ],
)
def test_an_invalid_form_is_refused(detect, content_type, body):
    check(detect(body, {"content-type": content_type}), 400, "bad-form")


def test_an_empty_file_in_a_form_is_an_empty_image(detect):
    check(detect(part(b"image", b"") + b"--edge--\r\n", {"content-type": FORM}), 400, "empty-image")


def test_a_body_above_the_limit_is_refused_and_one_at_the_limit_is_read(tiny_model, make_image_bytes, send_request):
    body = make_image_bytes()
    app = create_app(Registry([LoadedModel.of(tiny_model, OnnxEngine.of(tiny_model))]), Settings(max_body_bytes=len(body)))
    assert send_request(app, "POST", "/detect", content=body).status_code == 200

    async def chunks():
        for start in range(0, len(body) + 1, 100):
            yield (body + b"\x00")[start : start + 100]

    for content in (body + b"\x00", chunks()):
        response = send_request(app, "POST", "/detect", content=content)
        assert f"{len(body):,}" in check(response, 413, "body-too-large")["detail"]
        assert response.headers["connection"] == "close"


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nowhere", 404), ("GET", "/detect", 405), ("POST", "/models", 405)])
def test_an_unknown_path_or_method_is_a_problem_too(send_request, tiny_app, method, path, status):
    response = send_request(tiny_app, method, path)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["type"] == "about:blank"
    assert path in response.json()["detail"]
    assert ("allow" in response.headers) == (status == 405)


def test_an_internal_error_is_logged_and_its_message_is_not_sent(tiny_model, make_image_bytes, send_request, caplog):
    engine = OnnxEngine.of(tiny_model)
    working = True

    class FailingEngine:
        name = "failing"

        def __call__(self, images):
            if not working:
                raise ZeroDivisionError("secret inside")
            return engine(images)

    app = create_app(Registry([LoadedModel.of(tiny_model, FailingEngine())]), Settings())
    working = False
    response = send_request(app, "POST", "/detect", content=make_image_bytes())
    assert response.status_code == 500
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["type"] == "urn:boxwright:problem:unexpected"
    assert "secret" not in response.text
    assert "ZeroDivisionError" not in response.text
    (record,) = [record for record in caplog.records if record.name == "boxwright.service"]
    assert record.exc_info[0] is ZeroDivisionError
    working = True
    assert send_request(app, "POST", "/detect", content=make_image_bytes()).status_code == 200


def test_long_values_are_shortened_in_error_messages(detect, make_image_bytes):
    long = "x" * 5000
    for query in ({"model": long}, {"classes": long}, {long: "1"}, {f"unknown{number}": "1" for number in range(500)}):
        response = detect(make_image_bytes(), **query)
        assert response.status_code in (404, 422)
        assert len(response.content) < 4000


def test_a_compressed_body_is_refused(detect, make_image_bytes):
    response = detect(make_image_bytes(), headers={"content-encoding": "gzip"})
    assert (response.status_code, response.json()["type"]) == (415, "urn:boxwright:problem:unsupported-body")
    assert "compressed (gzip)" in response.json()["detail"]
