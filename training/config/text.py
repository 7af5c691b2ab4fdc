"""Option values as text: numbers in short lists, and TOML."""

import json
import math
from typing import Any, TypeVar

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
