"""The command: its options, what it refuses, and a run from the shell to a model that detects."""

import json
import re
import shutil
import tomllib

import numpy as np
import pytest
from PIL import Image

XML = """<annotation><filename>{0}.png</filename><object><name>thing</name><bndbox><xmin>11</xmin><ymin>6</ymin><xmax>40</xmax>
<ymax>30</ymax></bndbox></object></annotation>"""


@pytest.fixture
def data(tmp_path):
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


def test_every_option_of_training_is_one_of_the_command(boxwright):
    from training.config import Config

    helped = boxwright("finetune", "--help").out
    missing = [name for name in Config.model_fields if f"--{name.replace('_', '-')}" not in helped]
    assert missing == []


def test_a_run_from_the_shell_gives_a_model_that_detects(boxwright, data, model_file, tmp_path):
    quick = ("--epochs", 2, "--sizes", "64", "--batch-size", 4, "--check-every", 1)
    ended = boxwright("finetune", data, "--model", model_file, "--out", tmp_path / "runs", *quick)
    assert ended.code == 0
    assert "all epochs are done. best ap" in ended.out
    assert re.search(
        r"AP50 0\.\d+ \(frequent classes 0\.\d+, weighted by boxes 0\.\d+\)\n  gradients \S+ \(\w+\) to \S+ \(\w+\) of the weights\n",
        ended.err,
    )
    folder = tmp_path / "runs" / "things-001"
    assert boxwright("detect", data / "JPEGImages" / "0.png", "--model", folder / "best.safetensors").code == 0
    page = folder / "report.html"
    assert "All epochs are done." in page.read_text(encoding="utf-8")
    page.unlink()
    assert boxwright("report", folder).out == f"{page}\n"
    assert page.is_file()
    again = boxwright("finetune", "--resume", folder)
    assert again.code == 0
    config = folder / "config.toml"
    other = boxwright("finetune", data, "--model", model_file, "--out", tmp_path / "runs", "--config", config, "--seed", 5)
    assert other.code == 0
    told = (tmp_path / "runs" / "things-002" / "config.toml").read_text(encoding="utf-8")
    assert "seed = 5" in told
    assert "epochs = 2" in told


def test_one_command_makes_two_runs_the_second_from_the_best_weights_of_the_first(boxwright, data, model_file, tmp_path):
    first, second = tmp_path / "first.toml", tmp_path / "second.toml"
    first.write_text('epochs = 2\nsizes = "64"\nlearning_rate = 0.001\n', encoding="utf-8")
    second.write_text('epochs = 1\nsizes = "96"\nfreeze = "none"\n', encoding="utf-8")
    out, both = tmp_path / "runs", ("--batch-size", 4)
    ended = boxwright("finetune", data, "--model", model_file, "--out", out, "--config", first, *both, "--then", second)
    assert ended.code == 0, ended.err
    assert ended.out.count("all epochs are done.") == 2
    tasks = [json.loads((out / name / "run.json").read_text(encoding="utf-8")) for name in ("things-001", "things-002")]
    assert tasks[1] == tasks[0] | {"model": str(out / "things-001" / "best.safetensors")}
    configs = [tomllib.loads((out / name / "config.toml").read_text(encoding="utf-8")) for name in ("things-001", "things-002")]
    assert [(config["epochs"], config["sizes"], config["batch_size"]) for config in configs] == [(2, "64", 4), (1, "96", 4)]


def test_a_run_publishes_its_best_model_into_a_folder_of_models(boxwright, data, model_file, tmp_path):
    models = tmp_path / "models"
    models.mkdir()
    quick = ("--epochs", 1, "--sizes", "64", "--batch-size", 4, "--check-every", 1, "--out", tmp_path / "runs")
    ended = boxwright("finetune", data, "--model", model_file, *quick, "--publish", models)
    assert ended.code == 0, ended.err
    assert f"{models}: things has version 1 now." in ended.out
    best = tmp_path / "runs" / "things-001" / "best.safetensors"
    assert (models / "things" / "1" / "model.safetensors").read_bytes() == best.read_bytes()
    assert boxwright("finetune", "--resume", tmp_path / "runs" / "things-001", "--publish", models, "--publish-as", "other").code == 0
    assert (models / "other" / "1" / "model.safetensors").is_file()


def test_a_run_that_was_moved_with_its_data_and_model_can_be_resumed(boxwright, data, model_file, tmp_path):
    quick = ("--epochs", 1, "--sizes", "64", "--batch-size", 4)
    here, there = tmp_path / "here", tmp_path / "there"
    shutil.copytree(data, here / "things")
    shutil.copy(model_file, here / "model.safetensors")
    assert boxwright("finetune", here / "things", "--model", here / "model.safetensors", "--out", here / "runs", *quick).code == 0
    here.rename(there)
    run = there / "runs" / "things-001"
    assert boxwright("finetune", "--resume", run).code == 2
    assert boxwright("finetune", there / "things", "--model", there / "model.safetensors", "--resume", run).code == 0
    assert boxwright("finetune", "--resume", run).code == 0


def test_what_could_not_be_published_is_refused_before_the_run_begins(boxwright, data, model_file, tmp_path):
    common = (data, "--model", model_file, "--out", tmp_path / "runs")
    for publish in (("--publish", tmp_path / "nowhere"), ("--publish", tmp_path, "--publish-as", "a b")):
        assert boxwright("finetune", *common, *publish).code == 2
    assert not (tmp_path / "runs").exists()


def test_a_run_that_breaks_off_has_a_report_that_says_why(boxwright, data, model_file, tmp_path):
    wild = ("--optimizer", "sgd", "--learning-rate", 10, "--clip", "none", "--warmup-steps", 0, "--loss", "darknet", "--freeze", "none")
    quick = ("--epochs", 50, "--sizes", "64", "--batch-size", 4, "--check-every", 50)
    ended = boxwright("finetune", data, "--model", model_file, "--out", tmp_path / "runs", *quick, *wild)
    assert ended.code == 2
    assert "the loss is NaN or infinite" in ended.err
    assert "the loss is NaN or infinite" in (tmp_path / "runs" / "things-001" / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "give the folder of the data set"),
        (("--resume", "x", "--epochs", "3"), "--resume continues the run with its own options"),
        (("{data}", "--learning-rate", "-1"), "learning_rate: Input should be greater than 0, got -1.0"),
        (("{data}", "--then", "bcd"), "bcd: neither a TOML file nor a recipe"),
        (("--resume", "{data}"), "not a run folder"),
    ],
)
def test_what_makes_no_sense_is_refused(boxwright, data, arguments, sentence):
    ended = boxwright("finetune", *(argument.format(data=data) for argument in arguments))
    assert ended.code == 2
    assert sentence in " ".join(ended.err.replace("│", " ").split())


def test_a_check_tells_the_layers_that_learn_least_and_most_and_those_that_are_flat():
    from cli.finetune.run import _of_layers

    flat = {"a": {"dead": 0.0, "saturated": 0.0}, "b": {"dead": 0.25, "saturated": 0.0}}
    told = _of_layers({"gradient_to_weight": {"a": 0.02, "b": 0.0003, "c": 0.001}, "flat": flat})
    assert told == "gradients 3e-04 (b) to 2e-02 (a) of the weights, dead at most 25% (b), saturated at most 0%"
    assert _of_layers({"gradient_to_weight": {}, "flat": {}}) == ""
