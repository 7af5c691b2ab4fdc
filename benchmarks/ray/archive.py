"""Check that `boxwright detect --ray` processes every image exactly once, even if it is killed and restarted.

python -m benchmarks.ray.archive [--images 5000] [--unreadable 50] [--kills 1] [--model NAME_OR_FILE]

The images are distinct random crops of those in docs/photos; some files are truncated. SIGKILL ends the command's process group when a
fraction of the results is on disk. Each rate is that of one run, including Ray's start. Memory is the highest peak of all processes.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.machine import machine, resident_mib, versions
from benchmarks.paths import ROOT

PACKAGES = ("ray", "pyarrow", "onnxruntime", "numpy", "pillow")


def main() -> None:
    """Print one JSON line. Exit with code 1 if an image is missing or duplicated."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--unreadable", type=int, default=50, help="number of truncated images among them")
    parser.add_argument("--kills", type=int, default=1)
    parser.add_argument("--model", default="everyday", help="a name or a .safetensors file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = _measure(Path(folder), arguments)
    print(json.dumps(result))
    sys.exit(0 if result["exactly_once"] else 1)


def _measure(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    import pyarrow.parquet as pq

    names = _write_images(folder, arguments.images, arguments.unreadable)
    runs = [_run(folder, arguments, kill / (arguments.kills + 1)) for kill in range(1, arguments.kills + 1)]
    runs.append(_run(folder, arguments, None))
    rows = pq.read_table(folder / "detections.parquet", columns=["photo", "kind"]).to_pylist()
    counted = Counter(row["photo"] for row in rows)
    return {
        "benchmark": "ray_archive",
        "model": Path(arguments.model).name,
        "images": arguments.images,
        "exactly_once": counted == Counter(names),
        "missing": len(set(names) - set(counted)),
        "duplicated": sum(number > 1 for number in counted.values()),
        "unreadable": Counter(row["kind"] for row in rows if row["kind"]),
        "files": len(list((folder / "detections.parquet").glob("*.parquet"))),
        "runs": runs,
        "machine": machine(),
        "versions": versions(PACKAGES),
    }


def _write_images(folder: Path, count: int, unreadable: int) -> list[str]:
    rng = np.random.default_rng(1)
    originals = [Image.open(ROOT / "docs" / "photos" / name).convert("RGB") for name in ("cat.jpg", "astronaut.jpg")]
    names = []
    for number in range(count):
        original = originals[number % 2]
        width, height = (int(side * rng.uniform(0.5, 1)) for side in original.size)
        left, top = (int(rng.integers(0, limit + 1)) for limit in (original.width - width, original.height - height))
        path = folder / "images" / f"{number % 100:02d}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        original.crop((left, top, left + width, top + height)).save(path, quality=int(rng.integers(60, 95)))
        if number % (count // unreadable if unreadable else count + 1) == 1:
            path.write_bytes(path.read_bytes()[:-2000])
        names.append(str(path.relative_to(folder)))
    return names


def _run(folder: Path, arguments: argparse.Namespace, until: float | None) -> dict[str, Any]:
    """Run the command once and kill it when that fraction of the images is done. None lets it finish."""
    out = folder / "detections.parquet"
    before, started, peak = _images_done(out), time.perf_counter(), 0.0
    command = [sys.executable, "-m", "cli.main", "detect", "images", "--ray", "--out", out.name, "--model", arguments.model]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=folder, env=environment, start_new_session=True, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            time.sleep(0.2)
            peak = max([peak, *_memories(process.pid)])
            if until is not None and _images_done(out) >= until * arguments.images:
                os.killpg(process.pid, signal.SIGKILL)
                break
    seconds, images = time.perf_counter() - started, _images_done(out) - before
    ended = "killed" if process.returncode == -signal.SIGKILL else process.returncode
    rate = round(images / seconds, 2)
    return {"images": images, "seconds": round(seconds, 1), "images_per_second": rate, "peak_resident_mib": round(peak), "ended": ended}


def _images_done(out: Path) -> int:
    import pyarrow.parquet as pq

    return sum(pq.read_metadata(path).num_rows for path in out.glob("part-*.parquet"))


def _memories(session: int) -> list[float]:
    """Return the MiB of the command and of Ray's workers, which run in other sessions and are found by name."""
    memories = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, StopIteration):
            name = (folder / "cmdline").read_bytes()
            if int(folder.name) == session or b"MapWorker" in name:
                memories.append(resident_mib(folder.name))
    return memories


if __name__ == "__main__":
    main()
