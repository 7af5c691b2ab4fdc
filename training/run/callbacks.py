"""Callbacks of a run: metrics, checkpoints, models, TensorBoard and layer diagnostics."""

from collections.abc import Mapping
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from detector.messages import count_of
from detector.network.spec import Model
from training.errors import TrainingError
from training.run.checkpoints import Checkpoint, save_checkpoint
from training.run.divergence import describe_explosion
from training.run.layer_monitor import ActivationProbe, DeadUnits, LayerMonitor, dead_unit_warnings
from training.run.metrics_log import StepMetrics
from training.run.tensorboard import EventFiles
from training.run.trainer import StepResult
from weights.formats.safetensors import save_model

if TYPE_CHECKING:
    from training.run.run import Run


class Callback:
    """Reacts to events of a run on the chief. Every method does nothing; override the ones you need."""

    def on_start(self, run: "Run") -> None:
        """The run begins or is resumed."""

    def on_step(self, run: "Run", result: StepResult) -> None:
        """The weights have been updated."""

    def measure(self, run: "Run", model: Model) -> StepMetrics:  # noqa: ARG002
        """Return further metrics of a validation. model: the averaged weights."""
        return {}

    def on_new_best(self, run: "Run", metrics: StepMetrics) -> None:
        """The validation was the best so far, or equal to it."""

    def on_metrics(self, run: "Run", metrics: StepMetrics) -> None:
        """All metrics of the step are known."""

    def on_step_end(self, run: "Run") -> None:
        """The step is complete and does not end the run early."""

    def on_end(self, run: "Run") -> None:
        """The last step is done."""

    def close(self) -> None:
        """Release resources, also after an error."""


class MetricsWriter(Callback):
    """Appends to metrics.jsonl and metrics.csv."""

    def on_metrics(self, run: "Run", metrics: StepMetrics) -> None:
        """Append the step."""
        run.folder.metrics.append(metrics)


class CheckpointWriter(Callback):
    """Saves checkpoints: before the first step, every `checkpoint_steps` steps, and at the end."""

    def on_start(self, run: "Run") -> None:
        """Save the initial state, so that a run that is killed in its first steps can be resumed."""
        if run.state.step == 0:
            self.save(run)

    def on_step_end(self, run: "Run") -> None:
        """Save if a checkpoint is due."""
        if run.state.step % run.setup.config.checkpoint_steps == 0:
            self.save(run)

    def on_end(self, run: "Run") -> None:
        """Save the final state."""
        self.save(run)

    def save(self, run: "Run") -> None:
        """Save the state of the run. Raises TrainingError if an array is NaN or infinite."""
        arrays = run.trainer.state()
        for name, array in arrays.items():
            if not np.isfinite(array).all():
                raise TrainingError(f"step {run.state.step}: {name} is NaN or infinite. {run.divergence_advice}")
        save_checkpoint(Checkpoint(run.state.to_json(), arrays), run.folder.checkpoints)


class ModelWriter(Callback):
    """Saves the averaged weights as best.safetensors and last.safetensors, which `boxwright serve` can load."""

    def on_new_best(self, run: "Run", metrics: StepMetrics) -> None:
        """Save best.safetensors."""
        self._save(run, "best", {"ap50": f"{metrics['ap50']:.4f} on set {run.setup.task.val_set}, {count_of(len(run.setup.val), 'image')}"})

    def on_end(self, run: "Run") -> None:
        """Save last.safetensors."""
        self._save(run, "last", {})

    def _save(self, run: "Run", name: str, measured: Mapping[str, str]) -> None:
        setup, batches = run.setup, run.setup.batches
        provenance = {
            "fine-tuned from": setup.start.model.name,
            "data": f"{Path(setup.task.dataset).name}, set {setup.task.train_set}, {count_of(len(batches.samples), 'image')}",
            "step": f"{run.state.step} of {batches.steps}",
            "config": setup.config.model_dump_json(exclude_defaults=True),
            **measured,
        }
        with run.trainer.averaged_weights():
            save_model(run.trainer.model(run.folder.path.name, provenance), run.folder.path / f"{name}.safetensors")


class TensorBoardWriter(Callback):
    """Writes TensorBoard event files."""

    def __init__(self) -> None:
        self._files: EventFiles | None = None

    def on_start(self, run: "Run") -> None:
        """Create the files with all steps so far."""
        self._files = EventFiles(run.folder.path / "tensorboard", run.folder.metrics.read())

    def on_metrics(self, run: "Run", metrics: StepMetrics) -> None:  # noqa: ARG002
        """Write the step."""
        if self._files:
            self._files.write(metrics)

    def close(self) -> None:
        """Close the files."""
        if self._files:
            self._files.close()


class LayerDiagnostics(Callback):
    """Adds gradient ratios, dead and saturated units, and warnings to the metrics of each validation."""

    def __init__(self, run: "Run") -> None:
        self._setup, self._monitor, self._losses = run.setup, LayerMonitor(), list[float]()

    def on_start(self, run: "Run") -> None:
        """Read the losses of a resumed run."""
        self._losses = [metrics["loss"] for metrics in run.folder.metrics.read()]

    def on_step(self, run: "Run", result: StepResult) -> None:  # noqa: ARG002
        """Record the loss and the gradients."""
        self._losses.append(result.loss)
        self._monitor.observe(result)

    def measure(self, run: "Run", model: Model) -> StepMetrics:  # noqa: ARG002
        """Return `layers` and `sentences`."""
        units = self._dead_units(model)
        layers = {"gradient_to_weight": self._monitor.median_ratios(), "flat": {layer: asdict(shares) for layer, shares in units.items()}}
        sentences = [*self._monitor.warnings(), *dead_unit_warnings(units, self._initial_dead_units)]
        if explosion := describe_explosion(self._losses, self._setup.config):
            advice = f"Stop this run, and start a new one with --learning-rate {explosion['learning_rate']}."
            sentences.append(f"{explosion['reason']}. {advice}")
        return {"layers": layers, "sentences": sentences}

    def _dead_units(self, model: Model) -> dict[str, DeadUnits]:
        return self._probe.dead_units(model, self._setup.val_batches.batch(0)[0])

    @cached_property
    def _initial_dead_units(self) -> dict[str, DeadUnits]:
        return self._dead_units(self._setup.start.model)

    @cached_property
    def _probe(self) -> ActivationProbe:
        return ActivationProbe.of(self._setup.start.model.spec)


def default_callbacks(run: "Run") -> list[Callback]:
    """Return the callbacks of a run. Only the chief has callbacks, because only the chief validates and writes.

    MetricsWriter precedes CheckpointWriter, so that the metrics of a step are on disk before its checkpoint.
    """
    if not run.setup.group.is_chief:
        return []
    tensorboard = [TensorBoardWriter()] if run.setup.config.tensorboard else []
    return [LayerDiagnostics(run), ModelWriter(), MetricsWriter(), *tensorboard, CheckpointWriter()]
