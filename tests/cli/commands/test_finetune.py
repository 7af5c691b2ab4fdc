"""`boxwright finetune`: its options, its checks, and a complete run with detection by the trained model."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[3]
XML = """<annotation><filename>{0}.png</filename><object><name>thing</name><bndbox><xmin>11</xmin><ymin>6</ymin><xmax>40</xmax>
<ymax>30</ymax></bndbox></object></annotation>"""


@pytest.fixture
def dataset(tmp_path):
    folder = tmp_path / "things"
    for part in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (folder / part).mkdir(parents=True)
    for number in range(4):
        pixels = np.random.default_rng(number).integers(0, 120, (50, 80, 3), np.uint8)
        pixels[5:30, 10:40] = 250
        Image.fromarray(pixels).save(folder / f"JPEGImages/{number}.png")
        (folder / f"Annotations/{number}.xml").write_text(XML.format(number), encoding="utf-8")
    for name in ("train", "val"):
        (folder / f"ImageSets/Main/{name}.txt").write_text("0\n1\n2\n3\n", encoding="utf-8")
    return folder


def test_help_has_every_training_option_with_its_default(boxwright):
    from training.config.options import Config

    page = boxwright("finetune", "-h").out
    missing = [name for name in Config.model_fields if f"--{name.replace('_', '-')}" not in page]
    assert missing == []
    help_text = " ".join(page.replace("│", " ").split())
    for option, default in (("--epochs", 20), ("--learning-rate", 0.0003), ("--set", "train"), ("--tensorboard", "yes")):
        description = help_text.partition(f"{option} ")[2] or help_text.partition(f"{option},")[2]
        assert f"[default: {default}]" in description.partition("--out" if option == "--set" else " --batch-size")[0][:400], option


def test_a_run_writes_a_model_that_detects_and_a_report(boxwright, dataset, model_file, tmp_path):
    quick = ("--epochs", 2, "--sizes", "64", "--batch-size", 4, "--check-every", 1)
    result = boxwright("finetune", dataset, "--model", model_file, "--out", tmp_path / "runs", *quick)
    assert result.code == 0
    assert "All epochs are done. Best AP50 0." in result.out
    assert "Starting TensorFlow" not in result.out
    assert re.search(r"epoch 2/2, step 2 · AP50 \d\.\d+ · loss \S+ · validation loss \S+ · 0:00 left\n", result.err)
    assert "the validation set 'val' has only 4 images" in result.err
    folder = tmp_path / "runs" / "things-001"
    assert f"Next: boxwright detect IMAGE --model {folder / 'best.safetensors'} --confidence auto\n" in result.err
    assert boxwright("detect", dataset / "JPEGImages" / "0.png", "--model", folder / "best.safetensors").code == 0
    page = folder / "report.html"
    assert "All epochs are done." in page.read_text(encoding="utf-8")
    page.unlink()
    assert boxwright("report", folder).out == f"{page}\n"
    assert page.is_file()
    again = boxwright("finetune", "--resume", folder)
    assert again.code == 0
    config = folder / "config.toml"
    other = boxwright("finetune", dataset, "--model", model_file, "--out", tmp_path / "runs", "--config", config, "--seed", 5)
    assert other.code == 0
    config_text = (tmp_path / "runs" / "things-002" / "config.toml").read_text(encoding="utf-8")
    assert "seed = 5" in config_text
    assert "epochs = 2" in config_text


def test_a_self_check_needs_no_validation_set_and_ends_with_its_result(boxwright, dataset, model_file, tmp_path):
    (dataset / "ImageSets/Main/val.txt").unlink()
    quick = ("--overfit", 2, "--epochs", 2, "--sizes", "64", "--check-every", 1)
    result = boxwright("finetune", dataset, "--model", model_file, "--out", tmp_path / "runs", *quick)
    assert result.code == 0, result.err
    assert "'val'" not in result.err
    assert "Self-check failed: AP50 is 0." in result.out
    assert "on the 2 images of training" in result.out
    assert "Add validation images" not in result.out
    assert f"Next: boxwright data preview {dataset} --set train\n" in result.err
    page = (tmp_path / "runs" / "things-001" / "report.html").read_text(encoding="utf-8")
    assert "Self-check failed" in page
    assert "of &#39;train&#39;, to train and to validate" in page
    assert "boxwright serve" not in page


def test_resuming_names_the_data_set_and_the_model_of_the_run(boxwright, dataset, model_file, tmp_path):
    quick = ("--epochs", 1, "--sizes", "64", "--batch-size", 4, "--out", tmp_path / "runs")
    assert boxwright("finetune", dataset, "--model", model_file, *quick).code == 0
    run, other = tmp_path / "runs" / "things-001", tmp_path / "other"
    shutil.copytree(dataset, other)
    assert boxwright("finetune", other, "--resume", run).code == 0
    (other / "ImageSets/Main/train.txt").write_text("0\n1\n", encoding="utf-8")
    assert boxwright("finetune", dataset, "--resume", run).code == 0
    result = boxwright("finetune", other, "--resume", run)
    assert result.code == 2
    assert f"{run}: this run used the data set {dataset}. {other} has other content. Resume with {dataset}, or start" in result.err
    result = boxwright("finetune", "--resume", run, "--model", run / "best.safetensors")
    assert result.code == 2
    assert f"this run used the initial model {model_file}. {run / 'best.safetensors'} has other content." in result.err
    assert json.loads((run / "run.json").read_text(encoding="utf-8"))["dataset"] == str(dataset)


def test_annotations_outside_of_the_annotation_folder_are_a_warning(boxwright, dataset):
    for path in ("JPEGImages/0.png", "Annotations/0.xml"):
        shutil.copy(dataset / path, dataset)
    result = boxwright("finetune", dataset, "--background", dataset / "ImageSets")  # it stops before the run
    assert result.code == 2
    assert "only annotations in Annotations are read. Ignored: 1 other, such as 0.xml." in result.err


def test_then_starts_a_second_run_from_the_best_weights_of_the_first(boxwright, dataset, model_file, tmp_path):
    first, second = tmp_path / "first.toml", tmp_path / "second.toml"
    first.write_text('epochs = 2\nsizes = "64"\nlearning_rate = 0.001\n', encoding="utf-8")
    second.write_text('epochs = 1\nsizes = "96"\nfreeze = "none"\n', encoding="utf-8")
    out, common = tmp_path / "runs", ("--batch-size", 4)
    result = boxwright("finetune", dataset, "--model", model_file, "--out", out, "--config", first, *common, "--then", second)
    assert result.code == 0, result.err
    assert result.out.count("All epochs are done.") == 2
    tasks = [json.loads((out / name / "run.json").read_text(encoding="utf-8")) for name in ("things-001", "things-002")]
    assert tasks[1] == tasks[0] | {"model": str(out / "things-001" / "best.safetensors")}
    configs = [tomllib.loads((out / name / "config.toml").read_text(encoding="utf-8")) for name in ("things-001", "things-002")]
    assert [(config["epochs"], config["sizes"], config["batch_size"]) for config in configs] == [(2, "64", 4), (1, "96", 4)]


def test_a_run_publishes_its_best_model(boxwright, dataset, model_file, tmp_path):
    models = tmp_path / "models"
    models.mkdir()
    quick = ("--epochs", 1, "--sizes", "64", "--batch-size", 4, "--check-every", 1, "--out", tmp_path / "runs")
    result = boxwright("finetune", dataset, "--model", model_file, *quick, "--publish", models)
    assert result.code == 0, result.err
    assert f"{models}: published things version 1." in result.out
    best = tmp_path / "runs" / "things-001" / "best.safetensors"
    assert (models / "things" / "1" / "model.safetensors").read_bytes() == best.read_bytes()
    assert boxwright("finetune", "--resume", tmp_path / "runs" / "things-001", "--publish", models, "--publish-as", "other").code == 0
    assert (models / "other" / "1" / "model.safetensors").is_file()


def test_an_invalid_publish_target_is_an_error_before_the_run_starts(boxwright, dataset, model_file, tmp_path):
    common = (dataset, "--model", model_file, "--out", tmp_path / "runs")
    for publish in (("--publish", tmp_path / "nowhere"), ("--publish", tmp_path, "--publish-as", "a b")):
        assert boxwright("finetune", *common, *publish).code == 2
    assert not (tmp_path / "runs").exists()


def test_a_failed_run_has_a_report_with_the_reason(boxwright, dataset, model_file, tmp_path):
    unstable = ("--optimizer", "sgd", "--learning-rate", 10, "--clip", "none", "--warmup-steps", 0, "--loss", "darknet", "--freeze", "none")
    quick = ("--epochs", 50, "--sizes", "64", "--batch-size", 4, "--check-every", 50)
    result = boxwright("finetune", dataset, "--model", model_file, "--out", tmp_path / "runs", *quick, *unstable)
    assert result.code == 2
    assert "the loss is NaN or infinite" in result.err
    assert "the loss is NaN or infinite" in (tmp_path / "runs" / "things-001" / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "give the folder of the data set"),
        (("--resume", "x", "--epochs", "3"), "--resume uses the options of the run"),
        (("{data}", "--learning-rate", "-1"), "learning_rate: Input should be greater than 0, got -1.0"),
        (("{data}", "--then", "bcd"), "bcd is neither an existing TOML file nor a recipe"),
        (("--resume", "{data}"), "not a run folder"),
        (("{data}", "--model", "evryday"), "Did you mean 'everyday'?"),
        (("{data}", "--labels", "thnig"), "--labels: the training set has no class 'thnig'. Did you mean 'thing'?"),
        (("{data}", "--freeze", "bakbone"), "--freeze: the network has no layer 'bakbone'. Did you mean 'backbone'?"),
        (("{data}", "--set", "trian"), "there is no image set 'trian'"),
        (("{data}", "--config", "racoon"), "Did you mean 'raccoon'?"),
        (("{data}", "--learning-rte", "1"), "--learning-rate"),
        (("{data}", "--sizes", "300"), "sizes: 300 is not a multiple of 32"),
        (("{data}", "--background", "{data}/ImageSets"), "ImageSets: there are no images"),
    ],
)
def test_invalid_arguments_are_reported_before_tensorflow_starts(boxwright, dataset, arguments, sentence):
    result = boxwright("finetune", *(argument.format(data=dataset) for argument in arguments))
    assert result.code == 2
    assert "Starting TensorFlow" not in result.err
    assert sentence in " ".join(result.err.replace("│", " ").split())


def test_labels_are_accepted_in_any_case(dataset):
    from cli.finetune.plan import read_config, read_plan

    config = read_plan(dataset, ("train", "val"), None, read_config(None, {"labels": "THING"})).config
    assert config.labels == "thing"


INTERRUPTED = """
import os, signal, sys
from cli.finetune.display import TrainingDisplay
original = TrainingDisplay.step_finished
def interrupt(display, metrics):
    original(display, metrics)
    if metrics["step"] == 2:
        os.kill(os.getpid(), signal.SIGINT)
