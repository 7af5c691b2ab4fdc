"""Check that a repeatedly killed and resumed training run equals an uninterrupted run, bit for bit.

python -m benchmarks.training.kills [--data DIR] [--kills 10] [--seed 0]

Two runs train a narrow Darknet19 on the same images with the same options. The first is never interrupted. The second gets SIGKILL
after a random number of steps plus a random fraction of a step. So it is killed while it reads, computes, validates or writes a checkpoint.
Then all weights, optimizer slots, moving averages and both model files are compared bit for bit.
DIR is a VOC-style data set with the sets train and val. Without it, images of rectangles are generated.
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
from benchmarks.paths import ROOT
from benchmarks.training.datasets import generate_dataset

PACKAGES = ("keras", "numpy", "onnxruntime", "safetensors", "tensorflow")
RUN_OPTIONS: dict[str, Any] = {
    "epochs": 12,
    "batch_size": 4,
    "sizes": "64:0.5,96",
    "check_every": 1,
    "checkpoint_steps": 2,
    "batch_norm": "train",
}
RUN_OPTIONS |= {"network": "darknet19", "width": 0.125, "head_filters": 32, "freeze": "none", "dropout": 0.1}
RUN_OPTIONS |= {"schedule": "performance", "plateau_patience": 1}
IMAGES = 16
MAX_STEPS = 4
"""Maximum number of steps between a start and the next kill."""

DRIVER = """
import json, sys
from pathlib import Path
from training.config.options import Config
from training.run.run import Run
from training.config.task import Task
from training.events import Events
from training.run.folder import RunFolder
from weights.hub.resolve import resolve_model
data, run, options = sys.argv[1:]
if Path(run).is_dir():  # otherwise the process was killed before the run began
    training_run = Run.resume(*RunFolder.open(Path(run)), resolve_model(None))
else:
    training_run = Run.new(Task(data, "train", "val", None), Config.of(json.loads(options)), resolve_model(None), Path(run).parent)


class PrintSteps(Events):
    def step_finished(self, metrics):
        print(metrics["step"], flush=True)


training_run.train(PrintSteps())
"""


def start_or_resume(data: Path, run: Path, steps: int | None = None, pause: float = 0.0) -> tuple[bool, int, list[float]]:
    """Start or resume the run. Kill it after `steps` steps and a pause in seconds; None lets it finish.

    Returns:
        Whether it was killed before its end, the last step that it reported, and the time of each report.
    """
    command = [sys.executable, "-c", DRIVER, str(data), str(run), json.dumps(RUN_OPTIONS)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        error_lines: list[str] = []
        threading.Thread(target=error_lines.extend, args=(process.stderr,), daemon=True).start()
        step_times: list[float] = []
        last = 0
        while steps is None or len(step_times) < steps:
            line = process.stdout.readline()
            if not line:
                break
            step_times.append(time.monotonic())
            last = int(line)
        if steps is not None:
            time.sleep(pause)
            process.kill()
    if process.returncode not in (0, -signal.SIGKILL):
        raise SystemExit("".join(error_lines))
    return process.returncode == -signal.SIGKILL, last, step_times


def differences(first_run: Path, second_run: Path) -> list[str]:
    """Return the names of the arrays that differ at the end of two runs."""
    from training.run.checkpoints import newest_checkpoint
    from weights.formats.safetensors import load_model

    first, second = (newest_checkpoint(run / "checkpoints") for run in (first_run, second_run))
    differing = [] if first.state == second.state else ["state"]
    differing += _unequal("checkpoint", first.arrays, second.arrays)
    for name in ("best", "last"):
        models = [load_model(run / f"{name}.safetensors") for run in (first_run, second_run)]
        differing += _unequal(name, *(model.arrays for model in models))
    return differing


def _unequal(where: str, first: Any, second: Any) -> list[str]:
    if first.keys() != second.keys():
        return [where]
    return [f"{where}: {name}" for name in first if first[name].tobytes() != second[name].tobytes()]


def main() -> None:
    """Print one JSON line. The exit code is 1 if the two runs differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        data = arguments.data.resolve() if arguments.data else generate_dataset(Path(folder) / "data", IMAGES)
        uninterrupted, killed = (Path(folder) / "runs" / f"{data.name}-{number:03d}" for number in (1, 2))
        *_, step_times = start_or_resume(data, uninterrupted)
        # the slowest step is one with a validation and a checkpoint
        longest_step = max(after - before for before, after in pairwise(step_times[len(step_times) // 2 :]))
        moments = []
        for _ in range(arguments.kills):
            steps, pause = rng.randint(0, MAX_STEPS), rng.uniform(0, longest_step)
            was_killed, last, _ = start_or_resume(data, killed, steps, pause)
            moments.append({"killed": was_killed, "steps": steps, "seconds_later": round(pause, 3), "last_step": last})
            print(json.dumps(moments[-1]), file=sys.stderr, flush=True)
        start_or_resume(data, killed)
        differing = differences(uninterrupted, killed)
    result = {"benchmark": "kills", "kills": moments, "different_arrays": differing, "machine": machine(), "versions": versions(PACKAGES)}
    print(json.dumps(result))
    raise SystemExit(1 if differing else 0)


if __name__ == "__main__":
    main()
