"""Runs that start from a model with a memory: what they keep, what they store, and how they resume."""

import json
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from training.config.options import Config
from training.config.task import Task
from training.data.voc_reader import data_fingerprint, label_partially, read_set
from training.errors import TrainingError
from training.events import Events
from training.features.memory_format import memory_from_entries, memory_to_entries
from training.features.remember import make_memory
from training.optimization.distillation import distillation_loss, outside_of_objects
from training.report.write import write_report
from training.run.folder import RunFolder
from training.run.record import RunRecord
from training.run.run import Run
from weights.formats.provenance import recorded_confidence
from weights.formats.safetensors import load_memory, load_model, save_model

ROOT = Path(__file__).resolve().parents[3]
SHORT = {
    "epochs": 3,
    "batch_size": 3,
    "sizes": "32:0.4,64",
    "checkpoint_steps": 2,
    "check_every": 1,
    "warmup_steps": 2,
    "tensorboard": False,
}


@pytest.fixture(autouse=True, scope="module")
def home(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BOXWRIGHT_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="module")
def start(small_model, rectangles, tmp_path_factory):
    """A model file with a memory of images that are labelled for red and green."""
    memory = make_memory(small_model, read_set(rectangles, "train"), 9, labels=("red", "green"), size=64)
    images = [replace(image, labels=tuple("green" if label == "blue" else label for label in image.labels)) for image in memory.images]
    path = tmp_path_factory.mktemp("start") / "start.safetensors"
    save_model(small_model, path, memory=memory_to_entries(memory.with_images(images)))
    return path


def memory_of(path):
    entries = load_memory(path)
    return memory_from_entries(entries, load_model(path)) if entries else None


@pytest.fixture(scope="module")
def new_run(start, rectangles, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")

    def make(model=start, task=None, **settings):
        task = task or Task(str(rectangles), "train", "val", str(model))
        return Run.new(task, Config(**(SHORT | settings)), load_model(model), folder, memory=memory_of(model))

    return make


def resume(path):
    folder, task, config = RunFolder.open(path)
    return Run.resume(folder, task, config, load_model(Path(task.model)), memory=memory_of(Path(task.model)))


@pytest.fixture(scope="module")
def finished(new_run):
    run = new_run()
    return run, run.train()


def test_classes_are_kept_by_default_and_new_ones_are_appended(finished):
    run, outcome = finished
    best = load_model(outcome.folder / "best.safetensors")
    assert best.spec.labels == ("red", "green", "blue")
    config = Config.read(outcome.folder / "config.toml")
    assert (config.classes, config.unfreeze_at, config.cache_features) == ("keep", 3.0, 4)
    start = run.setup.start.model
    frozen = [name for name in best.arrays if name.partition("/")[0] in run.setup.frozen]
    assert frozen
    assert all(np.array_equal(best.arrays[name], start.arrays[name]) for name in frozen)


def test_old_classes_are_unknown_in_the_training_images(finished):
    run, _ = finished
    assert all(sample.labelled == {"red", "blue"} for sample in [*run.setup.batches.samples, *run.setup.val])


def distillation_by_step(outcome):
    lines = (outcome.folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line).get("distillation") for line in lines]


def test_differences_from_the_initial_model_are_part_of_the_loss(finished):
    assert all(value > 0 for value in distillation_by_step(finished[1]))


def test_distillation_is_divided_by_the_objects_of_the_remembered_images(new_run):
    """Many objects in the new images do not weaken it. Before the first step, the outputs differ only by the new class."""
    run = new_run(cache_features=0)
    trainer, kept = run.trainer, run.setup.distilled_classes
    images, targets = run.setup.batches.batch(0)
    remembered = run.setup.remembered.batch(0)
    size = remembered[1]["labelled"].shape[1] * trainer.spec.stride
    logits = trainer.networks.logits(trainer.networks.of(images.shape[1]), images, training=False)
    of_memory = trainer.logits_of_features(remembered[0], size)
    outside = outside_of_objects(logits, targets["truth"], trainer.spec)
    total = distillation_loss(logits, logits[..., : 5 + kept], outside) + distillation_loss(of_memory, of_memory[..., : 5 + kept])
    terms = trainer.step(images, targets, number=0, learning_rate=0.0, remembered=remembered).terms
    assert terms["distillation"] == pytest.approx(float(total) / remembered[1]["responsible"].sum(), rel=1e-3)


