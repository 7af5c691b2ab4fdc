"""The Python client, against the real service and against responses that the service never sends."""

import threading
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import thread_time

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import boxwright
from detector.errors import SettingError, UnknownModel
from service.client import client as client_module
from service.client.client import ServiceClient, parse_retry_after
from service.client.errors import RequestRejected, ServiceBusy, ServiceUnreachable, UnexpectedResponse
from service.schemas.detections import DetectResponse


@pytest.fixture(scope="module")
def url(serve_app, tiny_app):
    with serve_app(tiny_app) as address:
        yield address


@pytest.fixture
def client(url):
    with ServiceClient(f"{url}/") as client:
        yield client


@contextmanager
def scripted_server(*responses):
    """Yield the address of a server that sends these responses (status, headers, body), and a list of the request bodies."""
    remaining, bodies = list(responses), []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            bodies.append(self.rfile.read(int(self.headers.get("content-length", 0))))
            status, headers, body = remaining.pop(0)
            self.send_response(status)
            for name, value in ({"content-length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", bodies
        finally:
            server.shutdown()
            thread.join()


def test_result_equals_the_json_response_with_every_option(client, url, make_image_bytes):
    options = {"model": "tiny-random", "confidence": 0.02, "iou": 0.3, "max_detections": 3}
    response = client.detect(make_image_bytes(), classes=["dog", "cat"], **options)
    expected = httpx.post(f"{url}/detect", content=make_image_bytes(), params=options | {"classes": ["dog", "cat"]}).json()
    assert response.model_dump(exclude={"timing_ms"}, exclude_none=True) == {
        key: expected[key] for key in ("model", "version", "image", "detections")
    }
    assert 0 < len(response.detections) <= 3


def test_annotated_image_is_included_on_request(client, url, make_image_bytes):
    assert client.detect(make_image_bytes()).annotated is None
    annotated = client.detect(make_image_bytes(), confidence=0.02, include_annotated=True).annotated.decoded()
    expected = httpx.post(f"{url}/detect", content=make_image_bytes(), params={"confidence": 0.02, "format": "image"})
    assert (annotated.media_type, annotated.data) == (expected.headers["content-type"], expected.content)


def test_models_are_listed(client):
    (model,) = client.models()
    assert (model.name, model.labels, model.default) == ("tiny-random", ["cat", "dog", "person"], True)


@pytest.mark.parametrize(
    ("content", "options", "status", "slug"),
    [
        (b"", {}, 400, "empty-image"),
        (b"not an image", {}, 415, "not-an-image"),
        (None, {"model": "missing"}, 404, "unknown-model"),
        (None, {"classes": ["unicorn"]}, 422, "unknown-class"),
        (None, {"confidence": 7}, 422, "bad-parameter"),
    ],
)
def test_refusal_has_the_message_of_the_service(client, url, make_image_bytes, content, options, status, slug):
    content = make_image_bytes() if content is None else content
    problem = httpx.post(f"{url}/detect", content=content, params=options).json()
    with pytest.raises(RequestRejected) as refused:
        client.detect(content, **options)
    title = "" if slug == "unknown-model" else f"{problem['title']}: "  # this detail begins with the words of its title
    assert str(refused.value) == f"{title}{problem['detail']}"
    assert (refused.value.status, refused.value.kind) == (status, f"urn:boxwright:problem:{slug}")


def test_client_retries_after_the_time_that_a_busy_service_states(serve_app, make_recording_app, recording_engine, make_image_bytes):
    """One image blocks the network and one is in the queue, until the client waits."""
    app = make_recording_app(queue_size=1)
    recording_engine.gate.clear()
    app.state.inference.queue.max_concurrency = 1
    waits, requests = [], []

    def sleep(seconds):
        waits.append(seconds)
        recording_engine.gate.set()
        for request in requests:
            request.join()

    with serve_app(app) as url:
        for _ in range(2):
            requests.append(threading.Thread(target=httpx.post, args=(f"{url}/detect",), kwargs={"content": make_image_bytes()}))
            requests[-1].start()
            assert recording_engine.entered.wait(30)
        while not app.state.inference.queue.waiting:
            httpx.get(f"{url}/livez")
        with ServiceClient(url, sleep=sleep) as client:
            response = client.detect(make_image_bytes(), confidence=0.02)
    assert response.detections
    assert len(waits) == 1
    assert waits[0] >= 1


BUSY_BODY = b'{"type": "urn:boxwright:problem:overloaded", "title": "Too many images wait", "status": 503, "detail": "The queue is full."}'
DETECTIONS_BODY = (
    b'{"model": "m", "image": {"width": 1, "height": 1}, "detections": [], '
    b'"timing_ms": {"decode": 1, "prepare": 1, "network": 1, "select": 1, "total": 4}}'
)


def test_every_attempt_sends_the_image():
    waits = []
    busy = [(503, {"retry-after": after}, BUSY_BODY) for after in ("7", "0", formatdate(0, usegmt=True))]
    with scripted_server(*busy, (200, {}, DETECTIONS_BODY)) as (url, bodies), ServiceClient(url, sleep=waits.append) as client:
        assert client.detect(b"image") == DetectResponse.model_validate_json(DETECTIONS_BODY)
    assert waits == [7, 1, 1]
    assert bodies == [b"image"] * 4


def test_client_gives_up_before_a_wait_that_exceeds_its_limit():
    waits, busy = [], (503, {"retry-after": "4"}, BUSY_BODY)
    with scripted_server(busy, busy, busy) as (url, _), ServiceClient(url, max_wait=10, sleep=waits.append) as client:
        with pytest.raises(ServiceBusy) as error:
            client.detect(b"image")
        assert f"{url} is busy for another 4 s. The client has waited 8 s of at most 10 s." in str(error.value)
    assert waits == [4, 4]


def test_service_that_is_busy_for_zero_seconds_again_and_again_does_not_keep_the_client_forever():
    waits, busy = [], (503, {"retry-after": "0"}, BUSY_BODY)
    with (
        scripted_server(*[busy] * 9) as (url, _),
        ServiceClient(url, max_wait=5, sleep=waits.append) as client,
        pytest.raises(ServiceBusy, match=r"waited 5 s of at most 5 s"),
    ):
        client.detect(b"image")
    assert waits == [1] * 5


def test_503_without_retry_after_is_an_error():
    with (
        scripted_server((503, {}, BUSY_BODY)) as (url, _),
        ServiceClient(url, sleep=pytest.fail) as client,
        pytest.raises(RequestRejected, match="The queue is full"),
    ):
        client.detect(b"image")


@pytest.mark.parametrize(
    ("status", "headers", "body", "message"),
    [
        (200, {}, b"<html>hello", "is not a response of Boxwright's service"),
        (200, {}, b'{"models": [{}]}', "is not a response of Boxwright's service"),
        (502, {}, b"<html>", "answered 502 'Bad Gateway' without a problem"),
        (302, {"location": "https://me:secret@else/"}, b"", "redirects .302. to 'https://else/'"),
    ],
)
def test_response_of_another_program_is_an_error(status, headers, body, message):
    with (
        scripted_server((status, headers, body)) as (url, _),
        ServiceClient(url) as client,
        pytest.raises(UnexpectedResponse, match=message),
    ):
        client.models()


def test_endless_response_is_cut_off(monkeypatch):
    monkeypatch.setattr(client_module, "MAX_RESPONSE_BYTES", 100_000)
    with (
        scripted_server((200, {}, bytes(200_000))) as (url, _),
        ServiceClient(url) as client,
        pytest.raises(UnexpectedResponse, match="more than 100,000 bytes"),
    ):
        client.models()


DETECTION = b'{"label": "a", "score": 1, "box": {"xmin": 0, "ymin": 0, "xmax": 1, "ymax": 1}}'


@pytest.mark.parametrize(
    "values",
    [b",".join([DETECTION] * 100_001), b",".join([b"[]"] * 200_001), b",".join([b"1"] * 2_000_001)],
    ids=["detections", "lists", "numbers"],
)
def test_response_with_millions_of_values_is_refused_before_it_is_parsed(values):
    """A response of 250 MB took 5 GB of memory and 47 s."""
    body = DETECTIONS_BODY.replace(b"[]", b"[" + values + b"]")
    problem = b'{"type": "a", "title": "a", "status": 400, "detail": "a", "errors": [' + values + b"]}"
    models = b'{"models": [], "refused": [], "x": [' + values + b"]}"
    with scripted_server((200, {}, body), (400, {}, problem), (200, {}, models)) as (url, _), ServiceClient(url) as client:
        for request in (lambda: client.detect(b"image"), lambda: client.detect(b"image"), client.models):
            used = thread_time()
            with pytest.raises(UnexpectedResponse):
                request()
            assert thread_time() - used < 0.3


@pytest.mark.parametrize(
    "detections",
    [
        *(DETECTION.replace(b'"xmin": 0', b'"xmin": ' + number) for number in (b"NaN", b"-Infinity", b"1e999")),
        DETECTION.replace(b'"score": 1', b'"score": NaN'),
    ],
)
def test_response_with_numbers_that_are_not_finite_is_refused(detections):
    body = DETECTIONS_BODY.replace(b"[]", b"[" + detections + b"]")
    with scripted_server((200, {}, body)) as (url, _), ServiceClient(url) as client, pytest.raises(UnexpectedResponse):
        client.detect(b"image")


def models_body(label):
    model = b'{"name": "m", "labels": ["%s"], "input_size": 1, "parameters": 1, "engine": "e", "default": true, "provenance": {}}' % label
    return b'{"models": [' + model + b"]}"


def test_public_client_asks_for_the_labels_again_if_a_new_version_has_others():
    old, new = (DETECTIONS_BODY.replace(b"[]", b"[" + DETECTION.replace(b'"a"', label) + b"]") for label in (b'"a"', b'"b"'))
    responses = [(200, {}, body) for body in (old, models_body(b"a"), old, new, models_body(b"b"))]
    image = Image.new("RGB", (8, 8))
    with scripted_server(*responses) as (url, _), boxwright.Client(url) as client:
        assert [client.detect(image)[0].label for _ in range(3)] == ["a", "a", "b"]


def test_public_client_refuses_a_label_that_the_model_does_not_have():
    """The label's index decides its colour, so such a result could not be drawn."""
    responses = [(200, {}, body) for body in (DETECTIONS_BODY.replace(b"[]", b"[" + DETECTION + b"]"), models_body(b"b"))]
    with (
        scripted_server(*responses) as (url, _),
        boxwright.Client(url) as client,
        pytest.raises(UnknownModel, match="no longer serves the model 'm'"),
    ):
        client.detect(Image.new("RGB", (8, 8)))


def test_annotated_image_that_is_not_base64_is_refused():
    body = DETECTIONS_BODY[:-1] + b', "annotated": {"media_type": "image/png", "base64": "A"}}'
    with scripted_server((200, {}, body)) as (url, _), ServiceClient(url) as client, pytest.raises(UnexpectedResponse):
        client.detect(b"image", include_annotated=True)


@pytest.mark.parametrize("length", ["500", "x"])
def test_truncated_response_is_an_error(length):
    with (
        scripted_server((200, {"content-length": length}, b"{")) as (url, _),
        ServiceClient(url, timeout=5) as client,
        pytest.raises((ServiceUnreachable, UnexpectedResponse)),
    ):
        client.models()


def test_unreachable_service_is_reported_without_its_password():
    with scripted_server() as (url, _):
        pass  # its port is free again
    address = url.replace("http://", "http://me:secret@")
    with ServiceClient(address) as client, pytest.raises(ServiceUnreachable) as error:
        client.models()
    assert str(error.value) == f"{url} does not answer: Connection refused. Check that the service is running at this address."


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://host", "http://", "http://host:port", "http://host?x=1", "http://[::1"])
def test_invalid_address_is_refused(url):
    with pytest.raises(SettingError, match="http://host:port"):
        ServiceClient(url)


@pytest.mark.parametrize(
    ("header", "seconds"), [("3", 3), (" 3 ", 3), ("0", 0), ("9" * 400, float("inf")), ("Thu, 01 Jan 1970 00:00:00 GMT", 0), (None, None)]
)
def test_retry_after_is_parsed_as_seconds_or_date(header, seconds):
    assert parse_retry_after(header) == seconds


@given(st.text() | st.datetimes().map(lambda date: f"{date:%a, %d %b %Y %H:%M:%S} -0000") | st.text("-+:, 0123456789JanGMT"))
def test_any_retry_after_header_is_parsed_without_an_error(header):
    seconds = parse_retry_after(header)
    assert seconds is None or seconds >= 0
