"""What the service tells of itself: ids, log lines, counts, readiness."""

import json
import logging
import sys

import pytest

from service.observability.logs import FORMATS, JsonLines, TextLines, set_up_logs

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture
def lines(capsys):
    """Set up logs as the service does; (form) -> the lines so far."""
    names = ("", "boxwright", "uvicorn")
    loggers = [logging.getLogger(name) for name in names]
    before = [(logger.level, list(logger.handlers)) for logger in loggers]
    logging.captureWarnings(False)

    def start(form):
        set_up_logs(form, "info")
        return lambda: capsys.readouterr().err.splitlines()

    yield start
    logging.captureWarnings(False)
    for logger, (level, handlers) in zip(loggers, before, strict=True):
        logger.setLevel(level)
        logger.handlers[:] = handlers


@pytest.mark.parametrize("form", FORMATS)
def test_an_error_keeps_its_traceback(form):
    try:
        raise ValueError("a\nb")
    except ValueError:
        record = logging.LogRecord("boxwright.service", logging.ERROR, "", 1, "%s failed", ("it\nself",), sys.exc_info())
    told = FORMATS[form]().format(record)
    if form == "json":
        assert "\n" not in told
        assert "ValueError" in json.loads(told)["exception"]
    else:
        assert told.splitlines()[0].endswith("it\\nself failed")
        assert "ValueError" in told


def test_the_formats_are_those_of_the_setting():
    assert {"json": JsonLines, "text": TextLines} == FORMATS


def test_metrics_count_what_was_asked(watched_app, ask, photo):
    app = watched_app()
    found = ask(app, "POST", "/detect", content=photo(), params={"confidence": 0.01}).json()["detections"]
    ask(app, "POST", "/detect", content=b"no photo")
    ask(app, "GET", "/some/other/path")
    ask(app, "GET", "/yet/another")
    text = ask(app, "GET", "/metrics").text
    assert 'boxwright_requests_total{method="POST",route="/detect",status="200"} 1.0' in text
    assert 'boxwright_requests_total{method="POST",route="/detect",status="415"} 1.0' in text
    assert 'boxwright_requests_total{method="GET",route="other",status="404"} 2.0' in text
    assert 'boxwright_stage_seconds_count{stage="network"} 1.0' in text
    assert "boxwright_requests_in_flight 1.0" in text  # the one that asks
    assert "process_resident_memory_bytes" in text
    told = {
        line.partition("} ")[0]: float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if line.startswith("boxwright_detections_total")
    }
    assert sum(told.values()) == len(found)
    assert {key.partition('label="')[2].partition('"')[0] for key in told} == {one["label"] for one in found}


def test_metrics_come_as_openmetrics_where_that_is_preferred(ask, tiny_app):
    answer = ask(tiny_app, "GET", "/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")