def test_distillation_0_does_not_compare_with_the_initial_model(new_run):
    assert set(distillation_by_step(new_run(distillation=0.0, epochs=1).train())) == {None}


def test_replaced_classes_are_not_compared_with_the_initial_model(new_run):
    run = new_run(classes="replace", unfreeze_at=1.0, cache_features=2, epochs=1)
    assert run.setup.remembered is not None
    assert set(distillation_by_step(run.train())) == {None}


def test_the_result_carries_a_memory_of_old_and_new_images(finished):
    _, outcome = finished
    memory = memory_of(outcome.folder / "best.safetensors")
    assert len(memory.images) == 18
    assert [image.labelled for image in memory.images] == [{"red", "green", "blue"}] * 9 + [{"red", "blue"}] * 9
    assert {image.size for image in memory.images} == {32, 64}


def test_the_memory_of_the_result_is_bounded(new_run):
    run = new_run(memory=5, epochs=1)
    run.train()
    memory = memory_of(run.folder.path / "best.safetensors")
    assert len(memory.images) == 5
    assert len([image for image in memory.images if image.size == 32]) == 1  # a fifth is for the new images


def test_memory_0_stores_no_memory(new_run):
    run = new_run(memory=0, epochs=1)
    run.train()
    assert load_memory(run.folder.path / "best.safetensors") is None


def test_a_run_without_a_memory_replaces_the_classes_and_stores_its_images(new_run, small_model, tmp_path):
    save_model(small_model, tmp_path / "without-memory.safetensors")
    run = new_run(tmp_path / "without-memory.safetensors", epochs=1)
    run.train()
    best = run.folder.path / "best.safetensors"
    assert load_model(best).spec.labels == ("blue", "red")
    assert [image.labelled for image in memory_of(best).images] == [{"red", "blue"}] * 9


def test_training_the_backbone_replaces_the_classes_unless_they_are_kept_explicitly(new_run, caplog):
    run = new_run(unfreeze_at=1.0)
    assert run.setup.start.model.spec.labels == ("blue", "red")
    assert run.setup.remembered is None
    kept = new_run(unfreeze_at=1.0, classes="keep", epochs=2)
    assert kept.setup.start.model.spec.labels == ("red", "green", "blue")
    assert kept.setup.remembered is not None
    assert "the new model does not keep them" in caplog.text
    kept.train()
    assert all(image.labelled == {"red", "blue"} for image in memory_of(kept.folder.path / "best.safetensors").images)


def test_replaced_classes_still_use_the_memory_as_background(new_run):
    run = new_run(classes="replace", unfreeze_at=3.0, cache_features=2)
    assert run.setup.start.model.spec.labels == ("blue", "red")
    truths = run.setup.remembered.targets(run.setup.remembered.memory.images, 64)
    assert truths["labelled"].all()


def test_false_alarms_thresholds_and_a_warning_are_recorded(finished):
    run, outcome = finished
    conclusion = run.folder.conclusion()
    shares = conclusion["false_alarms"]["memory"]
    assert shares["images"] == 1
    assert 0 <= shares["0.5"] <= shares["0.25"] <= 1
    assert "box" in conclusion["warning"]
    assert "one box changes its AP50" in conclusion["warning"]
    assert list(conclusion["found"]) == list(conclusion["new_ap50"]) != []
    for found in conclusion["found"].values():
        assert 0 <= min(found.values()) <= max(found.values()) == found["boxes"]
    best = load_model(outcome.folder / "best.safetensors")
    assert recorded_confidence(best.provenance, best.spec.labels) == conclusion["confidence"]
    validations = [row for row in run.folder.metrics.read() if "ap50" in row]
    assert all(0 <= row["false_alarms_50"] <= row["false_alarms"] <= 1 for row in validations)


def test_the_fingerprint_of_the_data_does_not_depend_on_the_kept_classes(new_run, rectangles):
    run = new_run(epochs=1)
    assert run.setup.labelled == ["blue", "red"]
    read = {name: data_fingerprint(read_set(rectangles, name)) for name in ("train", "val")}
    assert run.folder.environment()["data"] == read


