"""`boxwright weights list | pull | verify | remove | info`: tables, messages and exit codes."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from cli import main
from weights.embedded import EMBEDDED
from weights.hub.catalogue import entries, entry_of

ROOT = Path(__file__).resolve().parents[3]


@dataclass
class CommandResult:
    code: int
    out: str
    err: str


@pytest.fixture
def weights(home, monkeypatch, capfd):  # noqa: ARG001  `home` sets an empty cache folder
    """Return a function (arguments) -> result of the command `boxwright weights ARGUMENTS`."""

    def run(*arguments) -> CommandResult:
        monkeypatch.setattr("sys.argv", ["boxwright", "weights", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main.run()
        captured = capfd.readouterr()
        return CommandResult(ended.value.code or 0, captured.out, captured.err)

    return run


def test_the_list_in_a_pipe_has_one_tab_separated_line_per_model(weights, home):
    home.folder.mkdir(parents=True)
    (home.folder / "yolov2.weights").touch()
    rows = [line.split("\t") for line in weights("list").out.splitlines()]
    assert [row[0] for row in rows] == [*EMBEDDED, *entries()]
    assert {row[1] for row in rows} == {"included", "pulled", "-"}
    assert [row[0] for row in rows if row[1] == "pulled"] == ["yolov2-coco"]
    assert rows[0][1:] == ["included", "16.4 MB", "20", "0.398", "Apache-2.0"]
    assert rows[1][1:] == ["included", "5.7 MB", "20", "0.397", "Apache-2.0"]
    assert {row[0]: row[2] for row in rows}["tensornets-yolov2-voc"] == "~202.7 MB"  # its size is not published
    assert rows[len(EMBEDDED)] == ["yolov2-voc", "-", "202.7 MB", "20", "-", "none stated"]
    assert {row[0]: row[3] for row in rows}["darknet19"] == "-"  # a backbone has no classes


@pytest.mark.parametrize("columns", ["80", "60"])
def test_the_list_on_a_narrow_terminal_truncates_no_name(weights, monkeypatch, columns: str):
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("FORCE_COLOR", "1")
    out = weights("list").out
    assert all(name in out for name in entries())
    assert "…" not in out


def test_every_bad_file_is_reported_and_the_exit_code_is_2(weights, home):
    home.folder.mkdir(parents=True)
    for name in ("yolov2-voc", "darknet19"):
        (home.folder / entry_of(name).file).write_bytes(b"short")
    result = weights("verify")
    assert result.code == 2
    assert all(f"{entry_of(name).file}: it has 5 bytes instead of" in result.err for name in ("yolov2-voc", "darknet19"))
    assert result.out == ""


def test_pull_reports_a_truncated_file_and_remove_deletes_it(weights, home):
    home.folder.mkdir(parents=True)
    (home.folder / entry_of("yolov2-voc").file).write_bytes(b"short")
    result = weights("pull", "yolov2-voc")
    assert result.code == 2
    assert "boxwright weights remove yolov2-voc, then pull it again" in result.err
    assert weights("remove", "yolov2-voc").out == "yolov2-voc: removed.\n"


def test_the_shipped_model_cannot_be_pulled_verified_or_removed(weights):
    for use in ("pull", "verify", "remove"):
        result = weights(use, "everyday")
        assert (result.code, result.err) == (2, "boxwright: everyday ships with the package; there is nothing to pull, verify or remove.\n")


def test_a_failed_mirror_and_a_recorded_hash_are_reported(weights, unreachable, web_server, make_weights, monkeypatch):
    monkeypatch.setenv("BOXWRIGHT_MIRROR", f"{unreachable} {web_server.base}")
    entry = entry_of("darknet19")
    web_server.pages[f"/{entry.file}"] = web_server.page(make_weights(entry))
    result = weights("pull", "darknet19")
    assert result.code == 0
    assert f"darknet19: {unreachable}/{entry.file}: " in result.err
    assert "trying the next" in result.err
    assert "no sha256 is published for darknet19" in result.err
    assert result.out.count("\n") == 1
    assert weights("verify").out.startswith("darknet19: 79,327,120 bytes")
    assert weights("remove", "darknet19", "--forget").out == "darknet19: removed; its recorded hash is forgotten.\n"


def test_remove_reports_whether_it_forgot_the_hash(weights):
    assert weights("remove", "darknet19").out == "darknet19: was not downloaded.\n"
    assert weights("remove", "darknet19", "--forget").out == "darknet19: was not downloaded; its recorded hash is forgotten.\n"


def test_info_about_a_model_that_was_not_pulled_shows_its_catalogue_entry_without_a_download(weights, web_server, monkeypatch):
    monkeypatch.setenv("BOXWRIGHT_MIRROR", web_server.base)
    entry = entry_of("yolov2-coco")
    result = weights("info", "yolov2-coco")
    assert result.code == 0
    texts = (
        entry.description,
        *entry.addresses,
        "203,934,260",
        *entry.hashes.values(),
        entry.licence,
        "boxwright weights pull yolov2-coco",
    )
    assert all(text in " ".join(result.out.split()) for text in texts)
    record = json.loads(weights("info", "yolov2-coco", "--json").out)
    assert (record["name"], record["pulled"], record["licence"]) == ("yolov2-coco", False, entry.licence)
    assert (record["sizes"], record["hashes"], record["addresses"]) == ([203_934_260], dict(entry.hashes), list(entry.addresses))
    assert web_server.requests == []


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("yolov2-voc", ("sizes: 202,704,264 bytes", "hashes: none published")),
        ("tiny-yolov2-voc", ("sizes: 63,471,556 bytes or 63,471,560 bytes", "sha1 24b4bd049fc4fa5f5e95f684a8967e65c625dff9")),
        ("tensornets-yolov2-voc", ("sizes: not published; about 202.7 MB", "md5 5d7e3c739f8876ee5facbdc5ec6e53d5")),
    ],
)
def test_info_states_that_a_size_or_hash_is_not_published(weights, name, texts):
    out = weights("info", name).out
    assert all(text in out for text in texts), out


def test_ctrl_c_reports_that_the_download_can_be_resumed(home, web_server, make_weights, monkeypatch):
    monkeypatch.setenv("BOXWRIGHT_MIRROR", web_server.base)
    entry = entry_of("darknet19")
    page = web_server.pages.setdefault(f"/{entry.file}", web_server.page(make_weights(entry), pause_after=1 << 20))
    command = [sys.executable, "-m", "cli.main", "weights", "pull", "darknet19"]
    restore_sigint = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a shell starts background processes with SIGINT ignored
    with subprocess.Popen(command, cwd=ROOT, env=os.environ, stderr=subprocess.PIPE, text=True, preexec_fn=restore_sigint) as process:
        assert page.paused.wait(60)
        while not (home.folder / f"{entry.file}.partial").exists():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert error == "boxwright: interrupted. The same command continues the download of darknet19.\n"


def test_verify_reports_that_there_are_no_downloaded_models(weights):
    result = weights("verify")
    assert (result.code, result.out) == (0, "")
    assert "There are no downloaded models to verify." in result.err
