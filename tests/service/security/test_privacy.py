"""No image is written to the disk or the log, in any protocol, whether it is valid or not."""

import base64
import resource
import struct

import httpx
import pytest

SECRET = b"bytes-that-only-the-image-has"
FORMS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF")


@pytest.fixture(scope="module")
def service_without_file_writes(start_service, model_file):
    """A service that cannot write to files: a write fails with EFBIG. Its log goes into a pipe."""
    service = start_service(model_file, BOXWRIGHT_LOG_LEVEL="debug")
    resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, (0, 0))
    yield service
    service.stop()


def with_secret(image_bytes):
    """Insert a comment into a JPEG."""
    return image_bytes[:2] + b"\xff\xfe" + struct.pack(">H", 2 + len(SECRET)) + SECRET + image_bytes[2:]


def requests_of(image_bytes):
    """Yield a request for each protocol and form of body."""
    text, element = base64.b64encode(image_bytes).decode(), struct.pack("<I", len(image_bytes)) + image_bytes
    form = {"files": [("image", (f"{SECRET.decode()}.jpg", image_bytes))]}
    tensor = {"name": "image", "shape": [1], "datatype": "BYTES"}
    infer, predict = "/v2/models/tiny-random/infer", "/v1/models/tiny-random:predict"
    yield "/detect?format=both", {"content": image_bytes}
    yield "/detect", form
    yield "/detect", {"json": {"images": [text]}}
    yield "/v1/vision/detection", form
    yield infer, {"json": {"inputs": [tensor | {"data": [text]}]}}
    yield infer, {"content": image_bytes, "headers": {"Inference-Header-Content-Length": "0"}}
    head = b'{"inputs":[{"name":"image","shape":[1],"datatype":"BYTES","parameters":{"binary_data_size":%d}}]}' % len(element)
    yield infer, {"content": head + element, "headers": {"Inference-Header-Content-Length": str(len(head))}}
    yield predict, {"json": {"instances": [{"b64": text}]}}


def test_every_endpoint_works_without_writing_files(service_without_file_writes, make_image_bytes):
    large = make_image_bytes(1400, 1000, form="BMP")  # 4 MB: larger than the memory limit of a spooled file
    with httpx.Client(base_url=service_without_file_writes.url, timeout=60) as client:
        for image in (large, *(make_image_bytes(form=form) for form in FORMS), make_image_bytes(form="TIFF", compression="tiff_lzw")):
            for path, request in requests_of(image):
                response = client.post(path, **request)
                assert response.status_code == 200, (path, response.text[:500])


def test_no_part_of_an_image_is_in_the_log(service_without_file_writes, make_image_bytes, lines_since):
    start = len(service_without_file_writes.log)
    valid = with_secret(make_image_bytes(200, 100))
    with httpx.Client(base_url=service_without_file_writes.url, timeout=60) as client:
        for image in (valid, valid[:-300], SECRET + valid):
            statuses = {client.post(path, **request).status_code for path, request in requests_of(image)}
            assert (statuses == {200}) == (image is valid)
        client.post("/detect", content=b'{"image": "' + SECRET, headers={"content-type": "application/json"})
        client.post("/detect", content=valid, params={"confidence": SECRET.decode()}, headers={"X-Request-Timeout": SECRET.decode()})
    requests = 26
    log = "".join(lines_since(service_without_file_writes, start, lambda lines: "".join(lines).count('"boxwright.access"') >= requests))
    assert log.count('"boxwright.access"') == requests
    encoded = base64.b64encode(valid).decode()
    for fragment in (SECRET.decode(), encoded[40:80], encoded[-80:-40]):
        assert fragment not in log
