"""Request ids, trace ids, the access log, and responses during shutdown."""

import json

import pytest

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize("sent", ["abc-123", "A" * 128, "1.2_3~4+/="])
def test_a_valid_request_id_is_kept(detect, make_image_bytes, sent):
    assert detect(make_image_bytes(), headers={"X-Request-ID": sent}).headers["x-request-id"] == sent


@pytest.mark.parametrize("sent", [None, "", "A" * 129, "a b", "a\tb", "a;b", "<script>"])
def test_an_invalid_request_id_is_replaced(detect, make_image_bytes, sent):
    responses = [detect(make_image_bytes(), headers={"X-Request-ID": sent} if sent is not None else {}) for _ in range(2)]
    first, second = (response.headers["x-request-id"] for response in responses)
    assert len(first) == 32
    assert first.isalnum()
    assert first != second


def test_error_responses_have_a_request_id(send_request, tiny_app, detect):
    assert detect(b"", headers={"X-Request-ID": "mine"}).headers["x-request-id"] == "mine"
    assert send_request(tiny_app, "GET", "/nowhere", headers={"X-Request-ID": "mine"}).headers["x-request-id"] == "mine"


def test_a_request_is_logged_as_one_json_line_without_query_image_and_key(log_lines, send_request, tiny_app, make_image_bytes):
    read = log_lines("json")
    headers = {"X-Request-ID": "the-id", "traceparent": f"00-{TRACE}-{SPAN}-01", "Authorization": "Bearer hush"}
    content = make_image_bytes()
    response = send_request(tiny_app, "POST", "/detect", content=content, params={"api_key": "secret"}, headers=headers)
    (line,) = [json.loads(line) for line in read()]
    assert line.pop("time").endswith("+00:00")
    assert line.pop("ms") > 0
    assert line.pop("message").startswith("POST /detect 422 ")
    assert line == {
        "level": "info",
        "logger": "boxwright.access",
        "request_id": "the-id",
        "trace_id": TRACE,
        "parent_id": SPAN,
        "method": "POST",
        "path": "/detect",
        "status": 422,
        "bytes_in": 0,  # the query is checked before the body is read
        "bytes_out": len(response.content),
        "client": "127.0.0.1",
    }


@pytest.mark.parametrize(
    "sent",
    ["", "nonsense", f"ff-{TRACE}-{SPAN}-01", f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01", f"00-{TRACE.upper()}-{SPAN}-01"],
)
def test_an_invalid_traceparent_is_ignored(log_lines, send_request, tiny_app, sent):
    read = log_lines("json")
    send_request(tiny_app, "GET", "/livez", headers={"traceparent": sent})
    (line,) = read()
    assert "trace_id" not in json.loads(line)


def test_a_path_cannot_forge_a_line_of_the_text_log(log_lines, send_request, tiny_app):
    read = log_lines("text")
    send_request(tiny_app, "GET", "/a%0aFORGED%1b[31m", headers={"X-Request-ID": "the-id"})
    (line,) = read()
    assert line.endswith("[the-id]")
    assert "\x1b" not in line


def test_during_shutdown_the_service_answers_but_is_not_ready(make_recording_app, send_request, make_image_bytes):
    app = make_recording_app()
    app.state.lifecycle.shutting_down = True
    ready, alive, detected = (
        send_request(app, "GET", "/readyz"),
        send_request(app, "GET", "/livez"),
        send_request(app, "POST", "/detect", content=make_image_bytes()),
    )
    assert (ready.status_code, ready.json()["type"]) == (503, "urn:boxwright:problem:shutting-down")
    assert ready.headers["retry-after"] == "1"
    assert (alive.status_code, detected.status_code) == (200, 200)
    assert detected.headers["connection"] == "close"
    assert send_request(app, "GET", "/v2/health/ready").status_code == 503
