"""report.html is self-contained and safe, has the numbers of the run, and can be written for every run."""

import json
import re
import shutil
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from detector.detector import Detector
from detector.engines import load_engine
from training.config.options import Config
from training.config.task import Task
from training.data.voc_reader import read_set
from training.errors import TrainingError
from training.evaluation.evaluate import evaluate_detector
from training.modeling.transfer import transfer
from training.report.write import write_report
from training.run.folder import RunFolder
from training.run.record import RunRecord
from weights.formats.safetensors import save_model

HOSTILE = "<img src=http://evil/x onerror=alert(1)>'\"&"
LAYERS = {"gradient_to_weight": {"conv1": 1e-9, "$\\frac": 0.5}, "flat": {"conv4": {"dead": 0.7, "saturated": 0.0}}}
VOID = {"meta", "img", "br", "hr", "input", "link", "base", "source"}


class Page(HTMLParser):
    """Elements, attributes and text of a document. Elements that are not closed in order are an error."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.strings, self._open = Counter(), [], [], []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        self.attributes += [(tag, key, value) for key, value in attrs]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.strings.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.strings).split())

    def values(self, *keys):
        return [value for _, key, value in self.attributes if key in keys]


def assert_self_contained(text):
    """Assert that the page has no scripts and refers to nothing outside itself."""
    page = Page(text)
    assert not page.tags.keys() & {"script", "link", "iframe", "object", "embed", "base", "form", "video", "audio", "foreignobject"}
    assert not [key for _, key, _ in page.attributes if key.startswith("on") or key in ("srcset", "action", "ping", "background")]
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    for address in page.values("src", "href", "xlink:href", "poster", "data"):
        assert re.match(r"data:image/(jpeg|png);base64,|#", address), address[:80]
        assert not address.startswith("#") or address[1:] in ids
    styles = re.findall(r"<style>(.*?)</style>", text, re.DOTALL) + page.values("style", "clip-path", "fill", "mask", "filter")
    for style in styles:
        assert "@import" not in style
        for inner in re.findall(r"url\((.*?)\)", style):
            assert inner[1:] in ids
            assert inner[0] == "#"
    assert "default-src 'none'" in dict(zip(page.values("http-equiv"), page.values("content"), strict=False))["Content-Security-Policy"]
    return page


def step_metrics(step, **values):
    """Metrics as a run writes them."""
    terms = {"box": 1.0, "object": 2.0 / step, "no_object": 0.1, "class": 0.0}
    settings = {"step": step, "epoch": 0, "size": 64, "learning_rate": 1e-3 / step}
    return settings | {"loss": sum(terms.values()), **terms, "gradient": 3.0} | values


@pytest.fixture(scope="module")
def best(small_model):
    """A model with the labels of the rectangles, to save as best.safetensors."""
    return transfer(small_model, ("blue", "red"), small_model.spec.anchors, Config()).model


@pytest.fixture
def run(rectangles, best, tmp_path):
    """(task=None, **settings) -> the folder of a run that was killed after step 6 of 12."""

    def make(task=None, **settings):
        task = task or Task(str(rectangles), "train", "val", None)
        folder = RunFolder.create(tmp_path / "runs", task, Config(batch_size=3, epochs=4, **settings))
        folder.record_environment(read_set(rectangles, "train"), read_set(rectangles, "val"), {})
        save_model(best, folder.path / "best.safetensors")
        for step in range(1, 7):
            check = {"val_loss": 2.5, "ap50": 0.123 * step, "layers": LAYERS, "sentences": ["conv1 is idle."]} if step % 3 == 0 else {}
            folder.metrics.append(step_metrics(step, **check))
        return folder

    return make


def report_of(folder):
    return assert_self_contained(write_report(folder.path).read_text(encoding="utf-8"))


def test_report_has_settings_progress_and_results(run, rectangles, best):
    folder = run(freeze="none", loss="darknet")
    folder.write_outcome("all epochs are done.", step=6, seconds=150.0)
    page = report_of(folder)
    assert "All epochs are done." in page.text
    assert "2 min training time since the last start" in page.text
    assert "6 steps of 12" in page.text
    assert "conv1 is idle. (steps 3, 6)" in page.text
    assert f"4 of {len(Config.model_fields)} options differ from their defaults." in page.text
    assert "loss darknet modern" in page.text
    assert page.values("class").count("marked") == 4
    assert json.loads((folder.path / "environment.json").read_text())["data"]["train"]["sha256"] in page.text
    evaluation = evaluate_detector(Detector(best.spec, load_engine(best)), read_set(rectangles, "val"))
    assert f"All epochs are done. {evaluation.ap50:.3f} AP50 of best.safetensors (step 6)" in page.text
    assert [label for label in best.spec.labels if f"{label} {evaluation.classes[label].boxes} " in page.text] == ["blue", "red"]
    assert "have changed since the run began" not in page.text


def test_report_shows_ap_mistakes_and_advice_first_and_collapses_the_layers(run):
    folder = run()
    folder.write_outcome("all epochs are done.", step=6, seconds=150.0)
    page = report_of(folder)
    order = (
        "AP50 of best.safetensors",
        "in the validation set 'val'",
        "one box changes its AP50 by",
        "Worst mistakes",
        "What to do next",
        f"boxwright detect IMAGE_OR_FOLDER --model {folder.path / 'best.safetensors'} --confidence auto --out annotated",
        "By class",
        "Loss and its terms",
        "Layers from input to output",
    )
    positions = [page.text.find(words) for words in order]
    assert -1 not in positions
    assert positions == sorted(positions)
    assert "--resume" not in page.text


def test_every_image_of_the_report_can_be_enlarged(run):
    text = write_report(run().path).read_text(encoding="utf-8")
    assert text.count("<summary><img") == Page(text).tags["img"] > 0


def test_report_shows_false_alarms_if_the_run_measured_them(run):
    folder = run()
    assert "false alarms" not in report_of(folder).text
    measured = {"memory": {"images": 64, "0.25": 0.125, "0.5": 0.0625}}
    (folder.path / "conclusion.json").write_text(json.dumps({"false_alarms": measured}))
    expected = "12.5% false alarms at confidence 0.25 in 64 remembered images that were not trained on (6.2% at 0.5)"
    assert expected in report_of(folder).text


def test_report_states_the_suggested_confidence_and_the_found_objects_of_the_new_classes(run):
    folder = run()
    assert "Try the model on new images:" in report_of(folder).text
    found = {"blue": {"boxes": 6, "0.25": 1, "suggested": 6}, "red": {"boxes": 2, "0.25": 2, "suggested": 1}}
    conclusion = {"new_labels": ["blue", "red"], "confidence": {"blue": 0.058, "red": 0.3}, "found": found}
    (folder.path / "conclusion.json").write_text(json.dumps(conclusion))
    assert "3 of 8 objects of new classes found at confidence 0.25 (7 at the suggested confidence)" in report_of(folder).text
    assert "Try the model on new images at the suggested confidence (blue 0.06, red 0.30):" in report_of(folder).text


def test_report_states_the_ap50_of_a_new_class_and_advises_a_longer_run_if_it_is_low(run):
    folder = run()
    (folder.path / "conclusion.json").write_text(json.dumps({"new_labels": ["blue"], "new_ap50": {"blue": 0.0625}}))
    text = report_of(folder).text
    assert "0.062 AP50 of the new class blue" in text
    assert "blue has an AP50 of only 0.06 after" in text
    assert "--epochs" in text


def test_report_of_an_exploded_loss_advises_a_lower_learning_rate_instead_of_a_longer_run(run):
    folder = run()
    divergence = {"reason": "The loss rose from 18 to 7e+10, so the learning rate 5 is too high", "learning_rate": "0.0003"}
    conclusion = {"new_labels": ["blue"], "new_ap50": {"blue": 0.0625}, "divergence": divergence}
    (folder.path / "conclusion.json").write_text(json.dumps(conclusion))
    text = report_of(folder).text
    assert "so the learning rate 5 is too high. Start a new run:" in text
    assert "--learning-rate 0.0003" in text
    assert "longer training" not in text


def test_report_of_a_killed_run_explains_how_to_continue_it(run):
    folder = run()
    assert f"boxwright finetune --resume {folder.path}" in report_of(folder).text


def test_report_has_curves_heatmaps_and_images(run):
    page = report_of(run(unfreeze_at=1.0, mosaic_until=0.25))
    assert page.tags["svg"] == 9  # loss, val loss, AP, rate, gradient, ratios, dead, precision over recall, confusion
    assert 1 <= page.tags["img"] <= 3
    for words in (
        "Loss and its terms",
        "no object",
        "all layers trained",
        "no mosaics",
        "Gradient norm before clipping",
        "conv4",
        "share of channels that are dead",
        "recall",
    ):
        assert words in page.text
    assert "In each layer, less than 1 % of the channels were saturated" in page.text


def test_warnings_that_differ_only_in_numbers_are_merged(run):
    folder = run()
    validations = [
        [
            "conv1 is idle.",
            "60% of conv4's channels are dead, 5% were before training.",
            "conv2's gradient has been 2e-08 of its weights.",
        ],
        ["71% of conv4's channels are dead, 5% were before training.", "conv2's gradient has been 3e-09 of its weights."],
        ["71% of conv5's channels are dead, 5% were before training.", "conv2's gradient has been 30 times its weights."],
    ]
    for step, sentences in enumerate(validations, 7):
        folder.metrics.append(step_metrics(step, val_loss=1.0, ap50=0.5, layers=LAYERS, sentences=sentences))
    assert RunRecord.read(folder.path).warnings == {
        "conv1 is idle.": [3, 6, 7],
        "71% of conv4's channels are dead, 5% were before training.": [7, 8],
        "conv2's gradient has been 3e-09 of its weights.": [7, 8],
        "71% of conv5's channels are dead, 5% were before training.": [9],
        "conv2's gradient has been 30 times its weights.": [9],
    }


def test_text_from_data_is_escaped(run, rectangles, best, tmp_path):
    copy = tmp_path / HOSTILE.replace("/", "")
    shutil.copytree(rectangles, copy)
    for xml in (copy / "Annotations").glob("*.xml"):
        xml.write_text(xml.read_text(encoding="utf-8").replace("<name>blue", "<name>&lt;b&gt;$\\frac&lt;!--"), encoding="utf-8")
    folder = run(Task(str(copy), "train", "val", HOSTILE), pieces="0.5:0.1 ")
    labels = ("<b>$\\frac<!--", "red")
    save_model(replace(best, spec=replace(best.spec, labels=labels)), folder.path / "best.safetensors")
    folder.metrics.append(
        step_metrics(7, val_loss=1.0, ap50=0.5, layers=LAYERS, sentences=[f"sentence {HOSTILE}", "</style><script>alert(1)</script>"])
    )
    folder.write_outcome(HOSTILE, step=7, seconds=1)
    page = report_of(folder)
    assert "</style><script>alert(1)</script>" in page.text
    assert f"sentence {HOSTILE}" in page.text
    assert page.text.count("<b>$\\frac<!--") >= 3  # table, legend, confusion
    assert "have changed since the run began" in page.text


def test_a_run_without_steps_has_a_report(rectangles, tmp_path):
    folder = RunFolder.create(tmp_path, Task(str(rectangles), "train", "val", None), Config())
    page = report_of(folder)
    assert "is still in progress, or it was killed" in page.text
    assert "The run has not finished a step." in page.text
    assert "has not completed a validation" in page.text
    assert "Every option has its default value." in page.text


def test_a_run_without_validation_has_curves(run):
    folder = run()
    (folder.path / "best.safetensors").unlink()
    lines = (folder.path / "metrics.jsonl").read_text().splitlines()
    (folder.path / "metrics.jsonl").write_text("\n".join(lines[:2]) + '\n{"step": 3, "layers": {}')
    page = report_of(folder)
    assert "2 steps of 12" in page.text
    assert "There was no validation yet" in page.text
    assert page.tags["svg"] == 3


def test_report_names_missing_data_and_a_damaged_model(run, tmp_path):
    folder = run(Task(str(tmp_path / "missing"), "train", "val", None))
    page = report_of(folder)
    assert "The best model could not be evaluated: " in page.text
    assert "missing" in page.text
    damaged = run()
    (damaged.path / "best.safetensors").write_bytes(b"cut short")
    assert "The best model could not be evaluated: " in report_of(damaged).text


def test_a_folder_that_is_not_a_run_folder_is_refused(tmp_path):
    with pytest.raises(TrainingError, match="not a run folder"):
        write_report(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_report_of_a_long_run_of_a_deep_network_is_below_600_kb(rectangles, tmp_path):
    folder = RunFolder.create(tmp_path, Task(str(rectangles), "train", "val", None), Config())
    layers = {f"conv{layer}": 10.0 ** -(layer % 9) for layer in range(150)}
    check = {"val_loss": 1.0, "ap50": 0.5, "sentences": [], "layers": {"gradient_to_weight": layers, "flat": {}}}
    rows = [step_metrics(step, **(check if step % 100 == 0 else {})) for step in range(1, 5001)]
    (folder.path / "metrics.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    path = write_report(folder.path)
    assert Path(path).stat().st_size < 600_000
    assert "conv149" in assert_self_contained(path.read_text(encoding="utf-8")).text
