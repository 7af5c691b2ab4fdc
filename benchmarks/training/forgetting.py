"""Measure the AP of old classes and the false alarms of new ones after fine-tuning (docs/training.md, "Classes and false alarms").

python -m benchmarks.training.forgetting measure MODEL OLD --new LABEL,...           one model
python -m benchmarks.training.forgetting run MODEL OLD NEW --results FILE            all variants, three seeds; skip runs in the file
python -m benchmarks.training.forgetting chain MODEL OLD NEW NEW NEW --results FILE  fine-tune on several data sets in sequence
python -m benchmarks.training.forgetting table --results FILE                        print the results as Markdown

MODEL is a model file with a memory. OLD is the data set that it was trained on, and NEW is a data set of new classes. The validation set of
OLD must contain no object of the new classes. AP50 of the old classes and false alarms of the new classes are measured on it.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.paths import ROOT
from benchmarks.training.runs_file import SEEDS, Row, read_rows

RECIPE_OPTIONS = ("--config", "raccoon")

Variant = tuple[int | None, int | None, tuple[str, ...]]
"""(number of remembered images, number of training images, options). None: the model's own memory, or all training images."""

MEMORY_VARIANTS: dict[str, dict[str, Variant]] = {
    "memory": {
        "no memory, as before": (0, None, ("--classes", "replace")),
        **{f"{count} remembered images": (count, None, ()) for count in (50, 100, 300, 1000)},
        "300 remembered images, backbone trained from epoch 4": (300, None, ("--classes", "keep", "--unfreeze-at", "4")),
        "300 replayed images instead": (0, None, ("--replay", "{images}")),
        **{f"{share} remembered images for each of yours": (300, None, ("--memory-share", share)) for share in ("0.5", "1", "4")},
    },
    "images of the new class": {f"{count} images": (None, count, ()) for count in (5, 10, 20, 50, 130)},
}


def measure(model_name: str, old: Path, new: Sequence[str]) -> Row:
    """Return AP50 of the old classes, and the shares of the images with a detection of a new class."""
    from detector.detector import Detector
    from detector.engines import load_engine
    from training.data.voc_reader import read_set
    from training.evaluation.evaluate import evaluate_detector
    from training.evaluation.false_alarms import count_false_alarms
    from weights.hub.resolve import resolve_model

    model = resolve_model(model_name)
    evaluation = evaluate_detector(Detector(model.spec, load_engine(model)), read_set(old, "val"))
    class_ids = [model.spec.labels.index(label) for label in new]
    classes = {label: round(result.ap, 4) for label, result in evaluation.classes.items() if label not in new}
    return {
        "input_size": model.spec.input_size,
        "old_ap50": round(statistics.mean(classes.values()), 4) if classes else None,
        "false_alarms": count_false_alarms(evaluation.detections, class_ids).to_json(),
        "old_classes": classes,
    }


def finetune(model: Path, data: Path, out: Path, options: Sequence[str]) -> Path:
    """Run `boxwright finetune` in another process, because TensorFlow does not release memory. Return the best model."""
    before = set(out.glob("*"))
    command = [sys.executable, "-m", "cli.main", "finetune", str(data), "--model", str(model), "--out", str(out), *options]
    subprocess.run(command, cwd=ROOT, check=True)
    (folder,) = set(out.glob("*")) - before
    return folder / "best.safetensors"


def with_memory(model: Path, old: Path, count: int, path: Path) -> Path:
    """Write the model with a memory of `count` images; 0 writes none."""
    from training.data.voc_reader import read_set
    from training.features.memory_format import memory_to_entries
    from training.features.remember import make_memory
    from weights.formats.safetensors import load_model, save_model

    loaded = load_model(model)
    memory = memory_to_entries(make_memory(loaded, read_set(old, "train"), count)) if count else None
    save_model(loaded, path, memory=memory)
    return path


def with_images(data: Path, count: int, seed: int, folder: Path) -> Path:
    """Copy the data set with `count` training images chosen at random."""
    import numpy as np

    shutil.copytree(data, folder)
    image_list = folder / "ImageSets" / "Main" / "train.txt"
    names = image_list.read_text(encoding="utf-8").split()
    chosen = np.random.default_rng(seed).permutation(len(names))[:count]
    image_list.write_text("".join(f"{names[index]}\n" for index in sorted(chosen)), encoding="utf-8")
    return folder


