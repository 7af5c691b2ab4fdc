"""A training run: data and a model in, best.safetensors out."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tensorflow as tf

from detector.messages import count_of
from detector.network.spec import Model
from training.config.options import Config
from training.config.task import Task
from training.data.tf_dataset import stream_batches
from training.distributed.process_group import SINGLE_PROCESS, ProcessGroup
from training.distributed.synchronise import broadcast_arrays
from training.errors import TrainingError
from training.events import SILENT, Events
from training.features.memory import Memory
from training.optimization.early_stopping import TrainingState, watched_value
from training.optimization.schedules import make_schedule
from training.run.callbacks import Callback, default_callbacks
from training.run.checkpoints import newest_checkpoint
from training.run.conclusion import conclude
from training.run.divergence import lower_learning_rate
from training.run.folder import RunFolder, WorkerFolder
from training.run.metrics_log import StepMetrics
from training.run.setup import RunSetup
from training.run.signals import InterruptHandler
from training.run.trainer import StepResult, Trainer
from training.run.validation import Validator


@dataclass(frozen=True)
class RunOutcome:
    """How a run ended."""

    folder: Path
    reason: str  # a sentence
    best: float | None  # see `watched_value`
    best_step: int
    interrupted: bool = False  # can be resumed


@dataclass
class Run:
    """A run that can be started or resumed with `train`."""

    setup: RunSetup
    folder: RunFolder
    state: TrainingState = field(default_factory=TrainingState)

    def __post_init__(self) -> None:
        setup = self.setup
        self.folder.record_environment(
            **setup.annotated,
            initial_arrays=setup.start.model.arrays,
            memory=setup.memory_checksum,
            labelled=setup.labelled,
            task=setup.task,
        )
        self.trainer = Trainer(setup.start, setup.config, setup.frozen, setup.group, kept_classes=setup.distilled_classes)
        self.validator = Validator(setup, self.trainer)
        self.callbacks: list[Callback] = default_callbacks(self)
        self._schedule = make_schedule(setup.config, setup.batches.steps)

    @classmethod
    def new(
        cls, task: Task, config: Config, model: Model, out: Path, group: ProcessGroup = SINGLE_PROCESS, memory: Memory | None = None
    ) -> "Run":
        """Prepare a run in a new folder.

        Args:
            task: Data set and image sets.
            config: Options.
            model: Model to start from.
            out: Folder in which the run's folder is created.
            group: This process, or all workers. The chief decides whether the run is new or resumed; the others use `new` in both cases.
            memory: The model's memory.

        Raises:
            DatasetError: The data set cannot be used.
            ConfigError: The options do not fit the data or the model.
            NetworkError: The network cannot be trained at these options.
            TrainingError: The workers' data differ.
            OSError: The folder cannot be written.
        """
        setup = RunSetup.prepare(task, config, model, group, memory)
        return cls(setup, RunFolder.create(out, task, setup.config) if group.is_chief else WorkerFolder())

    @classmethod
    def resume(
        cls, folder: RunFolder, task: Task, config: Config, model: Model, group: ProcessGroup = SINGLE_PROCESS, memory: Memory | None = None
    ) -> "Run":
        """Prepare a run, on the chief, to continue from its newest checkpoint.

        Raises CheckpointError if no checkpoint can be read, and TrainingError if another process is training the run, or if the data or
        the initial model have changed.
        """
        folder.check_unlocked()
        run = cls(RunSetup.prepare(task, config, model, group, memory), folder)
        if folder.has_checkpoint:  # otherwise the run ended before its first step
            checkpoint = newest_checkpoint(folder.checkpoints)
            run.trainer.restore(checkpoint.arrays)
            run.state = TrainingState(**checkpoint.state)
        folder.metrics.truncate(run.state.step)
        return run

    def train(self, events: Events = SILENT) -> RunOutcome:
        """Train until the last epoch, until early stopping, or until Ctrl-C.

        Args:
            events: Receives progress: every step, and the features that are computed beforehand.

        Raises:
            TrainingError: The loss is NaN or infinite, or memory is exhausted. The last checkpoint remains. Or another process is
                training this run.
            WorkerLost: Another worker has ended.
        """
        with self.folder.locked():
            return self._train_and_conclude(events)

    def _train_and_conclude(self, events: Events) -> RunOutcome:
        started = time.monotonic()
        self.folder.clear_outcome()
        group = self.setup.group
        try:
            with group.fail_together(self.folder.resume_hint), self._memory_errors_explained():
                broadcast_arrays(group, self.trainer)
                self.state = TrainingState(**group.broadcast(self.state.to_json))
                outcome = self._train(events)
                if group.is_chief and not outcome.interrupted:
                    conclude(self)
        except TrainingError as error:
            self.folder.write_outcome(str(error), step=self.state.step, seconds=time.monotonic() - started)
            raise
        finally:
            for callback in self.callbacks:
                callback.close()
        self.folder.write_outcome(outcome.reason, step=self.state.step, seconds=time.monotonic() - started)
        return outcome

    def _train(self, events: Events) -> RunOutcome:
        config, state = self.setup.config, self.state
        end = state.step if state.should_stop(config) else self.setup.batches.steps
        with InterruptHandler(self.setup.group) as interrupt:
            for callback in self.callbacks:
                callback.on_start(self)
            for inputs, targets in self._inputs(end, events, interrupt):
                metrics = self._step(inputs, targets)
                if self._is_validation_due():
                    metrics |= self._validate()
                for callback in self.callbacks:
                    callback.on_metrics(self, metrics)
                events.step_finished(metrics)
                if interrupt.agree() or state.should_stop(config):
                    break
                for callback in self.callbacks:
                    callback.on_step_end(self)
            for callback in self.callbacks:
                callback.on_end(self)
        interrupted = interrupt.requested and end > state.step and not state.should_stop(config)
        return RunOutcome(self.folder.path, self._reason(interrupted=interrupted), state.best, state.best_step, interrupted)

    def _reason(self, *, interrupted: bool) -> str:
        if interrupted:
            return f"interrupted. Resume with --resume {self.folder.path}."
        if self.state.should_stop(self.setup.config):
            return f"stopped early: no improvement in the last {count_of(self.setup.config.patience, 'validation')}."
        return "all epochs are done."

    def _inputs(self, end: int, events: Events, interrupt: InterruptHandler) -> Iterator[tuple[Any, Any]]:
        """Yield the batches from the current step on: cached features while layers are frozen, if they are cached, then images."""
        batches, features, first = self.setup.batches, self.setup.features, self.state.step
        if features:
            yield from features.stream(first, min(end, batches.view_steps), events, lambda: interrupt.requested)
            first = max(first, batches.view_steps)
        if not interrupt.requested:
            yield from stream_batches(batches, first, end)

    def _step(self, inputs: Any, targets: Any) -> StepMetrics:
        """Update the weights once and return the metrics of the step."""
        step, batches = self.state.step, self.setup.batches
        if self.trainer.frozen and step >= batches.unfreezing_step:
            self.trainer.freeze(frozenset())
        learning_rate = self._schedule(step) * self.state.rate_factor
        remembered = self.setup.remembered.batch(step) if self.setup.remembered else None
        result = self.trainer.step(inputs, targets, number=step, learning_rate=learning_rate, remembered=remembered)
        if not math.isfinite(result.loss + sum(result.gradients.values())):
            raise TrainingError(f"{_describe_divergence(step, result)} {self.divergence_advice}")
        self.state.step = step + 1
        for callback in self.callbacks:
            callback.on_step(self, result)
        return {
            "step": step + 1,
            "epoch": step // batches.steps_per_epoch,
            "size": batches.input_size_of(step),
            "learning_rate": learning_rate,
            "loss": result.loss,
            **result.terms,
            "gradient": math.sqrt(sum(gradient**2 for gradient in result.gradients.values())),
        }

    def _is_validation_due(self) -> bool:
        batches = self.setup.batches
        return self.state.step % (self.setup.config.check_every * batches.steps_per_epoch) == 0 or self.state.step == batches.steps

    def _validate(self) -> StepMetrics:
        """Measure the averaged weights on the chief, and record the result on all workers."""
        config = self.setup.config
        metrics: StepMetrics = self.setup.group.broadcast(self._measure)
        if not math.isfinite(metrics["val_loss"]):
            raise TrainingError(f"step {self.state.step}: the validation loss is NaN or infinite. {self.divergence_advice}")
        if self.state.observe(watched_value(metrics, config.watch), config):
            for callback in self.callbacks:
                callback.on_new_best(self, metrics)
        return metrics

    def _measure(self) -> StepMetrics:
        with self.trainer.averaged_weights():
            model = self.trainer.model(self.folder.path.name, {})
        metrics = self.validator.measure(model)
        for callback in self.callbacks:
            metrics |= callback.measure(self, model)
        return metrics

    @property
    def divergence_advice(self) -> str:
        """Advice after NaN. Resuming would repeat the same steps and reach the same NaN."""
        config, best = self.setup.config, self.folder.path / "best.safetensors"
        model = str(best) if best.is_file() else self.setup.task.model
        clip = " --clip global-norm" if config.clip == "none" else ""
        options = f"--learning-rate {lower_learning_rate(config)}{clip}{f' --model {model}' if model else ''}"
        return f"Start a new run with {options}; --resume would repeat the same steps and fail again."

    @contextmanager
    def _memory_errors_explained(self) -> Iterator[None]:
        """Turn an out-of-memory error in batches, training steps or validations into a TrainingError with advice."""
        try:
            yield
        except (MemoryError, tf.errors.ResourceExhaustedError) as error:
            advice = f"Start a new run with a smaller --batch-size or smaller --sizes, or free some memory. {self.folder.resume_hint}"
            raise TrainingError(f"out of memory after step {self.state.step}. {advice}") from error


def _describe_divergence(step: int, result: StepResult) -> str:
    layers = [layer for layer, gradient in result.gradients.items() if not math.isfinite(gradient)]
    terms = [name for name, term in result.terms.items() if not math.isfinite(term)]
    return (
        f"step {step}: the loss is NaN or infinite (loss terms: {', '.join(terms) or 'none'}; "
        f"first layers with such gradients: {', '.join(layers[:3]) or 'none'})."
    )
