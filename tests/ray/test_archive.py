"""`boxwright detect --ray`: every photo comes out exactly once, whatever happens in between."""

import io
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image

from detector.detector import Detector
from detector.imaging.image import read_reduced
from service.schemas.detections import Detection
from tests.ray.conftest import ROOT, command, environment
from weights.engines.factory import load_engine
from weights.formats.safetensors import load_model

SOUND = 300
UNREADABLE = {
    "cut.jpg": "damaged-image",
    "text.png": "not-an-image",
    "empty.jpg": "empty-photo",
    "huge.png": "photo-too-large",
    "gone.jpg": "bad-file",
}


def picture(seed, form="JPEG"):
    file = io.BytesIO()
    rng = np.random.default_rng(seed)
    Image.fromarray(rng.integers(0, 256, (40 + seed % 7, 60 + seed % 11, 3), np.uint8)).save(file, form)
    return file.getvalue()


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Sound photos and others; a list of them all, and of one that is not there."""
    folder = tmp_path_factory.mktemp("archive")
    (folder / "photos" / "deep").mkdir(parents=True)
    for seed in range(SOUND):
        (folder / "photos" / ("deep" if seed % 2 else ".") / f"{seed}.jpg").write_bytes(picture(seed))
    (folder / "photos" / "cut.jpg").write_bytes(picture(1)[:-400])
    (folder / "photos" / "text.png").write_bytes(b"no photo")
    (folder / "photos" / "empty.jpg").write_bytes(b"")
    huge = bytearray(picture(2, "PNG"))
    huge[16:24] = (60_000).to_bytes(4, "big") * 2
    (folder / "photos" / "huge.png").write_bytes(huge)
    names = sorted(str(path.relative_to(folder)) for path in (folder / "photos").rglob("*.*"))
    (folder / "list.txt").write_text("\n".join([*names, "photos/gone.jpg", names[0]]) + "\n")  # the last one is there already
    return folder


def detect(archive, model_file, *arguments, **options):
    words = command("detect", "--ray", "--model", model_file, "--confidence", "0.05", *arguments)
    return subprocess.Popen(words, cwd=archive, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def test_the_commands_that_are_tested_here_are_those_of_the_document():
    page = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
    assert "\n$ boxwright detect photos --ray --out detections.parquet\n" in page
    assert "\n$ boxwright detect list.txt --ray --out detections.parquet --model everyday --confidence 0.4\n" in page


def rows_of(folder):
    import pyarrow.parquet as pq

    return pq.read_table(folder).to_pylist()


def parts_of(folder):
    return sorted(path.name for path in folder.glob("part-*.parquet"))


@pytest.fixture(scope="module")
def finished(archive, model_file):
    """An archive run that was killed in the middle with all its processes, and begun again: what it printed in the end."""
    out = archive / "detections.parquet"
    killed = detect(archive, model_file, "list.txt", "--out", out.name, start_new_session=True)
    while not parts_of(out):
        with suppress(subprocess.TimeoutExpired):
            pytest.fail(f"it ended with {killed.wait(timeout=0.02)}: {killed.communicate()}")
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    early = parts_of(out)
    assert killed.returncode == -signal.SIGKILL, "it was done before it could be killed"
    before = {name: (out / name).stat().st_mtime_ns for name in early}
    again = detect(archive, model_file, "list.txt", "--out", out, "--json")
    printed, told = again.communicate()
    return {"out": out, "early": before, "code": again.returncode, "summary": json.loads(printed), "told": told}


def test_a_killed_run_goes_on_and_each_photo_comes_out_exactly_once(finished, archive):
    wanted = {*(archive / "list.txt").read_text().split()}
    counted = Counter(row["photo"] for row in rows_of(finished["out"]))
    assert counted == Counter(wanted)
    assert len(wanted) == SOUND + len(UNREADABLE)


def test_what_was_done_before_is_not_done_again(finished):
    now = {name: (finished["out"] / name).stat().st_mtime_ns for name in finished["early"]}
    assert now == finished["early"] != {}
    assert len(parts_of(finished["out"])) > len(finished["early"])


def test_photos_that_cannot_be_read_are_counted_listed_and_told_of(finished):
    rows = {row["photo"].rpartition("/")[2]: row for row in rows_of(finished["out"])}
    assert {name: row["kind"] for name, row in rows.items() if row["kind"]} == UNREADABLE
    for name in UNREADABLE:
        assert rows[name]["detections"] is rows[name]["width"] is None
        assert f"{rows[name]['photo']}: {rows[name]['problem']}" in finished["told"]
    summary = finished["summary"]
    assert (summary["photos"], summary["unread"]) == (SOUND + len(UNREADABLE), len(UNREADABLE))
    assert summary["problems"] == dict.fromkeys(UNREADABLE.values(), 1)
    assert finished["code"] == 1


def test_the_answers_are_those_of_the_detector_in_this_process(finished, archive, model_file):
    model = load_model(model_file)
    detector = Detector(model.spec, load_engine(model, threads=1))
    boxes = 0
    for row in rows_of(finished["out"]):
        if row["problem"] is None:
            reduced = read_reduced((archive / row["photo"]).read_bytes(), detector.enough)
            prepared = detector.prepare(reduced)
            found = detector.select(detector.network(prepared.pixels[None])[0], prepared, score_threshold=0.05)
            listed = [one.model_dump() for one in Detection.listed(found, model.spec.labels)]
            assert row["detections"] == [{"label": one["label"], "score": one["score"], **one["box"]} for one in listed]
            assert (row["width"], row["height"]) == (reduced.width, reduced.height)
            boxes += len(listed)
    assert finished["summary"]["boxes"] == boxes > 0


def test_pandas_reads_the_folder_as_one_table(finished):
    import pandas

    table = pandas.read_parquet(finished["out"])
    assert len(table) == SOUND + len(UNREADABLE)
    assert list(table) == ["photo", "width", "height", "detections", "kind", "problem"]


def test_a_finished_run_has_nothing_left_to_do_and_starts_no_ray(finished, archive, model_file):
    before = rows_of(finished["out"])
    again = detect(archive, model_file, "list.txt", "--out", finished["out"])
    printed, told = again.communicate()
    assert "Started a local Ray" not in told
    assert f"{SOUND} images processed" in printed
    assert rows_of(finished["out"]) == before


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--out", "detections.parquet", "--iou", "0.2"], "iou"),
        (["--out", "photos"], "other files"),
        (["--out", "list.txt"], "is a file"),
        (["--out", "new", "--classes", "horse"], "horse"),
        (["--out", "new", "--voc", "new"], "--voc"),
        (["--out", "new", "--server", "http://localhost"], "--server"),
        ([], "--out"),
        (["-", "--out", "new"], "standard input"),
    ],
)
@pytest.mark.usefixtures("finished")
def test_what_cannot_be_is_told_before_ray_is_started(archive, model_file, arguments, told):
    ended = detect(archive, model_file, "photos", *arguments)
    _, said = ended.communicate()
    assert ended.returncode == 2
    assert told in said
    assert "Ray instance" not in said
    assert "Traceback" not in said


def test_folders_without_a_photo_are_told_and_nothing_is_begun(archive, model_file):
    (archive / "empty").mkdir()
    ended = detect(archive, model_file, "empty", "--out", "of-nothing")
    _, said = ended.communicate()
    assert ended.returncode == 1
    assert said.startswith("empty: no image in this folder")
    assert not (archive / "of-nothing" / "_plan").exists()


KILLER = """
import os, sys
from pathlib import Path
from cli.batch.manifest import Manifest
from cli.batch.worker import CrashJournal
with CrashJournal(Path("out"), 0) as journal:
    for photo in journal.track(Manifest.read(Path("out")).chunk(0)):
        if photo.name == "killer.jpg":
            os._exit(9)
