"""Each technique of the lecture off and on, everything else equal: the numbers of docs/techniques.md.

python benchmarks/techniques.py run DATA --results FILE    every variant with three seeds; what the file has is not done again
python benchmarks/techniques.py time DATA --results FILE   a step of every variant beside a step of the base, in turn
python benchmarks/techniques.py table --results FILE       the tables, as Markdown
python benchmarks/techniques.py plot --results FILE --out PICTURE
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.techniques_variants import BASE, VARIANTS

SEEDS = (0, 1, 2)
TIMED_STEPS = 12
ROOT = Path(__file__).resolve().parents[1]

HEADER = ("| | AP50 half-way | AP50 at the end | COCO AP at the end | val loss | time |", "|---|---|---|---|---|---|")

Row = dict[str, Any]


def every_variant() -> Iterator[tuple[str, str, Row]]:
    """(group, name, options that differ from the defaults)."""
    for group, variants in VARIANTS.items():
        for name, settings in variants.items():
            yield group, name, BASE | settings


def rows(results: Path, kind: str) -> list[Row]:
    """What the file has of that kind."""
    lines = results.read_text(encoding="utf-8").splitlines() if results.is_file() else []
    return [row for row in map(json.loads, lines) if row["kind"] == kind]


def add(results: Path, row: Row) -> None:
    """Append a result."""
    with results.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def in_new_processes(command: str, data: Path, results: Path) -> None:
    """Each variant in a process of its own: TensorFlow gives no memory back."""
    for group, name, _ in every_variant():
        arguments = ["-m", "benchmarks.techniques", command, str(data), "--results", str(results), "--variant", group, name]
        subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True)


def run(data: Path, results: Path, group: str, name: str) -> None:
    """The variant with the seeds that the file does not have yet."""
    import keras

    from training.config import Config
    from training.finetune import Run
    from training.run_folder import Task
    from weights.resolve import load

    done = {row["seed"] for row in rows(results, "run") if (row["group"], row["name"]) == (group, name)}
    settings = BASE | VARIANTS[group][name]
    for seed in sorted(set(SEEDS) - done):
        keras.utils.clear_session()
        with tempfile.TemporaryDirectory() as folder:
            task = Task(str(data), "train", "val", None)
            prepared = Run.new(task, Config.of(settings | {"seed": seed}), load(None), Path(folder))
            prepared.go()
            lines = (prepared.folder.path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
            checks = [row for row in map(json.loads, lines) if "ap50" in row]
            result: Row = {key: [check[key] for check in checks] for key in ("step", "ap50", "val_loss")}
            result["coco_ap"] = _coco_ap(Path(folder), data)
        add(results, {"kind": "run", "group": group, "name": name, "seed": seed} | result)
        print(group, "|", name, "|", seed, " ".join(f"{value:.3f}" for value in result["ap50"]), f"{result['coco_ap']:.3f}", flush=True)


def _coco_ap(folder: Path, data: Path) -> float:
    """Of the weights at the end, COCO's mean over IoU 0.5 to 0.95: it has room where AP50 has none left."""
    from detector.detector import Detector
    from detector.engines import load_engine
    from training.evaluate import evaluate
    from training.voc import read_set
    from weights.model_file import load_model

    model = load_model(next(folder.glob("*/last.safetensors")))
    return float(evaluate(Detector(model.spec, load_engine(model)), read_set(data, "val")).coco.ap)


def timed(data: Path, results: Path, group: str, name: str) -> None:
    """How long the variant's steps take as a share of the base's, at the run's last size, in turn."""
    from training.config import Config
    from training.finetune import Run
    from training.run_folder import Task
    from weights.resolve import load

    if any((row["group"], row["name"]) == (group, name) for row in rows(results, "time")):
        return
    with tempfile.TemporaryDirectory() as folder:
        task = Task(str(data), "train", "val", None)
        runs = [Run.new(task, Config.of(settings), load(None), Path(folder)) for settings in (BASE, BASE | VARIANTS[group][name])]
        frozen = [_median_seconds(runs)]
        for each in runs:
            each.trainer.freeze(frozenset())
        free = _median_seconds(runs)
    share = [each.batches.unfreezing_step / each.batches.steps if each.config.freeze != "none" else 0.0 for each in runs]
    base, variant = (part * still + (1 - part) * moving for part, still, moving in zip(share, frozen[0], free, strict=True))
    add(results, {"kind": "time", "group": group, "name": name, "ratio": variant / base})
    print(group, "|", name, "|", round(variant / base, 2), flush=True)


