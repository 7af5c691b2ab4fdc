"""A run from beginning to end: data and a model in, best.safetensors out."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from detector.detector import Detector
from detector.engines import Engine, load_engine
from detector.spec import Model
from training.checkpoints import Checkpoint, newest_checkpoint, save_checkpoint
from training.config import Config
from training.errors import TrainingError
from training.evaluate import evaluate
from training.event_files import event_files
from training.feature_cache import FeatureCache, Filling
from training.interrupt import Interrupt
from training.joining import same_moment
from training.pipeline import Batches, stream
from training.prepared import Prepared, prepare
from training.progress import Progress, measured
from training.run_folder import NoFolder, Row, RunFolder, Task
from training.schedules import Schedule, make_schedule
from training.step import StepReport, Trainer
from training.team import ALONE, WHOLE, Team
from training.threads import arithmetic_threads
from training.voc import Sample
from training.watch import Flat, Probe, Watcher, flat_sentences
from weights.model_file import save_model


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    folder: Path
    why: str  # a sentence
    best: float | None  # AP50, or minus the loss
    best_step: int
    interrupted: bool = False  # it can go on


@dataclass
class Run:
    """A run that is ready to go, or to go on."""

    folder: RunFolder
    task: Task
    config: Config
    trainer: Trainer
    batches: Batches
    val: Sequence[Sample]
    schedule: Schedule
    features: FeatureCache | None = None
    team: Team = ALONE
    progress: Progress = field(default_factory=Progress)
    watcher: Watcher = field(default_factory=Watcher)

    @classmethod
    def new(cls, task: Task, config: Config, model: Model, out: Path, team: Team = ALONE) -> "Run":
        """A new run in a folder of its own under `out`; of several workers the chief's, which others join, whatever it is.

        Raises DatasetError, ConfigError, NetworkError, OSError; TrainingError where workers' data differ.
        """
        prepared = prepare(task, config, model, team)
        folder = RunFolder.create(out, task, config) if team.is_chief else NoFolder()
        return cls._of(folder, task, config, prepared)

    @classmethod
    def resumed(cls, folder: RunFolder, task: Task, config: Config, model: Model, team: Team = ALONE) -> "Run":
        """The run as its newest checkpoint left it, on the chief. Raises CheckpointError; TrainingError where its data or its first model
        have changed."""
        run = cls._of(folder, task, config, prepare(task, config, model, team))
        if folder.was_saved:  # else it ended before its first step
            checkpoint = newest_checkpoint(folder.checkpoints)
            run.trainer.restore(checkpoint.arrays)
            run.progress = Progress(**checkpoint.state)
        folder.forget_after(run.progress.step)
        return run

    @classmethod
    def _of(cls, folder: RunFolder, task: Task, config: Config, prepared: "Prepared") -> "Run":
        folder.describe(prepared.batches.samples, prepared.val, prepared.start.model.arrays, arithmetic_threads())
        trainer = Trainer(prepared.start, config, prepared.frozen, prepared.team)
        schedule = make_schedule(config, prepared.batches.steps)
        return cls(folder, task, config, trainer, prepared.batches, prepared.val, schedule, prepared.features, prepared.team)

    def go(self, report: Callable[[Row], object] = lambda _: None, filling: Callable[[Filling], object] = lambda _: None) -> Outcome:
        """Train to the end, until patience is over, or until Ctrl-C, which saves first. `report` is told of every step, `filling` of
        the features that are computed beforehand.

        Raises TrainingError where the loss is NaN or infinite or memory is out, WorkerLost where another worker is gone; the last
        checkpoint stays.
        """
        started = time.monotonic()
        self.folder.begin()
        try:
            with self.team.together(self._last()), self._out_of_memory_told():
                self.progress = same_moment(self.team, self.trainer, self.progress)
                outcome = self._train(report, filling)
        except TrainingError as error:
            self.folder.end(str(error), step=self.progress.step, seconds=time.monotonic() - started)
            raise
        self.folder.end(outcome.why, step=self.progress.step, seconds=time.monotonic() - started)
        return outcome

    def _train(self, report: Callable[[Row], object], filling: Callable[[Filling], object]) -> Outcome:
        with Interrupt(self.team) as interrupt, self._event_files() as tell_events:
            if self.progress.step == 0:
                self._save_checkpoint()
            end = self.progress.step if self.progress.out_of_patience(self.config) else self.batches.steps
            for seen, targets in self._inputs(end, filling, interrupt):
                row = self._advance(seen, targets)
                due = self.progress.step % self._steps_per_check == 0 or self.progress.step == self.batches.steps
                if due:
                    row |= self._check()
                self.folder.add(row)
                tell_events(row)
                report(row)
                if interrupt.agreed() or self.progress.out_of_patience(self.config):
                    break
                if self.progress.step % self.config.checkpoint_steps == 0:
                    self._save_checkpoint()
            self._save_checkpoint()
            self._save_model("last")
        cut = interrupt.asked and end > self.progress.step and not self.progress.out_of_patience(self.config)
        return Outcome(self.folder.path, self._why(interrupted=cut), self.progress.best, self.progress.best_step, cut)

    @contextmanager
    def _out_of_memory_told(self) -> Iterator[None]:
        """Inside, the threads that make batches, the step and the check may find no memory left."""
        try:
            yield
        except (MemoryError, tf.errors.ResourceExhaustedError) as error:
            cure = "Take a smaller --batch-size or smaller --sizes."
            raise TrainingError(f"out of memory after step {self.progress.step}. {cure} {self._last()}") from error

    def _event_files(self) -> AbstractContextManager[Callable[[Row], None]]:
        if not (self.config.tensorboard and self.team.is_chief):
            return nullcontext(lambda _: None)
        return event_files(self.folder.path / "tensorboard", self.folder.rows())

    def _why(self, *, interrupted: bool) -> str:
        if interrupted:
            return f"interrupted; --resume {self.folder.path} goes on."
        return "no progress for as long as patience lasts." if self.progress.out_of_patience(self.config) else "all epochs are done."

    @property
    def _steps_per_check(self) -> int:
        return self.config.check_every * self.batches.steps_per_epoch

    def _inputs(self, end: int, filling: Callable[[Filling], object], interrupt: Interrupt) -> Iterator[tuple[Any, Any]]:
        """The batches from where the run stands: first, where they are kept, of features, then of images."""
        begin = self.progress.step
        if self.features:
            yield from self.features.stream(begin, min(end, self.batches.viewed_steps), filling, lambda: interrupt.asked)
            begin = max(begin, self.batches.viewed_steps)
        if not interrupt.asked:
            yield from stream(self.batches, begin, end)

    def _advance(self, seen: Any, targets: Any) -> Row:
        """One step, and what there is to tell of it."""
        step = self.progress.step
        if self.trainer.frozen and step >= self.batches.unfreezing_step:
            self.trainer.freeze(frozenset())
        rate = self.schedule(step) * self.progress.rate_factor
        report = self.trainer.step(seen, targets, number=step, rate=rate)
        if not math.isfinite(report.loss + sum(report.gradients.values())):
            raise TrainingError(f"{_not_a_number(step, report)} {self._restart_advice()}")
        self.progress.step = step + 1
        self.watcher.observe(report)
        norm = math.sqrt(sum(gradient**2 for gradient in report.gradients.values()))
        epoch, size = step // self.batches.steps_per_epoch, self.batches.size_of(step)
        return {
            "step": step + 1,
            "epoch": epoch,
            "size": size,
            "learning_rate": rate,
            "loss": report.loss,
            **report.terms,
            "gradient": norm,
        }

    def _check(self) -> Row:
        """Measure the averaged weights on the validation set; keep them if they are the best so far. Look at each layer."""
        row: Row = self.team.told(self._measured)
        if not math.isfinite(row["val_loss"]):
            raise TrainingError(f"step {self.progress.step}: the loss on val is NaN or infinite. {self._restart_advice()}")
        if self.progress.observe(measured(row, self.config.watch), self.config):
            self._save_model("best", row["ap50"])
        return row

    def _measured(self) -> Row:
        with self.trainer.averaged():
            model = self.trainer.model(self.folder.path.name, {})
        engine = load_engine(model)
        evaluation, loss = evaluate(Detector(model.spec, engine), self.val), self._val_loss(engine)
        flat = self._flat(model)
        sentences = [*self.watcher.sentences(), *flat_sentences(flat, self._flat_before)]
        layers = {"gradient_to_weight": self.watcher.medians(), "flat": {layer: asdict(share) for layer, share in flat.items()}}
        aps = {"ap50": evaluation.ap50, "ap50_frequent": evaluation.ap50_frequent, "ap50_weighted": evaluation.ap50_weighted}
        by_class = {label: result.ap for label, result in evaluation.classes.items()}
        return {"val_loss": loss, **aps, "ap50_by_class": by_class, "layers": layers, "sentences": sentences}

    def _flat(self, model: Model) -> dict[str, Flat]:
        return self._probe.flat(model, self._val_batches.batch(0)[0])

    @cached_property
    def _flat_before(self) -> dict[str, Flat]:
        return self._flat(self.trainer.start.model)

    @cached_property
    def _probe(self) -> Probe:
        return Probe.of(self.trainer.spec)

    @cached_property
    def _val_batches(self) -> Batches:
        return replace(self.batches, samples=self.val, augmented=False, share=WHOLE)

    def _val_loss(self, engine: Engine) -> float:
        """The loss of the whole validation set, normalised as in training."""
        total, divisor, batch = 0.0, 0.0, self.config.batch_size
        for first in range(0, len(self.val), batch):
            images, targets = self._val_batches.batch(first // batch)
            count = min(batch, len(self.val) - first)  # the last batch goes on with photos that were counted already
            loss, share = self.trainer.loss_of_raw(engine(images[:count]), _first(count, targets))
            total, divisor = total + loss, divisor + share
        return total / divisor

    def _save_model(self, name: str, ap50: float | None = None) -> None:
        """best.safetensors or last.safetensors: the averaged weights as a model that `boxwright serve` takes."""
        if not self.team.is_chief:
            return
        provenance = {
            "fine-tuned from": self.trainer.start.model.name,
            "data": f"{Path(self.task.dataset).name}, set {self.task.train_set}, {len(self.batches.samples)} photos",
            "step": f"{self.progress.step} of {self.batches.steps}",
            "config": self.config.model_dump_json(exclude_defaults=True),
        }
        if ap50 is not None:
            provenance["ap50"] = f"{ap50:.4f} on set {self.task.val_set}, {len(self.val)} photos"
        with self.trainer.averaged():
            save_model(self.trainer.model(self.folder.path.name, provenance), self.folder.path / f"{name}.safetensors")

    def _save_checkpoint(self) -> None:
        if not self.team.is_chief:
            return
        state = self.trainer.state()
        for name, array in state.items():
            if not np.isfinite(array).all():
                raise TrainingError(f"step {self.progress.step}: {name} is NaN or infinite. {self._restart_advice()}")
        save_checkpoint(Checkpoint(self.progress.to_json(), state), self.folder.checkpoints)

    def _last(self) -> str:
        return self.folder.how_to_go_on

    def _restart_advice(self) -> str:
        """What to do after a NaN. A resumed run would repeat its steps bit by bit, up to the same NaN."""
        best = self.folder.path / "best.safetensors"
        model = str(best) if best.is_file() else self.task.model
        clip = " --clip global-norm" if self.config.clip == "none" else ""
        options = f"--learning-rate {self.config.learning_rate / 10:.1g}{clip}{f' --model {model}' if model else ''}"
        return f"Start a new run with {options}; --resume would come to the same error."


def _first(count: int, targets: Mapping[str, Any]) -> dict[str, Any]:
    return {name: part[:count] for name, part in targets.items()}


def _not_a_number(step: int, report: StepReport) -> str:
    layers = [layer for layer, gradient in report.gradients.items() if not math.isfinite(gradient)]
    terms = [name for name, term in report.terms.items() if not math.isfinite(term)]
    return f"step {step}: the loss is NaN or infinite (terms {', '.join(terms)}; gradients of {', '.join(layers[:3]) or 'no layer'} first)."
