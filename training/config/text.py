"""Option values as text: numbers in short lists, and TOML."""

import json
import math
import tomllib
from pathlib import Path
from typing import Any, TypeVar

from detector.text_encoding import decode_text

MAX_TOML_BYTES = 2**18  # The config.toml of a run has 7 KB and its labels.
MAX_KEY_DOTS = 64
"""Dots of one key. The time of `tomllib` for them is quadratic: a file of 40 KB took 4 s."""

Number = TypeVar("Number", int, float)


def parse_pairs(name: str, text: str, kind: type[Number]) -> tuple[tuple[Number, float], ...]:
    """Return ((a, b), (c, d)) for the text 'a:b,c:d'; b and d are floats. Raises ValueError with the name of the option."""
    parts = [part.partition(":") for part in text.split(",") if part.strip()]
    return tuple((parse_number(name, first, kind), parse_number(name, second, float)) for first, _, second in parts)


def parse_number(name: str, text: str, kind: type[Number]) -> Number:
    """Return the finite number in a text. Raises ValueError with the name of the option."""
    try:
        number = kind(text)
    except ValueError as error:
        raise ValueError(f"{name}: {text.strip()!r} is not a number. See the help of the option.") from error
    if not math.isfinite(number):
        raise ValueError(f"{name}: {text.strip()!r} is not a finite number. See the help of the option.")
    return number


def toml_value(value: Any) -> str:
    """Return a string, number, boolean or list as TOML. Its JSON text is valid TOML once the character U+007F is escaped."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def read_toml(path: Path) -> dict[str, Any]:
    """Read an untrusted TOML file. Raises ValueError if it is not valid or too large, RecursionError, OSError."""
    with path.open("rb") as file:
        data = file.read(MAX_TOML_BYTES + 1)
    if len(data) > MAX_TOML_BYTES:
        raise ValueError(f"it has more than {MAX_TOML_BYTES:,} bytes")
    text = decode_text(data)
    for number, line in enumerate(text.split("\n"), start=1):
        before_values = line.split("=")[:-1] or [line if line.lstrip().startswith("[") else ""]
        if any(part.count(".") > MAX_KEY_DOTS for part in before_values):
            raise ValueError(f"line {number} has a key with more than {MAX_KEY_DOTS} dots")
    values = tomllib.loads(text)
    repr(values)  # raises ValueError for a hexadecimal number that is too long to be printed in an error message
    return values
