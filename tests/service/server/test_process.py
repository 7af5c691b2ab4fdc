"""`boxwright serve` as a process, over real sockets."""

import json
import select
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.service.server.sockets import receive_response

ROOT = Path(__file__).resolve().parents[3]
MIB = 1024**2
HUGE = 200 * MIB
LIMIT = 20 * MIB
IN_FLIGHT = 24 * MIB  # bytes that the service discards after its response, plus the buffers of two sockets


def test_service_starts_answers_ends_and_closes_its_port(start_service, model_file, make_image_bytes):
    service = start_service(model_file)
    assert httpx.get(f"{service.url}/readyz").status_code == 200
    response = httpx.post(f"{service.url}/detect", content=make_image_bytes(), params={"confidence": 0.05})
    assert response.json()["model"] == "tiny-random"
    assert response.json()["detections"]
    assert service.stop() == 0
    assert "Traceback" not in "".join(service.log)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", service.port), timeout=5)


def send_pieces(port, head, pieces):
    """Send a body until a response arrives. Return the number of bytes sent and the response."""
    sent = 0
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.sendall(head)
        try:
            for piece in pieces:
                if select.select([client], [], [], 0)[0]:
                    break
                client.sendall(piece)
                sent += len(piece)
        except (ConnectionResetError, BrokenPipeError):
            pass  # the service closed the connection; its response can still be read
        head, body = receive_response(client)
        return sent, head + b"\r\n" + body


def request(*headers):
    return b"\r\n".join([b"POST /detect HTTP/1.1", b"Host: localhost", *headers, b"", b""])


FORM_HEAD = b'--edge\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n'
PIECE = b"\xff\xd8" + bytes(MIB - 2)
DECLARED = b"Content-Length: %d" % HUGE
CHUNKED = b"Transfer-Encoding: chunked"
FORM = b"Content-Type: multipart/form-data; boundary=edge"


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


@pytest.mark.parametrize(
    ("head", "pieces", "limit"),
    [
        (request(DECLARED), [PIECE] * 200, IN_FLIGHT),
        (request(DECLARED, FORM), [FORM_HEAD, *[PIECE] * 200], IN_FLIGHT),
        (request(CHUNKED), [chunk(PIECE)] * 200, LIMIT + IN_FLIGHT),
        (request(CHUNKED, FORM), [chunk(FORM_HEAD), *[chunk(PIECE)] * 200], LIMIT + IN_FLIGHT),
    ],
    ids=["declared", "declared form", "chunked", "chunked form"],
)
def test_200_mb_body_is_refused_while_it_arrives(served, head, pieces, limit):
    before = served.memory()
    sent, response = send_pieces(served.port, head, pieces)
    assert response.startswith(b"HTTP/1.1 413 "), response[:200]
    problem = json.loads(response.partition(b"\r\n\r\n")[2])
    assert problem["type"] == "urn:boxwright:problem:body-too-large"
    assert sent <= limit
    assert served.memory() - before < 4 * LIMIT  # much less than 200 MB
    assert httpx.get(f"{served.url}/livez").status_code == 200


def test_http_client_receives_the_refusal(served):
    def stream():
        for _ in range(200):
            yield PIECE

    with httpx.Client(base_url=served.url, timeout=30) as client:
        assert client.post("/detect", content=stream()).status_code == 413
        assert client.post("/detect", content=PIECE * 21).status_code == 413
        assert client.post("/detect", files={"image": PIECE * 21}).status_code == 413
        assert client.get("/livez").status_code == 200


def test_client_that_expects_100_continue_sends_nothing(served):
    sent, response = send_pieces(served.port, request(DECLARED, b"Expect: 100-continue"), [])
    assert sent == 0
    assert response.startswith(b"HTTP/1.1 413 ")


def test_disconnected_client_leaves_no_traceback(served, lines_since):
    start = len(served.log)
    with socket.create_connection(("127.0.0.1", served.port), timeout=30) as client:
        client.sendall(request(b"Content-Length: 1000") + b"half an image")
    lines = lines_since(served, start, lambda lines: any(" 499 " in line for line in lines))
    assert "the client disconnected" in "".join(lines)
    assert httpx.get(f"{served.url}/livez").status_code == 200
    assert "Traceback" not in "".join(served.log[start:])


def test_image_that_claims_too_many_pixels_uses_little_memory(served, png_with_claimed_size):
    assert httpx.get(f"{served.url}/livez").status_code == 200
    before = served.memory()
    response = httpx.post(f"{served.url}/detect", content=png_with_claimed_size(60_000, 60_000))
    assert response.status_code == 413
    assert response.json()["type"] == "urn:boxwright:problem:image-too-large"
    assert served.memory() - before < 16 * MIB


def test_service_with_the_onnx_engine_does_not_import_tensorflow(model_file, make_image_bytes, tmp_path):
    (tmp_path / "image.jpg").write_bytes(make_image_bytes())
    script = """
import asyncio, json, sys, httpx
from pathlib import Path
from cli.commands.serve import load_registry
from service.app import create_app
from service.settings import read_settings
settings = read_settings(model=sys.argv[1])
app = create_app(load_registry(settings), settings)
async def send_request():
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        return await client.post("/detect?format=both", content=Path(sys.argv[2]).read_bytes())
print(json.dumps({"status": asyncio.run(send_request()).status_code, "modules": list(sys.modules)}))
"""
    command = [sys.executable, "-c", script, str(model_file), str(tmp_path / "image.jpg")]
    report = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout)
    assert report["status"] == 200
    assert "onnxruntime" in report["modules"]
    assert not {"tensorflow", "keras", "tf_keras", "training"} & set(report["modules"])