def run_variants(model: Path, old: Path, new: Path, results: Path) -> None:
    """Train every variant that is not in the file."""
    done = {(row["group"], row["name"], row["seed"]) for row in read_rows(results)}
    for seed in SEEDS:
        for group, variants in MEMORY_VARIANTS.items():
            for name, variant in variants.items():
                if (group, name, seed) not in done:
                    append(results, {"group": group, "name": name, "seed": seed} | _measure_variant(model, old, new, variant, seed))


def _measure_variant(model: Path, old: Path, new: Path, variant: Variant, seed: int) -> Row:
    remembered, images, options = variant
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        start = model if remembered is None else with_memory(model, old, remembered, folder / "start.safetensors")
        data = new if images is None else with_images(new, images, seed, folder / "data")
        if "{images}" in options:
            with_images(old, 300, seed, folder / "replay")
        replaced = [str(folder / "replay") if each == "{images}" else each for each in options]
        best = finetune(start, data, folder / "runs", [*RECIPE_OPTIONS, *replaced, "--seed", str(seed)])
        conclusion = json.loads((best.parent / "conclusion.json").read_text(encoding="utf-8"))
        return {"new_ap50": conclusion["ap50"]} | measure(str(best), old, conclusion["new_labels"])


def chain(model: Path, old: Path, data: Sequence[Path], results: Path) -> None:
    """Fine-tune on several data sets in sequence. Measure all earlier classes after each."""
    with tempfile.TemporaryDirectory() as folder:
        for number, new in enumerate(data, start=1):
            model = finetune(model, new, Path(folder), RECIPE_OPTIONS)
            known_labels: list[str] = []
            new_ap50 = {}
            for each in data[:number]:
                result = measure(str(model), each, ())
                new_ap50[each.name] = result["old_ap50"]
                known_labels += [label for label in result["old_classes"] if label not in known_labels]
            append(
                results,
                {"group": "chain", "name": f"after {new.name}", "seed": 0, "new_ap50": new_ap50} | measure(str(model), old, known_labels),
            )


def append(results: Path, row: Row) -> None:
    """Add a row to the file and print it."""
    with results.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
    print(json.dumps({name: value for name, value in row.items() if name != "old_classes"}), flush=True)


def forgetting_table(results: Path) -> str:
    """Return a table per group with the median over the seeds."""
    lines = []
    for group, variants in MEMORY_VARIANTS.items():
        header = ("| | AP50, new | AP50, old | false alarms at 0.25 | at 0.5 | seeds |", "|---|---|---|---|---|---|")
        lines += [f"\n### {group}\n", *header]
        for name in variants:
            if seeds := [row for row in read_rows(results) if (row["group"], row["name"]) == (group, name)]:
                new = statistics.median(row["new_ap50"] for row in seeds)
                old = [row["old_ap50"] for row in seeds if row["old_ap50"] is not None]
                shares = [statistics.median(row["false_alarms"][key] for row in seeds) for key in ("0.25", "0.5")]
                kept = f"{statistics.median(old):.3f}" if old else "lost"
                lines.append(f"| {name} | {new:.3f} | {kept} | {shares[0]:.1%} | {shares[1]:.1%} | {len(seeds)} |")
    return "\n".join(lines)


def main() -> None:
    """Run the subcommand that the module's docstring describes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("measure", "run", "chain", "table"))
    parser.add_argument("paths", type=Path, nargs="*")
    parser.add_argument("--results", type=Path, default=Path("forgetting.jsonl"))
    parser.add_argument("--new", default="", help="labels of the new classes, separated by commas")
    arguments = parser.parse_args()
    paths = [path.resolve() for path in arguments.paths]
    match arguments.command, paths:
        case "table", []:
            print(forgetting_table(arguments.results))
        case "measure", [model, old]:
            print(json.dumps(measure(str(model), old, [each for each in arguments.new.split(",") if each])))
        case "run", [model, old, new]:
            run_variants(model, old, new, arguments.results.resolve())
        case "chain", [model, old, *data] if data:
            chain(model, old, data, arguments.results.resolve())
        case _:
            parser.error("see the usage above: some paths are missing, or there are too many")


if __name__ == "__main__":
    main()
