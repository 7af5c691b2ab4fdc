"""Hooks for schemathesis: image files, and the names of the model and its classes."""

import base64
import io

import schemathesis
from hypothesis import strategies as st
from PIL import Image


def _encode(form):
    file = io.BytesIO()
    Image.effect_noise((37, 23), 90).convert("RGB").save(file, form)
    return file.getvalue()


IMAGES = [_encode(form) for form in ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF")]

schemathesis.openapi.format("binary", st.sampled_from(IMAGES))
schemathesis.openapi.format("byte", st.sampled_from([base64.b64encode(image_bytes).decode() for image_bytes in IMAGES]))


@schemathesis.hook
def map_path_parameters(_context, parameters):
    """Use the names of the served model, which the document does not contain."""
    served = {"model": "tiny-random", "version": "1"}
    return {name: served.get(name, value) for name, value in parameters.items()} if parameters else parameters


@schemathesis.hook
def map_query(_context, query):
    """Use the names of the model and its classes."""
    served = {"classes": ["dog", "cat"], "model": "tiny-random"}
    return {name: served.get(name, value) for name, value in query.items()} if isinstance(query, dict) else query


@schemathesis.hook
def filter_body(_context, body):
    """Skip lists of one value, because a form encodes them like the value itself."""
    return not (isinstance(body, dict) and any(isinstance(value, list) and len(value) == 1 for value in body.values()))


@schemathesis.hook
def before_call(_context, case, _kwargs):
    """Satisfy constraints between parts of a request, which no schema can express."""
    if case.path.endswith("/infer"):
        _fit_tensor(case)
    body = case.body if isinstance(case.body, dict) else {}
    if case.query.get("format") == "image" and ("images" in body or isinstance(body.get("image"), list)):
        case.query["format"] = "both"  # format=image is for one image only


def _fit_tensor(case):
    """Make the headers and the shape agree with the data."""
    if case.media_type == "application/octet-stream":
        case.headers["Inference-Header-Content-Length"] = "0"
    elif case.meta.generation.mode.is_positive:
        case.headers.pop("Inference-Header-Content-Length", None)
        case.body["outputs"] = list({output["name"]: output for output in case.body.get("outputs") or []}.values())
        for tensor in case.body["inputs"]:
            files = tensor["name"] == "image"
            tensor["data"] = tensor["data"] if files else [1, 2, 3] if isinstance(tensor["data"], list) else "AAAA"
            tensor["shape"] = [len(tensor["data"])] if files else [1, 1, 1, 3]
