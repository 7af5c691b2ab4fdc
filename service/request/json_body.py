"""JSON bodies: counted before they are parsed, then checked against a model of what the endpoint wants.

Twenty megabytes of `[],[],[]` would become a gigabyte of Python lists. So values and fields are counted in the bytes
first; commas and colons within strings count as well, and no photo's base64 has any. The parser ends at a depth of 200.
"""

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic.json_schema import models_json_schema
from pydantic_core import from_json

from service.errors import BadJson

MAX_VALUES = 2_000_000
"""Numbers, strings and lists in one body; about 100 bytes each at the worst. A picture of 800 x 600 has 1,920,000."""
MAX_FIELDS = 10_000
MOST_SHOWN = 300

Wanted = TypeVar("Wanted", bound=BaseModel)


def read_json(body: bytes, wanted: type[Wanted]) -> Wanted:
    """The body as the model `wanted`. Raises BadJson, which names the place and what is wrong there."""
    values, fields = body.count(b",") + body.count(b"["), body.count(b":")
    if values > MAX_VALUES or fields > MAX_FIELDS:
        raise BadJson(
            f"the JSON has some {values:,} values and {fields:,} fields; at most {MAX_VALUES:,} and {MAX_FIELDS:,} are read. "
            "Send the photo's file in base64 instead of its pixels."
        )
    try:
        return wanted.model_validate(from_json(body, allow_inf_nan=False, cache_strings=False))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        raise BadJson(_sentence(first["loc"], first["msg"])) from error
    except ValueError as error:
        raise BadJson(f"the JSON cannot be parsed: {str(error)[:MOST_SHOWN]}.") from error


def _sentence(place: Sequence[int | str], message: str) -> str:
    where = ".".join(str(part) for part in place if "[" not in str(part))[:80] or "the JSON"  # pydantic names kinds too: list[...]
    return f"{where}: {message.removeprefix('Value error, ')[:MOST_SHOWN].rstrip('.')}. /docs shows what is wanted."


def json_schemas(models: Iterable[type[BaseModel]]) -> dict[str, Any]:
    """What an OpenAPI document's `components.schemas` says of these models, which FastAPI never sees."""
    _, schemas = models_json_schema([(model, "validation") for model in models], ref_template="#/components/schemas/{model}")
    definitions: dict[str, Any] = schemas["$defs"]
    return definitions
