"""Log formats: one line per record, escaped characters, and the level of each logger."""

import json
import logging
import re
import sys
from pathlib import Path

import pytest

from service.observability.logging import LOG_FORMATTERS, LOGGERS

ROOT = Path(__file__).resolve().parents[3]
UNPRINTABLE = "\x9b31m\u202eevil\u2028\x1b[2J\x00"
"""C1 and C0 control characters, a right-to-left override and a line separator."""


def test_every_log_format_has_a_formatter():
    assert set(LOG_FORMATTERS) == {"json", "text"}


@pytest.mark.parametrize("log_format", LOG_FORMATTERS)
def test_error_is_logged_with_its_traceback(log_format):
    try:
        raise ValueError("a\nb")
    except ValueError:
        record = logging.LogRecord("boxwright.service", logging.ERROR, "", 1, "%s failed", ("it\nself",), sys.exc_info())
    line = LOG_FORMATTERS[log_format]().format(record)
    if log_format == "json":
        assert "\n" not in line
        assert "ValueError" in json.loads(line)["exception"]
    else:
        assert line.splitlines()[0].endswith("it\\nself failed")
        assert "ValueError" in line


@pytest.mark.parametrize("log_format", LOG_FORMATTERS)
def test_unprintable_characters_are_escaped_in_messages_facts_and_tracebacks(log_format):
    try:
        raise ValueError(UNPRINTABLE)
    except ValueError:
        record = logging.LogRecord("boxwright.service", logging.ERROR, "", 1, "path %s", (UNPRINTABLE,), sys.exc_info())
    record.facts = {"path": UNPRINTABLE}
    text = LOG_FORMATTERS[log_format]().format(record)
    assert "evil" in text
    assert all(char.isprintable() or char == "\n" for char in text)
    assert text.isascii()
    if log_format == "json":
        line = json.loads(text)
        assert (line["message"], line["path"]) == (f"path {UNPRINTABLE}", UNPRINTABLE)


@pytest.mark.parametrize("name", ["boxwright.models", "uvicorn.error", "detector.engines", "weights.engines.disk_cache"])
def test_loggers_of_all_packages_use_the_log_level(log_lines, name):
    read = log_lines("json")
    logging.getLogger(name).info("a message")
    logging.getLogger(name).debug("a detail")
    logging.getLogger("another.library").info("a message of a library")
    (line,) = read()
    assert (json.loads(line)["logger"], json.loads(line)["message"]) == (name, "a message")


def test_every_logger_in_the_code_of_the_service_uses_the_log_level():
    names = set()
    for package in ("detector", "weights", "service"):
        for path in (ROOT / package).rglob("*.py"):
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            arguments = re.findall(r'getLogger\((__name__|"[a-z._]+")\)', path.read_text(encoding="utf-8"))
            names |= {module if name == "__name__" else name.strip('"') for name in arguments}
    names.remove("tensorflow")  # silenced while tensornets builds a network
    assert {"boxwright.service", "weights.hub.fetch", "detector.imaging.lettering"} <= names
    assert [name for name in sorted(names) if name.partition(".")[0] not in LOGGERS] == []
