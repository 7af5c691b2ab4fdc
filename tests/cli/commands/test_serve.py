"""`boxwright serve`: its settings and checks before the service starts, and the line that describes it."""

import os
import signal
import socket
import subprocess
import sys
import threading
import tomllib
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from cli.commands import serve
from cli.commands.serve import describe_service, load_registry
from service.auth.api_keys import HashedKey, new_key
from service.settings import Settings, read_settings

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def listening_port():
    """A port of 127.0.0.1 on which another program listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_print_config_prints_the_effective_settings_and_exits(boxwright, monkeypatch, tmp_path):
    file = tmp_path / "boxwright.toml"
    file.write_text("queue_size = 5\nport = 7000\n", encoding="utf-8")
    monkeypatch.setenv("BOXWRIGHT_CONFIG", str(file))
    result = boxwright("serve", "--print-config", "--port", "7001", "--set", "log_format=text", "--set", "request_seconds=2.5")
    printed = tomllib.loads(result.out)
    assert printed == Settings(port=7001, queue_size=5, log_format="text", request_seconds=2.5).model_dump(exclude_none=True)


@pytest.mark.parametrize("entry", ["queue_size", "queue_sise=5", "=5"])
def test_an_unknown_setting_is_an_error_that_lists_the_settings(boxwright, entry):
    result = boxwright("serve", "--set", entry)
    assert result.code == 2
    assert "NAME is one of model, engine" in result.err
    assert ("Did you mean 'queue_size'?" in result.err) == (entry != "=5")


def test_an_unknown_environment_variable_is_a_warning(boxwright, monkeypatch):
    monkeypatch.setenv("BOXWRIGHT_QUEUESIZE", "3")
    result = boxwright("serve", "--print-config")
    assert result.code == 0
    assert result.err == ("boxwright: the environment variable BOXWRIGHT_QUEUESIZE has no effect. Did you mean 'BOXWRIGHT_QUEUE_SIZE'?\n")


def test_a_port_in_use_is_reported_before_the_model_is_loaded(listening_port, tmp_path):
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(b"not a model")
    command = [sys.executable, "-m", "cli.main", "serve", "--port", str(listening_port), "--model", str(damaged)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 2
    advice = "Choose another port with --port (make: PORT=)."
    assert result.stderr == f"boxwright: 127.0.0.1:{listening_port} is in use by another program. {advice}\n"


def test_an_address_of_another_machine_is_reported_in_one_sentence(boxwright):
    result = boxwright("serve", "--host", "192.0.2.1", "--port", "8123")
    assert result.code == 2
    assert "the service cannot listen on 192.0.2.1:8123: Cannot assign requested address." in result.err


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "at http://127.0.0.1:8000; open to this machine, no API keys"),
        ({"host": "0.0.0.0"}, "at http://0.0.0.0:8000; open to everyone who can reach this address, no API keys"),
        ({"host": "::", "key_hashes": str(HashedKey.of("a", new_key()))}, "at http://[::]:8000; API keys required (1)"),
        ({"port": 0}, "at a free port of 127.0.0.1; open to this machine, no API keys"),
    ],
    ids=["default", "all addresses", "keys", "free port"],
)
def test_the_description_has_model_address_and_access(model_file, changes, expected):
    settings = read_settings(model=str(model_file), **changes)
    served = "serving tiny-random (3 classes: cat, dog, person) in float32 with onnxruntime"
    assert describe_service(load_registry(settings), settings) == f"{served} {expected}"


def test_the_log_describes_the_service(start_service, model_file):
    service = start_service(model_file)
    service.stop()
    assert any("serving tiny-random (3 classes: cat, dog, person)" in line for line in service.log)


def test_ctrl_c_ends_the_service_with_exit_code_130(model_file):
    command = [sys.executable, "-m", "cli.main", "serve", "--port", "0", "--model", str(model_file), "--set", "notice_seconds=0"]
    # Shells start background processes with SIGINT ignored.
    restore = partial(signal.signal, signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, preexec_fn=restore) as service:
        log = []
        for line in service.stderr:
            log.append(line)
            if "running on http://" in line:
                service.send_signal(signal.SIGINT)
        assert service.wait(timeout=30) == 130
    assert "Traceback" not in "".join(log)


@pytest.fixture
def make_serve(model_file, tmp_path):
    """(port) -> the command `make serve` in a folder with this Makefile and an environment that runs this clone."""
    script = tmp_path / ".venv" / "bin" / "boxwright"
    script.parent.mkdir(parents=True)
    script.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m cli.main "$@"\n', encoding="utf-8")
    script.chmod(0o755)
    (tmp_path / ".venv" / "core").touch()
    made = ("--assume-old", ".venv/core")  # otherwise make would install Boxwright if pyproject.toml is newer
    return lambda port: ["make", "--file", ROOT / "Makefile", *made, "serve", f"MODEL={model_file}", f"PORT={port}"]


def test_make_serve_ends_without_an_error_after_ctrl_c(make_serve, tmp_path):
    restore = partial(signal.signal, signal.SIGINT, signal.default_int_handler)
    options = {"cwd": tmp_path, "stderr": subprocess.PIPE, "text": True, "preexec_fn": restore, "start_new_session": True}
    with subprocess.Popen(make_serve(0), **options) as make:
        log = []
        for line in make.stderr:
            log.append(line)
            if "running on http://" in line:
                os.killpg(make.pid, signal.SIGINT)  # a terminal sends the signal to make, the shell and the service
        assert make.wait(timeout=30) == -signal.SIGINT
    assert "make: ***" not in "".join(log)
    assert "Finished server process" in log[-1]


def test_make_serve_reports_errors(make_serve, listening_port, tmp_path):
    result = subprocess.run(make_serve(listening_port), cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 2
    assert "(make: PORT=)" in result.stderr
    assert "Error 2" in result.stderr


def test_a_terminal_gets_text_logs_and_a_pipe_json(model_file, start_service):
    piped = start_service(model_file)
    piped.stop()
    assert all(line.startswith("{") for line in piped.log)
    terminal, child_terminal = os.openpty()
    command = [sys.executable, "-m", "cli.main", "serve", "--port", "0", "--model", str(model_file), "--set", "notice_seconds=0"]
    with subprocess.Popen(command, cwd=ROOT, stderr=child_terminal) as service:
        os.close(child_terminal)
        with os.fdopen(terminal) as file:
            line = next(line for line in file if "serving tiny-random" in line)
            service.terminate()
            with suppress(OSError):  # the terminal is closed when the process ends
                file.read()
    assert "INFO    serving tiny-random (3 classes: cat, dog, person) in float32 with onnxruntime at" in line


def test_the_process_waits_for_the_engine_that_is_being_written_but_not_for_the_race(monkeypatch):
    monkeypatch.setattr(serve, "QUIET_SECONDS", 0)
    daemons, done = [], threading.Event()

    def race():
        daemons.append(threading.current_thread().daemon)
        done.set()

    serve._run_later(lambda: daemons.append(threading.current_thread().daemon), then=race)
    assert done.wait(60)
    assert daemons == [False, True]