def _median_seconds(runs: list[Any]) -> list[float]:
    taken: list[list[float]] = [[] for _ in runs]
    batches = [each.batches.batch(each.batches.steps - 1) for each in runs]
    for step in range(TIMED_STEPS + 2):
        for each, (images, targets), seconds in zip(runs, batches, taken, strict=True):
            started = time.perf_counter()
            each.trainer.step(images, targets, number=step, rate=1e-6)
            seconds.append(time.perf_counter() - started)
    return [statistics.median(seconds[2:]) for seconds in taken]  # the first ones compile


def table(results: Path) -> str:
    """Per group: AP50 and COCO AP at the end and AP50 half-way, median and range of the seeds; time of a step."""
    runs = rows(results, "run")
    times = {(row["group"], row["name"]): row["ratio"] for row in rows(results, "time")}
    lines = []
    for group in VARIANTS:
        lines += [
            f"\n### {group}\n",
            "| | AP50 half-way | AP50 at the end | COCO AP at the end | val loss | time |",
            "|---|---|---|---|---|---|",
        ]
        for name in VARIANTS[group]:
            seeds = [row for row in runs if (row["group"], row["name"]) == (group, name) and row["ap50"]]
            if not seeds:
                continue
            first, last = ([row["ap50"][index] for row in seeds] for index in (0, -1))
            coco, loss = [row["coco_ap"] for row in seeds], [row["val_loss"][-1] for row in seeds]
            ratio = times.get((group, name))
            cells = (_spread(first), _spread(last), _spread(coco), f"{statistics.median(loss):.2f}", f"{ratio:.2f}" if ratio else "")
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.3f} ({min(values):.3f}-{max(values):.3f})"


def plot(results: Path, picture: Path) -> None:
    """Every run as a dot: AP50 half-way and at the end, COCO AP at the end; a line for each variant."""
    from matplotlib.figure import Figure

    runs = rows(results, "run")
    names = [(group, name) for group, variants in VARIANTS.items() for name in variants]
    shown = [key for key in names if any((row["group"], row["name"]) == key and row["ap50"] for row in runs)]
    figure = Figure(figsize=(11, 0.24 * len(shown) + 1.5), layout="constrained")
    panels = figure.subplots(1, 3, sharey=True)
    measures: dict[str, Callable[[Row], float]] = {
        "AP50 half-way": lambda row: row["ap50"][0],
        "AP50 at the end": lambda row: row["ap50"][-1],
        "COCO AP at the end": lambda row: row["coco_ap"],
    }
    for axes, (title, value) in zip(panels, measures.items(), strict=True):
        for line, key in enumerate(shown):
            values = [value(row) for row in runs if (row["group"], row["name"]) == key and row["ap50"]]
            axes.plot(values, [line] * len(values), "o", color=f"C{list(VARIANTS).index(key[0])}", markersize=4, alpha=0.8)
        axes.set(title=title, xlim=(-0.02, 1.02))
        axes.grid(axis="both", alpha=0.3)
    panels[0].set_yticks(range(len(shown)), [name for _, name in shown], fontsize=7)
    panels[0].invert_yaxis()
    figure.savefig(picture, dpi=90)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("run", "time", "table", "plot"))
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("techniques.png"))
    parser.add_argument("--variant", nargs=2, metavar=("GROUP", "NAME"), help="only this one, in this process")
    given = parser.parse_args()
    if given.command == "table":
        print(table(given.results))
    elif given.command == "plot":
        plot(given.results, given.out)
    elif given.data is None:
        parser.error("give the folder of the data set")
    elif given.variant:
        (run if given.command == "run" else timed)(given.data.resolve(), given.results.resolve(), *given.variant)
    else:
        in_new_processes(given.command, given.data.resolve(), given.results.resolve())


if __name__ == "__main__":
    main()
