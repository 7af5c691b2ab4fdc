"""How long `boxwright serve` takes from the start of its process to its first 200 of /readyz, and its memory then.

python benchmarks/startup.py [--model NAME_OR_FILE]
"""

import argparse
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import time
from http.client import HTTPConnection
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("fastapi", "numpy", "onnx", "onnxruntime", "pillow", "pydantic", "uvicorn")


def measure(model: str, port: int) -> tuple[float, float]:
    """(seconds, MiB resident when ready) of one start."""
    command = [sys.executable, "-m", "cli.main", "serve", "--model", model, "--port", str(port)]
    started = time.perf_counter()
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            while not _ready(port):
                if process.poll() is not None:
                    sys.exit(f"{' '.join(command)}: ended with code {process.returncode} before it was ready.")
                time.sleep(0.005)
            return time.perf_counter() - started, _resident(process.pid)
        finally:
            process.terminate()


def _ready(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _resident(process: int) -> float:
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS"))


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def main() -> None:
    """Print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="everyday", help="a name or a .safetensors file")
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    seconds, memory = zip(*(measure(arguments.model, _free_port()) for _ in range(arguments.runs)), strict=True)
    result = {
        "benchmark": "startup",
        "model": Path(arguments.model).name,
        "runs": arguments.runs,
        "seconds_median": round(statistics.median(seconds), 3),
        "seconds_worst": round(max(seconds), 3),
        "resident_mib_median": round(statistics.median(memory), 1),
        "machine": {"processor": _processor(), "cores": len(os.sched_getaffinity(0)), "system": platform.platform()},
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