TrainingDisplay.step_finished = interrupt
from cli import main
main.run()
"""


def test_an_interrupted_run_exits_with_130_and_names_the_command_that_resumes_it(dataset, model_file, tmp_path):
    arguments = ["finetune", dataset, "--model", model_file, "--out", tmp_path / "runs", "--epochs", 9, "--sizes", "64", "--batch-size", 4]
    command = [sys.executable, "-c", INTERRUPTED, *map(str, arguments)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 130, result.stderr
    assert f"Next: boxwright finetune --resume {tmp_path / 'runs' / 'things-001'}\n" in result.stderr
    assert "Starting TensorFlow" in result.stderr
    for library_message in ("oneDNN", "absl::InitializeLog", "cuda"):
        assert library_message not in result.stderr


def test_a_run_that_was_moved_with_its_data_and_model_can_be_resumed(boxwright, dataset, model_file, tmp_path):
    quick = ("--epochs", 1, "--sizes", "64", "--batch-size", 4)
    old, new = tmp_path / "old", tmp_path / "new"
    shutil.copytree(dataset, old / "things")
    shutil.copy(model_file, old / "model.safetensors")
    assert boxwright("finetune", old / "things", "--model", old / "model.safetensors", "--out", old / "runs", *quick).code == 0
    old.rename(new)
    run = new / "runs" / "things-001"
    assert boxwright("finetune", "--resume", run).code == 2
    assert boxwright("finetune", new / "things", "--model", new / "model.safetensors", "--resume", run).code == 0
    assert boxwright("finetune", "--resume", run).code == 0