"""


@pytest.fixture
def make_worker(tmp_path, model_file, monkeypatch):
    """() -> a BatchWorker. It sets variables of its process, which is this one, so they are taken back: else what later tests train
    in processes of their own would be computed by one thread, and differ in the last bits."""
    for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        monkeypatch.setenv(name, "1")

    def make():
        from cli.batch.worker import BatchWorker

        return BatchWorker(str(tmp_path / "out"), str(model_file), "auto")

    return make


def test_a_photo_at_which_processes_die_is_left_out_and_the_others_are_answered(tmp_path, make_worker, monkeypatch):
    from cli.batch.manifest import BatchTask, Manifest
    from cli.batch.worker import MAX_CRASHES

    monkeypatch.chdir(tmp_path)
    names = ("a.jpg", "killer.jpg", "z.jpg")
    (tmp_path / "out").mkdir()
    paths = [tmp_path / name for name in names]
    for seed, path in enumerate(paths):
        path.write_bytes(picture(seed))
    Manifest.create(tmp_path / "out", BatchTask("tiny", "", 0.05, 0.45, (), str(tmp_path)), paths)
    for _ in range(MAX_CRASHES):
        died = subprocess.run([sys.executable, "-c", KILLER], cwd=tmp_path, env=environment(PYTHONPATH=str(ROOT)))
        assert died.returncode == 9
    make_worker()({"chunk": [0]})
    kinds = {row["photo"].rpartition("/")[2]: row["kind"] for row in rows_of(tmp_path / "out")}
    assert kinds == {"a.jpg": None, "killer.jpg": "killer", "z.jpg": None}
    assert not list((tmp_path / "out").glob(".*.journal"))


def test_a_name_that_is_no_text_comes_out_too(tmp_path, make_worker):
    from cli.batch.manifest import BatchTask, Manifest

    path = tmp_path / os.fsdecode(b"caf\xe9.jpg")
    path.write_bytes(picture(0))
    (tmp_path / "out").mkdir()
    Manifest.create(tmp_path / "out", BatchTask("tiny", "", 0.05, 0.45, (), str(tmp_path)), [path])
    make_worker()({"chunk": [0]})
    (row,) = rows_of(tmp_path / "out")
    assert row["photo"].endswith("caf\\xe9.jpg")
    assert row["problem"] is None
