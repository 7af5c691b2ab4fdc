"""`boxwright health` reports whether the service is ready."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from typer.testing import CliRunner

from cli.main import app

PORT = "BOXWRIGHT_PORT"


def health(*arguments, **environment):
    return CliRunner().invoke(app, ["health", *arguments], env=environment)


@contextmanager
def run_server(status):
    """Run a server on this machine that answers every request with this status. Yields its port."""

    class StatusHandler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), StatusHandler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def test_a_running_service_is_ready(start_service):
    service = start_service()
    try:
        result = health("--port", str(service.port))
    finally:
        service.stop()
    assert result.exit_code == 0
    assert result.stdout == f"http://127.0.0.1:{service.port}/readyz: ready\n"


def test_a_service_on_all_addresses_is_checked_on_the_loopback_address():
    with run_server(200) as port:
        result = health(BOXWRIGHT_HOST="0.0.0.0", **{PORT: str(port)})
    assert result.exit_code == 0
    assert f"http://127.0.0.1:{port}" in result.stdout


def test_the_port_comes_from_the_settings_file(tmp_path):
    with run_server(200) as port:
        (tmp_path / "settings.toml").write_text(f"port = {port}\n")
        assert health("--config", str(tmp_path / "settings.toml")).exit_code == 0


def test_a_service_that_is_stopping_is_not_ready():
    with run_server(503) as port:
        result = health(**{PORT: str(port)})
    assert result.exit_code == 1
    assert "not ready (status 503)" in result.stderr


def test_no_answer_is_reported():
    with run_server(200) as port:
        pass
    result = health("--port", str(port))
    assert result.exit_code == 1
    assert "no answer" in result.stderr


def test_an_ipv6_address_is_written_in_brackets():
    result = health("--host", "::", "--port", "1")
    assert result.exit_code == 1
    assert result.stderr.startswith("http://[::1]:1/readyz: no answer")


@pytest.mark.parametrize("arguments", [["--port", "70000"], ["--timeout", "0"], ["--config", "nothing.toml"]])
def test_invalid_options_are_errors(arguments):
    result = health(*arguments)
    assert result.exit_code != 0
    assert not result.stdout
