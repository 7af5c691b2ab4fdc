"""JSON bodies: values are counted before they are parsed, then checked against a pydantic model.

Twenty megabytes of `[],[],[]` would become half a gigabyte of Python lists. So commas, brackets, quotes and colons are counted in the bytes
first. Those inside strings count too, but base64 contains none. The parser itself stops at a depth of 200.
"""

import asyncio
import gc
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic.json_schema import models_json_schema
from pydantic_core import from_json

from service.errors import BadJson
from service.request.body_hints import starts_like_image

MAX_VALUES = 2_000_000
"""Numbers and lists in one body, at most about 60 bytes of memory each. An image of 800 x 600 pixels has 1,920,000."""
MAX_LISTS = 600_000
"""Lists in one body. An image in the form of nested lists has one list for three numbers."""
MAX_FIELDS = 10_000
"""Fields, and objects, in one body. Each may have a name and a value, so twice as many strings are allowed."""
MAX_MESSAGE_LENGTH = 300

ModelT = TypeVar("ModelT", bound=BaseModel)
_Result = TypeVar("_Result")
_Params = ParamSpec("_Params")

_thread = ThreadPoolExecutor(1, thread_name_prefix="json")
"""One thread for all bodies. The parser holds the GIL, so several threads would only need more memory and delay the event loop longer."""


async def run_in_json_thread(function: Callable[_Params, _Result], *args: _Params.args, **kwargs: _Params.kwargs) -> _Result:
    """Run a function that parses a JSON body. Only one runs at a time."""
    return await asyncio.wrap_future(_thread.submit(function, *args, **kwargs))


def parse_json(body: bytes, model: type[ModelT]) -> ModelT:
    """Parse the body as `model`. Raises BadJson, which names the place and the mistake."""
    lists, strings, fields = body.count(b"["), body.count(b'"') // 2, max(body.count(b":"), body.count(b"{"))
    values = body.count(b",") + lists
    if values > MAX_VALUES or lists > MAX_LISTS or strings > 2 * MAX_FIELDS or fields > MAX_FIELDS:
        raise BadJson(
            f"The JSON has about {values:,} values, {lists:,} lists, {strings:,} strings and {fields:,} fields. "
            f"The limits are {MAX_VALUES:,}, {MAX_LISTS:,}, {2 * MAX_FIELDS:,} and {MAX_FIELDS:,}. "
            "Send the image file in base64 instead of its pixels."
        )
    try:
        with _paused_collector():
            value = from_json(body.removeprefix(BOM_UTF8), allow_inf_nan=False, cache_strings=False)
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        raise BadJson(_message(first["loc"], _PLAIN_MESSAGES.get(first["type"], first["msg"]))) from error
    except ValueError as error:
        if starts_like_image(body):
            raise BadJson(
                "The body is an image file, but this endpoint expects JSON with the image in base64. See /docs for the schema."
            ) from error
        if body.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) or b"\0" in body[:2]:
            raise BadJson("The JSON is encoded in UTF-16. Send it in UTF-8.") from error
        hint = " Is it a line break in base64? 'base64 -w0 FILE' writes none." if "control character" in str(error) else ""
        raise BadJson(f"The JSON cannot be parsed: {str(error)[:MAX_MESSAGE_LENGTH]}.{hint}") from error


@contextmanager
def _paused_collector() -> Iterator[None]:
    """Pause the garbage collector. It would visit all objects repeatedly while lists are parsed, and take ten times the parser's time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


_PLAIN_MESSAGES = {"extra_forbidden": "unknown key", "model_type": "must be an object in braces", "missing": "this key is required"}
"""Replacements for pydantic's messages, by error type."""


def _message(location: Sequence[int | str], text: str) -> str:
    path = ".".join(str(part) for part in location if "[" not in str(part))[:80]  # pydantic adds type names such as list[...]
    sentence = text.removeprefix("Value error, ")[:MAX_MESSAGE_LENGTH].rstrip(".")
    return f"{path or 'the JSON'}: {sentence}{'' if sentence.endswith('?') else '.'} See /docs for the schema."


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