def test_a_run_of_an_earlier_version_with_another_fingerprint_can_be_resumed(new_run, rectangles):
    run = new_run(epochs=1)
    earlier = {name: data_fingerprint(label_partially(read_set(rectangles, name), ("blue", "red"))) for name in ("train", "val")}
    environment = run.folder.environment()
    assert environment["data"] != earlier
    (run.folder.path / "environment.json").write_text(json.dumps(environment | {"data": earlier}), encoding="utf-8")
    resume(run.folder.path)
    assert RunRecord.read(run.folder.path).is_validation_set_unchanged()


def test_background_images_and_replayed_images_are_used(new_run, rectangles, start, tmp_path):
    shutil.copytree(rectangles / "JPEGImages", tmp_path / "images")
    task = Task(str(rectangles), "train", "val", str(start), background=str(tmp_path / "images"), replay=str(tmp_path / "images"))
    run = new_run(task=task, epochs=1)
    assert len(run.setup.kept.memory.images) == 9 + 12
    run.train()
    assert run.folder.conclusion()["false_alarms"]["background"]["images"] == 12
    assert memory_of(run.folder.path / "best.safetensors").images[9].labelled == {"blue"}


def test_a_model_without_a_memory_can_replay_a_data_set(new_run, small_model, rectangles, tmp_path):
    save_model(small_model, tmp_path / "without-memory.safetensors")
    task = Task(str(rectangles), "train", "val", str(tmp_path / "without-memory.safetensors"), replay=str(rectangles))
    run = new_run(tmp_path / "without-memory.safetensors", task=task)
    assert run.setup.start.model.spec.labels == ("red", "green", "blue")
    assert len(run.setup.remembered.memory.images) == 9


class InterruptAtStep4(Events):
    def step_finished(self, metrics):
        if metrics["step"] == 4:
            signal.raise_signal(signal.SIGINT)


def test_an_interrupted_run_resumes_to_the_same_bytes(new_run, finished):
    run = new_run()
    assert run.train(InterruptAtStep4()).interrupted
    resume(run.folder.path).train()
    assert_equal_results(finished[1].folder, run.folder.path)
    assert finished[0].folder.conclusion() == run.folder.conclusion()


def assert_equal_results(first_folder, second_folder):
    """Compare the arrays and the memories, bit for bit. The headers of the files contain the names of the runs."""
    for name in ("best.safetensors", "last.safetensors"):
        contents = [(folder / name).read_bytes() for folder in (first_folder, second_folder)]
        first, second = (data[8 + int.from_bytes(data[:8], "little") :] for data in contents)
        assert first == second


RESUME_SCRIPT = """
import sys
from pathlib import Path
from training.events import Events
from training.features.memory_format import memory_from_entries
from training.run.folder import RunFolder
from training.run.run import Run
from weights.formats.safetensors import load_memory, load_model
folder, task, config = RunFolder.open(Path(sys.argv[1]))
model = load_model(Path(task.model))
memory = memory_from_entries(load_memory(Path(task.model)), model)


class PrintSteps(Events):
    def step_finished(self, metrics):
        print(metrics["step"], flush=True)


Run.resume(folder, task, config, model, memory=memory).train(PrintSteps())
"""


def test_a_killed_run_resumes_to_the_same_weights(new_run, finished):
    run = new_run()
    with subprocess.Popen(
        [sys.executable, "-c", RESUME_SCRIPT, str(run.folder.path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert [process.stdout.readline() for _ in range(5)][-1] == "5\n"
        process.kill()
    assert process.returncode == -signal.SIGKILL
    resume(run.folder.path).train()
    assert_equal_results(finished[1].folder, run.folder.path)


def test_resuming_with_another_memory_is_refused(new_run):
    run = new_run()
    task, memory = run.setup.task, run.setup.kept.memory
    with pytest.raises(TrainingError, match="the memory of the initial model has changed"):
        Run.resume(run.folder, task, run.setup.config, load_model(Path(task.model)), memory=memory.with_images(memory.images[:-1]))


def test_a_report_shows_false_alarms_at_the_top(finished):
    run, _ = finished
    page = write_report(run.folder.path).read_text(encoding="utf-8")
    assert "remembered images that were not trained on" in page.partition("<h2>")[0]
    assert json.loads((run.folder.path / "environment.json").read_text(encoding="utf-8"))["labelled"] == ["blue", "red"]
    assert "have changed since the run began" not in page
