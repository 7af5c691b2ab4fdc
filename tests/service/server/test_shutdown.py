"""SIGTERM under load: the service reports that it is not ready, finishes its requests, and exits."""

import io
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[3]
_FILE = io.BytesIO()
Image.new("RGB", (2000, 1100)).save(_FILE, "WEBP", quality=1, method=0)
HEAVY = _FILE.getvalue()
"""A WebP that a child process decodes."""


def read_response(client):
    """Return everything that the service sends until it closes the connection."""
    with client.makefile("rb") as file:
        return file.read()


@pytest.mark.slow
def test_every_accepted_request_is_answered(start_service, model_file, make_image_bytes):
    image_bytes = make_image_bytes(1600, 1200)
    request = b"POST /detect HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(image_bytes) + image_bytes
    service = start_service(model_file, BOXWRIGHT_NOTICE_SECONDS="3", BOXWRIGHT_QUEUE_SIZE="100")
    clients = [socket.create_connection(("127.0.0.1", service.port), timeout=60) for _ in range(30)]
    for client in clients:
        client.sendall(request)
    with httpx.Client(base_url=service.url, timeout=60) as other:
        service.process.send_signal(signal.SIGTERM)
        while (ready := other.get("/readyz")).status_code == 200:
            pass  # the signal has not been handled yet
        late_response = other.post("/detect", content=make_image_bytes())
    assert ready.status_code == 503
    assert ready.headers["connection"] == "close"
    responses = [read_response(client) for client in clients]
    for client in clients:
        client.close()
    assert late_response.status_code == 200
    assert {response.partition(b"\r\n")[0] for response in responses} == {b"HTTP/1.1 200 OK"}
    assert all(response.endswith(b"}") for response in responses)
    assert service.process.wait(timeout=30) == 0
    assert service.stop() == 0
    assert "Traceback" not in "".join(service.log)


def test_unfinished_request_is_cut_off_after_the_grace_time(start_service, model_file):
    service = start_service(model_file, BOXWRIGHT_GRACE_SECONDS="3")
    with socket.create_connection(("127.0.0.1", service.port), timeout=60) as client:
        client.sendall(b"POST /detect HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nhalf")
        with httpx.Client(base_url=service.url) as other:
            while "boxwright_requests_in_flight 2.0" not in other.get("/metrics").text:
                pass
        code = service.stop()
        response = read_response(client)
    assert code in (0, -signal.SIGALRM)  # SIGALRM if the interpreter takes too long to exit on a busy machine
    log = "".join(service.log)
    assert "timeout graceful shutdown exceeded" in log
    assert "Traceback" not in log
    assert response.startswith(b"HTTP/1.1 503 ")


BLOCKED_DECODER = """
import ctypes, signal, sys
import service.inference.image_job as image_job
from cli.commands.serve import load_registry
from service.app import create_app
from service.server.uvicorn_server import run_server
from service.settings import read_settings

def block(*_, **__):
    print("decoding", flush=True)
    ctypes.CDLL(None).sleep(600)  # native code that releases the interpreter, as decoders do

image_job.decode_file = block
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # as `boxwright serve` does
settings = read_settings(model=sys.argv[1], port=0, grace_seconds=3, notice_seconds=0)
run_server(create_app(load_registry(settings), settings), settings)
"""

BLOCKED_CHILD_PROCESS = """
import sys
import service.inference.decoder_process as decoder_process
from cli.commands.serve import load_registry
from service.app import create_app
from service.server.uvicorn_server import run_server
from service.settings import read_settings

decoder_process.COMMAND = '''
import ctypes, sys
import service.inference.decoder_process as decoder_process

def block(*_):
    print("child is decoding", file=sys.stderr, flush=True)
    ctypes.PyDLL(None).sleep(600)  # native code that holds the GIL

decoder_process.decode_file = block
decoder_process.run_child()
'''
settings = read_settings(model=sys.argv[1], port=0, grace_seconds=4, notice_seconds=0)
run_server(create_app(load_registry(settings), settings), settings)
"""

BLOCKED_INTERPRETER = """
import ctypes, sys, time
from service.server import hard_exit

hard_exit.arm_kill(1)
print("armed", flush=True)
ctypes.PyDLL(None).sleep(600)  # native code that holds the GIL and stops all Python code
"""


def start_script(script, *arguments):
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def read_until(process, text):
    """Return the first line of the output that contains the text."""
    for line in process.stdout:
        if text in line:
            return line
    pytest.fail(f"the process ended without {text!r}")


def test_process_ends_within_the_grace_time_while_an_image_is_being_decoded(model_file, make_image_bytes):
    process = start_script(BLOCKED_DECODER, model_file)
    try:
        port = int(read_until(process, "running on http://").partition("http://")[2].partition(" ")[0].rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
            image_bytes = make_image_bytes()
            client.sendall(b"POST /detect HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(image_bytes) + image_bytes)
            read_until(process, "decoding")
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        log = process.communicate()[0]
    assert "the grace time is over" in log


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGKILL])
def test_child_process_that_decodes_an_image_ends_with_the_service(model_file, signal_number):
    if signal_number == signal.SIGKILL and sys.platform != "linux":
        pytest.skip("only Linux ends the child of a killed process")
    process = start_script(BLOCKED_CHILD_PROCESS, model_file)
    try:
        port = int(read_until(process, "running on http://").partition("http://")[2].partition(" ")[0].rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
            client.sendall(b"POST /detect HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(HEAVY) + HEAVY)
            read_until(process, "child is decoding")
            process.send_signal(signal_number)
            process.communicate(timeout=30)  # until the child, too, has closed the pipe of its log
    finally:
        process.kill()


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs interval timers of the kernel")
def test_kernel_ends_a_process_that_runs_no_python_code():
    process = start_script(BLOCKED_INTERPRETER)
    try:
        read_until(process, "armed")
        assert process.wait(timeout=30) == -signal.SIGALRM
    finally:
        process.kill()
        process.communicate()


INTERRUPTED_EARLY = """
import uvicorn
from fastapi import FastAPI
from service.server.lifecycle import Lifecycle
from service.server.uvicorn_server import run_server
from service.settings import Settings

def interrupt(config):
    raise KeyboardInterrupt

uvicorn.Config.get_loop_factory = interrupt
app = FastAPI()
app.state.lifecycle = Lifecycle()
try:
    run_server(app, Settings())
except KeyboardInterrupt:
    print("interrupted")
"""


def test_ctrl_c_before_the_event_loop_starts_prints_no_warning():
    done = subprocess.run([sys.executable, "-c", INTERRUPTED_EARLY], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "interrupted\n", "")
