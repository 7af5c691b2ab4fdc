"""JSON bodies: values are counted before they are parsed, then checked against a pydantic model.

Twenty megabytes of `[],[],[]` would become a gigabyte of Python lists, so commas, brackets and colons are counted in the bytes first.
Those inside strings count too, but base64 contains none. The parser itself stops at a depth of 200.
"""

from codecs import BOM_UTF8
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic.json_schema import models_json_schema
from pydantic_core import from_json

from service.errors import BadJson
from service.request.body_hints import starts_like_image

MAX_VALUES = 2_000_000
"""Numbers, strings and lists in one body, at most about 100 bytes of memory each. An image of 800 x 600 pixels has 1,920,000."""
MAX_FIELDS = 10_000
MAX_MESSAGE_LENGTH = 300

ModelT = TypeVar("ModelT", bound=BaseModel)


def parse_json(body: bytes, model: type[ModelT]) -> ModelT:
    """Parse the body as `model`. Raises BadJson, which names the place and the mistake."""
    values, fields = body.count(b",") + body.count(b"["), body.count(b":")
    if values > MAX_VALUES or fields > MAX_FIELDS:
        raise BadJson(
            f"The JSON has about {values:,} values and {fields:,} fields. The limits are {MAX_VALUES:,} and {MAX_FIELDS:,}. "
            "Send the image file in base64 instead of its pixels."
        )
    try:
        return model.model_validate(from_json(body.removeprefix(BOM_UTF8), allow_inf_nan=False, cache_strings=False))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        raise BadJson(_message(first["loc"], _PLAIN_MESSAGES.get(first["type"], first["msg"]))) from error
    except ValueError as error:
        if starts_like_image(body):
            raise BadJson(
                "The body is an image file, but this endpoint expects JSON with the image in base64. See /docs for the schema."
            ) from error
        raise BadJson(f"The JSON cannot be parsed: {str(error)[:MAX_MESSAGE_LENGTH]}.") from error


_PLAIN_MESSAGES = {"extra_forbidden": "unknown key", "model_type": "must be an object in braces", "missing": "this key is required"}
"""Replacements for pydantic's messages, by its types of errors."""


def _message(location: Sequence[int | str], text: str) -> str:
    path = ".".join(str(part) for part in location if "[" not in str(part))[:80]  # pydantic adds type names such as list[...]
    return f"{path or 'the JSON'}: {text.removeprefix('Value error, ')[:MAX_MESSAGE_LENGTH].rstrip('.')}. See /docs for the schema."


def json_schemas(models: Iterable[type[BaseModel]]) -> dict[str, Any]:
    """Return the JSON schemas of `models` by name, for `components.schemas` of an OpenAPI document."""
    _, schemas = models_json_schema([(model, "validation") for model in models], ref_template="#/components/schemas/{model}")
    definitions: dict[str, Any] = schemas["$defs"]
    return definitions


def require_one_field(*names: str) -> Callable[[dict[str, Any]], None]:
    """Return a value for `json_schema_extra`: exactly one of these optional fields is required."""

    def extend(schema: dict[str, Any]) -> None:
        for name in names:
            schema["properties"][name].pop("default")
        schema["oneOf"] = [{"required": [name]} for name in names]

    return extend
