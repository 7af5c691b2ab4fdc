"""Measure each technique of docs/techniques.md: train with and without it, and with all other options equal.

python -m benchmarks.training.techniques run DATA --results FILE     run every variant with three seeds; skip runs that are in the file
python -m benchmarks.training.techniques table --results FILE        print the tables as Markdown
python -m benchmarks.training.techniques plot --results FILE --out PICTURE

Time is processor time from a run's first step to its last validation, relative to that of the first variant.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.paths import ROOT
from benchmarks.training.runs_file import SEEDS, Row, read_rows
from benchmarks.training.techniques_variants import BASE, VARIANTS
from detector.engines.cores import usable_cores

TABLE_HEADER = ("| | AP50 halfway | AP50 at the end | COCO AP at the end | val loss | time |", "|---|---|---|---|---|---|")


def runs_of(all_rows: list[Row], group: str, name: str) -> list[Row]:
    """Return the runs of a variant, one for each seed."""
    return [row for row in all_rows if (row["group"], row["name"]) == (group, name)]


def run_all(data: Path, results: Path) -> None:
    """Run each variant in a separate process, because TensorFlow does not release memory. Run one process per core at a time."""
    environment = os.environ | {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}

    def finish(variant: tuple[str, str]) -> None:
        if {row["seed"] for row in runs_of(read_rows(results), *variant)} < set(SEEDS):
            arguments = ["-m", "benchmarks.training.techniques", "run", str(data), "--results", str(results), "--variant", *variant]
            subprocess.run([sys.executable, *arguments], cwd=ROOT, env=environment, check=True)

    with ThreadPoolExecutor(usable_cores()) as pool:
        list(pool.map(finish, [(group, name) for group, variants in VARIANTS.items() for name in variants]))


def run_variant(data: Path, results: Path, group: str, name: str) -> None:
    """Run the variant with the seeds that are not in the file yet."""
    for seed in sorted(set(SEEDS) - {row["seed"] for row in runs_of(read_rows(results), group, name)}):
        measured = _measure(data, BASE | VARIANTS[group][name] | {"seed": seed})
        with results.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"group": group, "name": name, "seed": seed} | measured) + "\n")
        print(group, "|", name, "|", seed, " ".join(f"{value:.3f}" for value in measured["ap50"]), f"{measured['coco_ap']:.3f}", flush=True)


def _measure(data: Path, settings: Row) -> Row:
    """Train once and return the validation results, the COCO AP of the last weights and the processor seconds."""
    import keras

    from training.config.options import Config
    from training.config.task import Task
    from training.run.run import Run
    from weights.hub.resolve import resolve_model

    keras.utils.clear_session()
    with tempfile.TemporaryDirectory() as folder:
        run = Run.new(Task(str(data), "train", "val", None), Config.of(settings), resolve_model(None), Path(folder))
        started = time.process_time()
        if run.train().interrupted:
            sys.exit("The run was interrupted and is not recorded.")
        seconds = time.process_time() - started
        checks = [row for row in run.folder.metrics.read() if "ap50" in row]
        coco = _coco_ap(run.folder.path / "last.safetensors", data)
    curves = {key: [check[key] for check in checks] for key in ("step", "ap50", "val_loss")}
    return curves | {"coco_ap": coco, "processor_seconds": round(seconds, 1)}


def _coco_ap(file: Path, data: Path) -> float:
    """Return the mean AP over IoU 0.5 to 0.95, which still separates variants when AP50 is near 1."""
    from detector.detector import Detector
    from detector.engines import load_engine
    from training.data.voc_reader import read_set
    from training.evaluation.evaluate import evaluate_detector
    from weights.formats.safetensors import load_model

    model = load_model(file)
    return float(evaluate_detector(Detector(model.spec, load_engine(model)), read_set(data, "val")).coco.ap)


def techniques_table(results: Path) -> str:
    """Return one table per group: over the seeds, median and range of AP50 and COCO AP, and median validation loss and time.

    Each table begins with the base run, to which all variants except those with a new head are compared.
    """
    all_rows = read_rows(results)
    first = next((group, name) for group, variants in VARIANTS.items() for name in variants)
    base = runs_of(all_rows, *first)
    lines = []
    for group, variants in VARIANTS.items():
        named = {name: runs_of(all_rows, group, name) for name in variants}
        if not any(named.values()):
            continue
        lines += [f"\n### {group}\n", *TABLE_HEADER]
        lines += [_line(name, seeds, base) for name, seeds in (named if group == first[0] else {"the base": base} | named).items() if seeds]
    return "\n".join(lines)


def _line(name: str, seeds: list[Row], base: list[Row]) -> str:
    half_way = [row["ap50"][(len(row["ap50"]) - 1) // 2] for row in seeds]
    spreads = (_spread(each) for each in (half_way, [row["ap50"][-1] for row in seeds], [row["coco_ap"] for row in seeds]))
    loss, time_share = statistics.median(row["val_loss"][-1] for row in seeds), _seconds(seeds) / _seconds(base)
    return f"| {name} | {' | '.join(spreads)} | {loss:.2f} | {time_share:.1f} |"


def _seconds(seeds: list[Row]) -> float:
    """Return the median processor seconds."""
    return float(statistics.median(row["processor_seconds"] for row in seeds))


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.3f} ({min(values):.3f}-{max(values):.3f})"


def plot_techniques(results: Path, picture: Path) -> None:
    """Plot AP50 over the run, one panel per group and one line per variant: mean of the seeds, with their range shaded."""
    from matplotlib.figure import Figure

    all_rows = read_rows(results)
    first = next((group, name) for group, variants in VARIANTS.items() for name in variants)
    groups = [group for group, variants in VARIANTS.items() if sum(bool(runs_of(all_rows, group, name)) for name in variants) > 1]
    lines = -(-len(groups) // 2)
    figure = Figure(figsize=(12, 4 * lines), layout="constrained")
    panels = figure.subplots(lines, 2, squeeze=False).ravel()
    for axes, group in zip(panels, groups, strict=False):
        _curve(axes, "the base", runs_of(all_rows, *first), color="black", linestyle="--")
        for name in VARIANTS[group]:
            if (seeds := runs_of(all_rows, group, name)) and (group, name) != first:
                _curve(axes, name, seeds)
        axes.set(title=group, xlabel="share of the run", ylabel="AP50 on val", xlim=(0, 1.02), ylim=(-0.02, 1.02))
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8, loc="center right", frameon=False)
    for axes in panels[len(groups) :]:
        axes.set_axis_off()
    figure.savefig(picture, dpi=90)


def _curve(axes: Any, name: str, seeds: list[Row], **style: str) -> None:
    checks = min(len(row["step"]) for row in seeds)  # early stopping can end the seeds' runs at different checks
    steps = seeds[0]["step"][:checks]
    values = [[row["ap50"][check] for row in seeds] for check in range(checks)]
    shares = [step / max(row["step"][-1] for row in seeds) for step in steps]
    (line,) = axes.plot(shares, [statistics.mean(each) for each in values], marker="o", markersize=3, linewidth=1.2, label=name, **style)
    axes.fill_between(shares, [min(each) for each in values], [max(each) for each in values], color=line.get_color(), alpha=0.1)


def main() -> None:
    """Run the subcommand that the module's docstring describes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("run", "table", "plot"))
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("techniques.png"))
    parser.add_argument("--variant", nargs=2, metavar=("GROUP", "NAME"), help="run only this variant, in this process")
    arguments = parser.parse_args()
    if arguments.command == "table":
        print(techniques_table(arguments.results))
    elif arguments.command == "plot":
        plot_techniques(arguments.results, arguments.out)
    elif arguments.data is None:
        parser.error("`run` requires DATA, the folder of the data set")
    elif arguments.variant:
        run_variant(arguments.data.resolve(), arguments.results.resolve(), *arguments.variant)
    else:
        run_all(arguments.data.resolve(), arguments.results.resolve())


if __name__ == "__main__":
    main()
