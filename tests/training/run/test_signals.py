"""Signals during training: the step is completed, and a closed terminal does not prevent the checkpoint."""

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from training.run.signals import InterruptHandler

ROOT = Path(__file__).resolve().parents[3]

AFTER_HANGUP = """
import os, signal, sys
from pathlib import Path
from training.run.signals import InterruptHandler
signal.signal(signal.SIGHUP, signal.SIG_DFL)
with InterruptHandler() as interrupt:
    print("training", flush=True)
    try:
        os.read(0, 1)  # until the terminal closes
    except OSError:
        pass
    signal.raise_signal(signal.SIGHUP)
    print("one more line", flush=True)
    print("and an error", file=sys.stderr, flush=True)
    Path(sys.argv[1]).write_text(f"saved {interrupt.requested}")
"""


@pytest.fixture(autouse=True)
def no_nohup():
    """The tests may run under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_requests_the_end_and_the_previous_handlers_return(number):
    before = signal.getsignal(number)
    with InterruptHandler() as interrupt:
        assert not interrupt.requested
        signal.raise_signal(number)
        assert interrupt.requested
        assert signal.getsignal(number) == before
    assert signal.getsignal(number) == before


def test_a_program_under_nohup_continues_after_its_terminal_has_closed():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with InterruptHandler() as interrupt:
        signal.raise_signal(signal.SIGHUP)
        assert not interrupt.requested


def test_output_after_the_terminal_has_closed_is_discarded(tmp_path):
    main, terminal = pty.openpty()
    saved = tmp_path / "saved"
    command = [sys.executable, "-c", AFTER_HANGUP, str(saved)]
    with subprocess.Popen(command, cwd=ROOT, stdin=terminal, stdout=terminal, stderr=terminal) as process:
        os.close(terminal)
        with os.fdopen(main, "rb") as output:  # closes the terminal
            assert output.readline() == b"training\r\n"
        assert process.wait() == 0
    assert saved.read_text() == "saved True"
