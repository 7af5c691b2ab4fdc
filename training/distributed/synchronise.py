"""How workers come to the same: one plan, the same data, the same moment of the run. The chief tells, the others take it from it."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors.numpy import load, save

from detector.spec import Model
from training.config import Config
from training.data.voc_reader import Sample
from training.distributed.process_group import Team
from training.errors import ConfigError, TrainingError
from training.optimization.early_stopping import Progress
from training.run.folder import Task, fingerprint
from training.run.trainer import Trainer
from weights.formats.safetensors import load_model, save_model


@dataclass(frozen=True)
class Plan:
    """What is learned from what, how, and from which model on."""

    task: Task
    config: Config
    model: Model


def same_plan(team: Team, plan: Callable[[], Plan]) -> Plan:
    """The chief's, for all; `plan` is called there only. Raises what it raises."""
    if team.count == 1:
        return plan()
    made = plan() if team.is_chief else None
    task, config = team.told(lambda: [asdict(made.task), made.config.model_dump()] if made else None)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        if made:
            save_model(made.model, path)
        data = team.told_bytes(path.read_bytes)
        if made:
            return made
        path.write_bytes(data)
        return Plan(Task(**task), Config.of(config), load_model(path))


def check_same_options(chiefs: Config, config: Config) -> None:
    """Raises ConfigError where a worker was given other options than the chief."""
    ours, theirs = config.model_dump(), chiefs.model_dump()
    for name in ours:
        if ours[name] != theirs[name]:
            raise ConfigError(f"{name}: {theirs[name]!r} for worker 0, {ours[name]!r} here. Give all the same options, or worker 0 alone.")


def check_fits(team: Team, config: Config, train: Sequence[Sample], val: Sequence[Sample]) -> None:
    """Raises ConfigError where there are more workers than photos in a batch, TrainingError where their data are not the same."""
    if team.count == 1:
        return
    if team.count > config.batch_size:
        raise ConfigError(f"batch_size: {config.batch_size} photos, of all workers together, are too few for {team.count} workers.")
    ours = {"train": fingerprint(train), "val": fingerprint(val)}
    theirs = team.told(lambda: ours)
    for name, facts in ours.items():
        if facts != theirs[name]:
            raise TrainingError(
                f"set {name} is not that of worker 0: {_counted(facts)} here, {_counted(theirs[name])} there, or other names, boxes or "
                "photos. Every worker needs the same data."
            )


def _counted(facts: Mapping[str, Any]) -> str:
    return f"{facts['photos']} photos with {facts['boxes']} boxes"


def same_moment(team: Team, trainer: Trainer, progress: Progress) -> Progress:
    """Give every worker the chief's numbers to train on from, to the bit; the chief's progress."""
    if team.count == 1:
        return progress
    trainer.restore(load(team.told_bytes(lambda: save(trainer.state()))))
    return Progress(**team.told(progress.to_json))
