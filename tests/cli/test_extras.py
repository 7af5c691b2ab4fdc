"""Commands without the packages of an extra."""

import os
import sys

import pytest

from cli import extras
from cli.extras import OPTIONAL_PACKAGES


@pytest.mark.parametrize(
    ("package", "arguments"),
    [
        ("tensorflow", ["finetune", "{data}"]),
        ("tensorflow", ["data", "preview", "{data}", "--set", "all"]),
        ("tensorflow", ["report", "{run}"]),
        ("tensorflow", ["export", "everyday", "--to", "keras"]),
        ("tensorflow", ["detect", "{data}", "--engine", "tensorflow"]),
        ("openvino", ["detect", "{data}", "--engine", "openvino"]),
        ("openvino", ["serve", "--engine", "openvino", "--port", "0"]),
        ("pycocotools", ["evaluate", "{data}"]),
        ("matplotlib", ["data", "check", "{data}", "--out", "plots"]),
        ("yaml", ["data", "import", "{data}", "--from", "yolo", "--out", "new"]),
        ("ray", ["detect", "{data}", "--ray", "--out", "new"]),
        ("ray", ["serve", "--ray", "--port", "0"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value,
)
def test_a_missing_package_is_reported_in_one_sentence_that_names_the_extra(
    boxwright, hide_packages, make_flat_dataset, tmp_path, monkeypatch, package, arguments
):
    monkeypatch.setattr("signal.signal", lambda *_: None)  # `serve` would change this process
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.json").write_text('{"dataset": "", "train_set": "", "val_set": "", "model": null}')
    (run / "config.toml").write_text("")
    data = make_flat_dataset({"a": [("dog", 1, 1, 30, 40)]})
    hide_packages(*OPTIONAL_PACKAGES)
    result = boxwright(*(argument.format(data=data, run=run) for argument in arguments))
    assert (result.code, result.out) == (2, "")
    assert f"needs {package}, which is not installed. Install the extra {OPTIONAL_PACKAGES[package]!r}: " in result.err
    assert result.err.count("\n") == 1


@pytest.mark.parametrize(("error", "shown"), [(KeyboardInterrupt, ""), (ImportError, "log line\n")])
def test_messages_of_tensorflow_are_shown_only_if_its_start_fails(monkeypatch, capfd, error, shown):
    def start(_name):
        os.write(2, b"log line\n")
        raise error

    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    monkeypatch.setattr(extras, "require_packages", lambda *_: None)
    monkeypatch.setattr(extras, "import_module", start)
    with pytest.raises(error):
        extras.start_tensorflow("training")
    assert capfd.readouterr().err == f"Starting TensorFlow (about 10 seconds)...\n{shown}"
