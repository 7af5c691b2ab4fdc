"""The log: one JSON object a line, or plain text; every line that a request causes has the request's id."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

from service.request.context import current_context
from service.settings import LogFormat, LogLevel


class JsonLines(logging.Formatter):
    """A record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if call := current_context():
            ids = {"request_id": call.request_id, "trace_id": call.trace_id, "parent_id": call.parent_id}
            line |= {name: value for name, value in ids.items() if value}
        line |= getattr(record, "facts", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class TextLines(logging.Formatter):
    """A record for people: time, level, message, the request's id."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`. What a client wrote starts no line of its own."""
        call = current_context()
        line = super().formatMessage(record) + (f" [{call.request_id}]" if call else "")
        return "".join(char if char.isprintable() else repr(char)[1:-1] for char in line)


FORMATS = {"json": JsonLines, "text": TextLines}


def set_up_logs(form: LogFormat, level: LogLevel) -> None:
    """Everything that is logged from here on goes to stderr so."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(FORMATS[form]())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    for name in ("boxwright", "uvicorn"):
        logging.getLogger(name).setLevel(level.upper())
    logging.captureWarnings(True)
