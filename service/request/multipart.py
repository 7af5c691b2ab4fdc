"""Reads a multipart form (RFC 7578) as it arrives, into memory and nowhere else: no photo touches the disk."""

from collections.abc import AsyncIterable
from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from service.errors import BadForm

MAX_PARTS = 16
MAX_PART_HEADERS = 8
MAX_PART_HEADER_BYTES = 4096
"""Of one header; what a part is called and where it comes from fits easily."""


@dataclass
class Part:
    """One field of the form; whether it came with a file name makes no difference."""

    name: str
    data: bytearray = field(default_factory=bytearray)


async def read_form(content_type: str, chunks: AsyncIterable[bytes]) -> list[Part]:
    """The form's parts in order. Raises BadForm where it is damaged, cut short or of too many parts."""
    reader = _FormReader(content_type)
    async for chunk in chunks:
        reader.feed(chunk)
    return reader.finished()


class _FormReader:
    def __init__(self, content_type: str) -> None:
        _, options = parse_options_header(content_type)
        boundary = options.get(b"boundary")
        if not boundary:
            raise BadForm("the content type names no boundary; let the HTTP client write that header itself.")
        self._parts: list[Part] = []
        self._name, self._value, self._disposition = bytearray(), bytearray(), b""
        self._complete = False
        try:
            self._parser = MultipartParser(
                boundary,
                self._callbacks(),  # type: ignore[arg-type]  # a TypedDict of just these
                max_header_count=MAX_PART_HEADERS,
                max_header_size=MAX_PART_HEADER_BYTES,
            )
        except FormParserError as error:
            raise BadForm(f"the form's boundary is not valid: {error}.") from error

    def _callbacks(self) -> dict[str, object]:
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._name.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._end_header,
            "on_headers_finished": self._end_headers,
            "on_part_data": lambda data, start, end: self._parts[-1].data.extend(data[start:end]),
            "on_end": self._end,
        }

    def feed(self, chunk: bytes) -> None:
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise BadForm(f"the form is damaged: {error}.") from error

    def finished(self) -> list[Part]:
        if not self._complete:
            raise BadForm(f"the form is cut short in or after part {len(self._parts)}: its last boundary is missing.")
        return self._parts

    def _begin(self) -> None:
        if len(self._parts) == MAX_PARTS:
            raise BadForm(f"the form has more than {MAX_PARTS} parts.")
        self._disposition = b""

    def _end_header(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._name.clear()
        self._value.clear()

    def _end_headers(self) -> None:
        _, options = parse_options_header(self._disposition)
        if b"name" not in options:
            raise BadForm(f"part {len(self._parts) + 1} of the form has no name.")
        self._parts.append(Part(options[b"name"].decode("utf-8", "replace")))

    def _end(self) -> None:
        self._complete = True
