"""Is a run that is killed again and again the run that was not? kill -9 at ten random moments, resumed each time.

python -m benchmarks.kills [--data DIR] [--kills 10] [--seed 0]

Two runs of a narrow Darknet19 on the same photos, with the same options: one to its end, one that is killed a random number of steps after
each start and a random part of a step later: while it reads, computes, measures, or writes a checkpoint. Then every weight, every slot of
the optimiser, every moving average and both model files are compared, to the bit. DIR is VOC-style (sets train and val); if not given,
photos of rectangles are made.
"""

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.machine import machine, versions
from benchmarks.training import made_photos

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("keras", "numpy", "onnxruntime", "safetensors", "tensorflow")
OPTIONS: dict[str, Any] = {
    "epochs": 12,
    "batch_size": 4,
    "sizes": "64:0.5,96",
    "check_every": 1,
    "checkpoint_steps": 2,
    "batch_norm": "train",
}
OPTIONS |= {"network": "darknet19", "width": 0.125, "head_filters": 32, "freeze": "none", "dropout": 0.1}
OPTIONS |= {"schedule": "performance", "plateau_patience": 1}
PHOTOS = 16
MOST_STEPS = 4
"""Between a start and the next kill."""

DRIVER = """
import json, sys
from pathlib import Path
from training.config import Config
from training.run.run import Run
from training.task import Task
from training.events import Events
from training.run.folder import RunFolder
from weights.hub.resolve import load
data, run, options = sys.argv[1:]
if Path(run).is_dir():  # else it was killed before it had begun
    going = Run.resume(*RunFolder.open(Path(run)), load(None))
else:
    going = Run.new(Task(data, "train", "val", None), Config.of(json.loads(options)), load(None), Path(run).parent)


class PrintSteps(Events):
    def step_finished(self, metrics):
        print(metrics["step"], flush=True)


going.train(PrintSteps())
"""


def go_on(data: Path, run: Path, steps: int | None = None, pause: float = 0.0) -> tuple[bool, int, list[float]]:
    """Begin the run, or go on with it; after `steps` steps and a pause in seconds kill it.

    Whether it was killed before its end, the last step it told of, and when it told of each.
    """
    command = [sys.executable, "-c", DRIVER, str(data), str(run), json.dumps(OPTIONS)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        said: list[str] = []
        threading.Thread(target=said.extend, args=(process.stderr,), daemon=True).start()
        told: list[float] = []
        last = 0
        while steps is None or len(told) < steps:
            line = process.stdout.readline()
            if not line:
                break
            told.append(time.monotonic())
            last = int(line)
        if steps is not None:
            time.sleep(pause)
            process.kill()
    if process.returncode not in (0, -signal.SIGKILL):
        raise SystemExit("".join(said))
    return process.returncode == -signal.SIGKILL, last, told


def differences(one: Path, other: Path) -> list[str]:
    """What is not to the bit the same at the end of two runs."""
    from training.run.checkpoints import newest_checkpoint
    from weights.formats.safetensors import load_model

    first, second = (newest_checkpoint(run / "checkpoints") for run in (one, other))
    found = [] if first.state == second.state else ["state"]
    found += _unequal("checkpoint", first.arrays, second.arrays)
    for name in ("best", "last"):
        models = [load_model(run / f"{name}.safetensors") for run in (one, other)]
        found += _unequal(name, *(model.arrays for model in models))
    return found


def _unequal(where: str, first: Any, second: Any) -> list[str]:
    if first.keys() != second.keys():
        return [where]
    return [f"{where}: {name}" for name in first if first[name].tobytes() != second[name].tobytes()]


def main() -> None:
    """Print one JSON line; exit code 1 where the two runs differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rng = random.Random(given.seed)
    with tempfile.TemporaryDirectory() as folder:
        data = given.data.resolve() if given.data else made_photos(Path(folder) / "photos", PHOTOS)
        whole, killed = (Path(folder) / "runs" / f"{data.name}-{number:03d}" for number in (1, 2))
        *_, told = go_on(data, whole)
        pace = max(after - before for before, after in pairwise(told[len(told) // 2 :]))  # a step with a check and a checkpoint
        moments = []
        for _ in range(given.kills):
            steps, pause = rng.randint(0, MOST_STEPS), rng.uniform(0, pace)
            in_time, last, _ = go_on(data, killed, steps, pause)
            moments.append({"killed": in_time, "steps_told_of": steps, "seconds_later": round(pause, 3), "last_step": last})
            print(json.dumps(moments[-1]), file=sys.stderr, flush=True)
        go_on(data, killed)
        found = differences(whole, killed)
    result = {"benchmark": "kills", "kills": moments, "different": found, "machine": machine(), "versions": versions(PACKAGES)}
    print(json.dumps(result))
    raise SystemExit(1 if found else 0)


if __name__ == "__main__":
    main()
