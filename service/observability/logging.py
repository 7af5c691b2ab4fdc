"""Log format: one JSON object per line, or plain text. Lines that belong to a request contain its id.

python-json-logger would not make this shorter: time, level and request ids would still need the same code.
"""

import json
import logging
import sys
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from service.request.context import current_context
from service.settings import LogFormat, LogLevel

LOGGERS = ("boxwright", "uvicorn", "detector", "weights")
"""Loggers that use the log level of the settings. All others log warnings and errors."""


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON. Escapes everything outside ASCII, control and bidirectional characters included."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if context := current_context():
            ids = {"request_id": context.request_id, "trace_id": context.trace_id, "parent_id": context.parent_id}
            line |= {name: value for name, value in ids.items() if value}
        line |= getattr(record, "facts", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class TextFormatter(logging.Formatter):
    """Formats a record for people: time, level, message and request id. Escapes line breaks and unprintable characters."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the line without the traceback."""
        context = current_context()
        return _escape(super().formatMessage(record) + (f" [{context.request_id}]" if context else ""))

    def formatException(self, ei: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]) -> str:
        """Return the traceback. Its line breaks stay."""
        return "\n".join(_escape(line) for line in super().formatException(ei).split("\n"))


LOG_FORMATTERS = {"json": JsonFormatter, "text": TextFormatter}


def configure_logging(log_format: LogFormat, level: LogLevel) -> None:
    """Log to stderr in this format, Python warnings included."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LOG_FORMATTERS[log_format]())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    for name in LOGGERS:
        logging.getLogger(name).setLevel(level.upper())
    logging.captureWarnings(True)


def _escape(text: str) -> str:
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
