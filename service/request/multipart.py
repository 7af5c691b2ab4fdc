"""Multipart forms (RFC 7578), parsed in memory.

Starlette's parser decodes parts without a file name as text, accepts a truncated form, and writes large files to disk. It also
runs Python code for each possible start of a boundary. `bytes.find` searches in C, which is fast and linear in the size of the form.
"""

from dataclasses import dataclass

from python_multipart.multipart import parse_options_header

from service.errors import BadForm

MAX_PARTS = 16
MAX_PART_HEADERS = 8
MAX_PART_HEADER_BYTES = 4096  # All headers of one part. They hold the name of the field and the name of the file.
MAX_BOUNDARY_BYTES = 256
MAX_SEMICOLONS = 30
"""Semicolons of one header, which separate its parameters. python-multipart's time for them is quadratic."""

LINE_END = b"\r\n"


@dataclass(frozen=True)
class FormField:
    """One field of a form. Files and plain values are not distinguished."""

    name: str
    data: bytes


def parse_form(content_type: str, body: bytes) -> list[FormField]:
    """Return the fields of a multipart form in order.

    Args:
        content_type: Value of the Content-Type header, which states the boundary.
        body: The whole form.

    Raises:
        BadForm: The form is damaged, truncated, or has too many parts.
    """
    delimiter = LINE_END + b"--" + _boundary(content_type)
    if not body:
        raise BadForm("The form is empty: the request has no body. Send Content-Length, or Transfer-Encoding: chunked.")
    if body.startswith(delimiter[len(LINE_END) :] + b"\n"):
        raise BadForm("The lines of the form end with LF. End each line of a header and of a boundary with CR LF (RFC 7578).")
    if body.startswith(delimiter[len(LINE_END) :]):
        position = len(delimiter) - len(LINE_END)
    elif (preamble := body.find(delimiter)) >= 0:
        position = preamble + len(delimiter)
    else:
        raise BadForm("The form is damaged: its boundary does not occur in the body.")
    fields: list[FormField] = []
    while not body.startswith(b"--", position):  # two hyphens after a boundary mark the last one
        start, end = body.find(LINE_END, position), body.find(delimiter, position)
        if end < 0 or start < 0:
            raise BadForm(f"The form is truncated after part {len(fields)}: the last boundary is missing.")
        if body[position:start].strip(b" \t"):
            raise BadForm(f"The form is damaged: unexpected bytes follow a boundary after part {len(fields)}.")
        if len(fields) == MAX_PARTS:
            raise BadForm(f"The form has more than {MAX_PARTS} parts.")
        fields.append(_parse_part(body, start, end, len(fields) + 1))
        position = end + len(delimiter)
    return fields


def _boundary(content_type: str) -> bytes:
    media_type, options = _parse_options(content_type.encode("latin-1"))
    if media_type != b"multipart/form-data":
        raise BadForm(f"The body is not a form of type multipart/form-data, but {content_type[:80]!r}. With curl: --form image=@FILE.")
    boundary = options.get(b"boundary")
    if not boundary:
        raise BadForm("The content type names no boundary. Let the HTTP client library set this header.")
    if len(boundary) > MAX_BOUNDARY_BYTES:
        raise BadForm(f"The boundary of the form has {len(boundary)} bytes. The limit is {MAX_BOUNDARY_BYTES}.")
    return boundary


def _parse_options(header: bytes) -> tuple[bytes, dict[bytes, bytes]]:
    if header.count(b";") > MAX_SEMICOLONS:
        raise BadForm(f"A header of the form has more than {MAX_SEMICOLONS} semicolons.")
    return parse_options_header(header)


def _parse_part(body: bytes, start: int, end: int, number: int) -> FormField:
    """Parse the part between two boundaries; `start` is the line end after the first."""
    headers_end = body.find(2 * LINE_END, start, min(end, start + MAX_PART_HEADER_BYTES))
    headers = body[start + len(LINE_END) : headers_end].split(LINE_END) if headers_end > start else []
    if headers_end < 0 or len(headers) > MAX_PART_HEADERS:
        raise BadForm(
            f"Part {number} of the form has more than {MAX_PART_HEADER_BYTES:,} bytes or {MAX_PART_HEADERS} lines of headers, "
            "or its headers have no end."
        )
    values = {name.strip().lower(): value for name, _, value in (line.partition(b":") for line in headers)}
    _, options = _parse_options(values.get(b"content-disposition", b""))
    if b"name" not in options:
        raise BadForm(f"Part {number} of the form has no name.")
    return FormField(options[b"name"].decode("utf-8", "replace"), body[headers_end + 2 * len(LINE_END) : end])
