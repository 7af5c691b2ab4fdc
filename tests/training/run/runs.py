"""Options of short runs, and functions that resume them and read their metrics."""

import json
from pathlib import Path

from training.run.folder import RunFolder
from training.run.run import Run
from weights.formats.safetensors import load_model

SHORT = {"epochs": 4, "batch_size": 3, "sizes": "32:0.4,64", "checkpoint_steps": 2, "freeze": "conv3", "unfreeze_at": 2, "check_every": 1}
SHORT |= {"new_layers": "head", "batch_norm": "train", "dropout": 0.2, "warmup_steps": 3, "schedule": "performance", "plateau_patience": 1}


def resume(path):
    folder, task, config = RunFolder.open(path)
    return Run.resume(folder, task, config, load_model(Path(task.model)))


def step_metrics(path):
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{key: row[key] for key in row if key not in ("layers", "sentences")} for row in lines]  # these depend on many earlier steps
