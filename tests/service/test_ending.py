"""SIGTERM under load: the service reports that it is not ready, finishes its requests, and exits."""

import signal
import socket

import httpx


def read_response(client):
    """Return the whole response, which ends when the service closes the connection."""
    with client.makefile("rb") as file:
        return file.read()


def test_no_accepted_request_is_lost(start_service, model_file, photo):
    image_bytes = photo(1600, 1200)
    request = b"POST /detect HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(image_bytes) + image_bytes
    service = start_service(model_file, BOXWRIGHT_NOTICE_SECONDS="3", BOXWRIGHT_QUEUE_SIZE="100")
    clients = [socket.create_connection(("127.0.0.1", service.port), timeout=60) for _ in range(30)]
    for client in clients:
        client.sendall(request)
    with httpx.Client(base_url=service.url, timeout=60) as other:
        service.process.send_signal(signal.SIGTERM)
        while (ready := other.get("/readyz")).status_code == 200:
            pass  # the process has not handled the signal yet
        latecomer = other.post("/detect", content=photo())
    assert ready.status_code == 503
    assert ready.headers["connection"] == "close"
    answers = [read_response(client) for client in clients]
    for client in clients:
        client.close()
    assert latecomer.status_code == 200
    assert {answer.partition(b"\r\n")[0] for answer in answers} == {b"HTTP/1.1 200 OK"}
    assert all(answer.endswith(b"}") for answer in answers)
    assert service.process.wait(timeout=30) == 0
    assert service.stop() == 0
    assert "Traceback" not in "".join(service.log)


def test_a_request_that_does_not_end_is_abandoned_after_the_grace_time(start_service, model_file):
    service = start_service(model_file, BOXWRIGHT_GRACE_SECONDS="1")
    with socket.create_connection(("127.0.0.1", service.port), timeout=60) as client:
        client.sendall(b"POST /detect HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nhalf")
        with httpx.Client(base_url=service.url) as other:
            while "boxwright_requests_in_flight 2.0" not in other.get("/metrics").text:
                pass
        assert service.stop() == 0
