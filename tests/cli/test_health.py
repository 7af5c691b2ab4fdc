"""`boxwright health` tells what the service says of itself."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from typer.testing import CliRunner

from cli.main import app

PORT = "BOXWRIGHT_PORT"


def health(*words, **environment):
    return CliRunner().invoke(app, ["health", *words], env=environment)


@contextmanager
def answering(status):
    """A server on this machine that answers everything so; its port."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def test_a_service_that_can_detect_is_well(start_service):
    service = start_service()
    try:
        said = health("--port", str(service.port))
    finally:
        service.stop()
    assert said.exit_code == 0
    assert said.stdout == f"http://127.0.0.1:{service.port}/readyz: ready\n"


def test_one_that_listens_everywhere_is_asked_here():
    with answering(200) as port:
        said = health(BOXWRIGHT_HOST="0.0.0.0", **{PORT: str(port)})
    assert said.exit_code == 0
    assert f"http://127.0.0.1:{port}" in said.stdout


def test_it_asks_where_the_file_of_settings_says(tmp_path):
    with answering(200) as port:
        (tmp_path / "settings.toml").write_text(f"port = {port}\n")
        assert health("--config", str(tmp_path / "settings.toml")).exit_code == 0


def test_one_that_is_ending_is_not():
    with answering(503) as port:
        said = health(**{PORT: str(port)})
    assert said.exit_code == 1
    assert "not ready (status 503)" in said.stderr


def test_where_nobody_listens_the_answer_says_so():
    with answering(200) as port:
        pass
    said = health("--port", str(port))
    assert said.exit_code == 1
    assert "no answer" in said.stderr


def test_an_address_of_version_6_is_written_in_brackets():
    said = health("--host", "::", "--port", "1")
    assert said.exit_code == 1
    assert said.stderr.startswith("http://[::1]:1/readyz: no answer")


@pytest.mark.parametrize("words", [["--port", "70000"], ["--timeout", "0"], ["--config", "nothing.toml"]])
def test_what_cannot_be_asked_is_refused(words):
    said = health(*words)
    assert said.exit_code != 0
    assert not said.stdout
