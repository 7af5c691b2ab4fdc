"""Every module can be imported where Python lacks the modules and functions that only Linux or Unix have."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("detector", "weights", "boxwright", "service", "cli", "training")

UNIX_MODULES = ("fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "syslog", "posix", "uvloop")
UNIX_ATTRIBUTES = {
    "os": (
        "sched_getaffinity", "sched_setaffinity", "memfd_create", "pidfd_open", "geteuid", "getuid", "getgid", "fork", "killpg", "setsid",
        "getpgid", "sysconf", "getloadavg", "posix_fallocate", "posix_fadvise", "sendfile", "O_NOFOLLOW", "O_DIRECTORY", "O_CLOEXEC",
        "O_TMPFILE", "WNOHANG", "statvfs", "fchmod", "mkfifo", "wait4",
    ),
    "signal": ("SIGHUP", "SIGKILL", "SIGALRM", "SIGUSR1", "SIGUSR2", "SIGSTOP", "SIGQUIT", "setitimer", "ITIMER_REAL", "pidfd_send_signal"),
    "socket": ("SO_REUSEPORT", "TCP_USER_TIMEOUT", "AF_UNIX", "SCM_RIGHTS", "MSG_DONTWAIT"),
    "select": ("epoll", "poll"),
    "mmap": ("MAP_PRIVATE", "MAP_SHARED", "MADV_DONTNEED", "PROT_READ"),
}  # fmt: skip

IMPORT_ALL = r"""
import ast, builtins, importlib, pkgutil, sys

packages, modules, attributes = (ast.literal_eval(argument) for argument in sys.argv[1:])
real_import = builtins.__import__
blocked = {name: importlib.import_module(name) for name in attributes}

def is_ours(namespace):
    return str((namespace or {}).get("__name__", "")).partition(".")[0] in packages

def without_unix(name, globals=None, locals=None, fromlist=(), level=0):
    if is_ours(globals) and name in modules:
        raise ImportError(f"No module named {name!r}")
    if is_ours(globals) and name in blocked:
        missing = [each for each in fromlist or () if each in attributes[name]]
        if missing:
            raise ImportError(f"cannot import {missing} from {name!r}")
        return fakes[name]
    return real_import(name, globals, locals, fromlist, level)

class ModuleWithoutAttributes:
    "A module without some attributes. Only our modules see it, because libraries detect the system in their own ways."

    def __init__(self, module, names):
        self.__dict__.update(_module=module, _names=names)

    def __getattr__(self, name):
        if name in self._names:
            raise AttributeError(f"module {self._module.__name__!r} has no attribute {name!r}")
        return getattr(self._module, name)

fakes = {name: ModuleWithoutAttributes(module, attributes[name]) for name, module in blocked.items()}
builtins.__import__ = without_unix
count = 0
for package in packages:
    for module in pkgutil.walk_packages(importlib.import_module(package).__path__, package + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
            count += 1
print(count)
"""


def import_all(*packages):
    command = [sys.executable, "-c", IMPORT_ALL, repr(packages), repr(UNIX_MODULES), repr(UNIX_ATTRIBUTES)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_every_module_imports_without_the_modules_and_functions_of_unix():
    result = import_all(*PACKAGES)
    assert result.returncode == 0, result.stderr[-3000:]
    assert int(result.stdout) > 200


@pytest.mark.parametrize(
    "line",
    [
        "import fcntl",
        "import os; os.fork",
        "from os import sched_getaffinity",
        "import signal; signal.SIGHUP",
        "from socket import AF_UNIX",
    ],
)
def test_the_check_finds_a_module_that_needs_unix(tmp_path, line):
    (tmp_path / "needs_unix").mkdir()
    (tmp_path / "needs_unix" / "__init__.py").write_text("")
    (tmp_path / "needs_unix" / "module.py").write_text(line)
    command = [sys.executable, "-c", IMPORT_ALL, repr(("needs_unix",)), repr(UNIX_MODULES), repr(UNIX_ATTRIBUTES)]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "Error" in result.stderr
