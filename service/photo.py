"""The photo of a request: its bytes, whichever way they came. What they are is for `detector.image` to say."""

from fastapi import Request

from service.errors import BadForm, UnsupportedBody
from service.form import read_form

FIELD = "image"


async def read_photo(request: Request) -> bytes:
    """The body itself, or the form's field `image`.

    Any content type but JSON and the other multipart kinds is taken for a photo's: `curl --data-binary` says
    application/x-www-form-urlencoded unless told otherwise. Raises BadForm and UnsupportedBody.
    """
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("identity", ""):
        raise UnsupportedBody(f"the body is compressed ({coding[:20]}); send the photo as it is, its own format has compressed it already.")
    content_type = request.headers.get("content-type", "")
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return await _photo_of_form(request, content_type)
    if kind.startswith("multipart/") or kind == "application/json" or kind.endswith("+json"):
        raise UnsupportedBody(
            f"{kind} is not read here; send the photo's bytes as the body, or as the field {FIELD!r} of a multipart/form-data."
        )
    return await request.body()


async def _photo_of_form(request: Request, content_type: str) -> bytes:
    photos = []
    for part in await read_form(content_type, request.stream()):
        if part.name != FIELD:
            raise BadForm(
                f"the form's field {part.name!r} is not read; send the photo as {FIELD!r} and options in the query: ?confidence=0.5."
            )
        photos.append(part.data)
    if len(photos) != 1:
        raise BadForm(f"the form must have one field {FIELD!r}, got {len(photos)}.")
    return bytes(photos[0])
