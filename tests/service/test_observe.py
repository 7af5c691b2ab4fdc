"""What the service tells of itself: ids, log lines, counts, readiness."""

import json
import logging

import pytest

from service.observability.logging import configure_logging

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture
def lines(capsys):
    """Set up logs as the service does; (form) -> the lines so far."""
    names = ("", "boxwright", "uvicorn")
    loggers = [logging.getLogger(name) for name in names]
    before = [(logger.level, list(logger.handlers)) for logger in loggers]
    logging.captureWarnings(False)

    def start(form):
        configure_logging(form, "info")
        return lambda: capsys.readouterr().err.splitlines()

    yield start
    logging.captureWarnings(False)
    for logger, (level, handlers) in zip(loggers, before, strict=True):
        logger.setLevel(level)
        logger.handlers[:] = handlers


@pytest.mark.parametrize("sent", ["abc-123", "A" * 128, "1.2_3~4+/="])
def test_a_sane_request_id_is_kept(detect, photo, sent):
    assert detect(photo(), headers={"X-Request-ID": sent}).headers["x-request-id"] == sent


@pytest.mark.parametrize("sent", [None, "", "A" * 129, "a b", "a\tb", "a;b", "<script>"])
def test_any_other_is_replaced_by_one_of_our_own(detect, photo, sent):
    answers = [detect(photo(), headers={"X-Request-ID": sent} if sent is not None else {}) for _ in range(2)]
    first, second = (answer.headers["x-request-id"] for answer in answers)
    assert len(first) == 32
    assert first.isalnum()
    assert first != second


def test_refusals_have_an_id_too(ask, tiny_app, detect):
    assert detect(b"", headers={"X-Request-ID": "mine"}).headers["x-request-id"] == "mine"
    assert ask(tiny_app, "GET", "/nowhere", headers={"X-Request-ID": "mine"}).headers["x-request-id"] == "mine"


def test_a_request_leaves_one_json_line_without_its_query_photo_or_keys(lines, ask, tiny_app, photo):
    read = lines("json")
    headers = {"X-Request-ID": "the-id", "traceparent": f"00-{TRACE}-{SPAN}-01", "Authorization": "Bearer hush"}
    content = photo()
    answer = ask(tiny_app, "POST", "/detect", content=content, params={"api_key": "secret"}, headers=headers)
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
        "bytes_in": 0,  # the query was refused first
        "bytes_out": len(answer.content),
        "client": "127.0.0.1",
    }


@pytest.mark.parametrize(
    "sent",
    ["", "nonsense", f"ff-{TRACE}-{SPAN}-01", f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01", f"00-{TRACE.upper()}-{SPAN}-01"],
)
def test_a_traceparent_that_is_not_valid_is_ignored(lines, ask, tiny_app, sent):
    read = lines("json")
    ask(tiny_app, "GET", "/livez", headers={"traceparent": sent})
    (line,) = read()
    assert "trace_id" not in json.loads(line)


def test_metrics_come_as_openmetrics_where_that_is_preferred(ask, tiny_app):
    answer = ask(tiny_app, "GET", "/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")


def test_an_ending_service_is_alive_and_answers_but_is_not_ready(watched_app, ask, photo):
    app = watched_app()
    app.state.lifecycle.shutting_down = True
    ready, alive, detected = ask(app, "GET", "/readyz"), ask(app, "GET", "/livez"), ask(app, "POST", "/detect", content=photo())
    assert (ready.status_code, ready.json()["type"]) == (503, "urn:boxwright:problem:shutting-down")
    assert ready.headers["retry-after"] == "1"
    assert (alive.status_code, detected.status_code) == (200, 200)
    assert detected.headers["connection"] == "close"
    assert ask(app, "GET", "/v2/health/ready").status_code == 503
