"""`boxwright detect --ray`: the output contains every image exactly once, also after interruptions."""

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
from detector.imaging.image import decode_image
from service.schemas.detections import Detection
from tests.ray.conftest import ROOT, command, environment
from weights.engines.factory import build_engine
from weights.engines.options import EngineOptions
from weights.formats.safetensors import load_model

VALID_IMAGES = 300
UNREADABLE = {
    "cut.jpg": "damaged-image",
    "text.png": "not-an-image",
    "empty.jpg": "empty-image",
    "huge.png": "image-too-large",
    "missing.jpg": "bad-file",
}


def make_image(seed, form="JPEG"):
    file = io.BytesIO()
    rng = np.random.default_rng(seed)
    Image.fromarray(rng.integers(0, 256, (40 + seed % 7, 60 + seed % 11, 3), np.uint8)).save(file, form)
    return file.getvalue()


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Valid and unreadable images, and a list of them that also names a missing file."""
    folder = tmp_path_factory.mktemp("archive")
    (folder / "photos" / "nested").mkdir(parents=True)
    for seed in range(VALID_IMAGES):
        (folder / "photos" / ("nested" if seed % 2 else ".") / f"{seed}.jpg").write_bytes(make_image(seed))
    (folder / "photos" / "cut.jpg").write_bytes(make_image(1)[:-400])
    (folder / "photos" / "text.png").write_bytes(b"no image")
    (folder / "photos" / "empty.jpg").write_bytes(b"")
    huge = bytearray(make_image(2, "PNG"))
    huge[16:24] = (60_000).to_bytes(4, "big") * 2
    (folder / "photos" / "huge.png").write_bytes(huge)
    names = sorted(str(path.relative_to(folder)) for path in (folder / "photos").rglob("*.*"))
    (folder / "list.txt").write_text("\n".join([*names, "photos/missing.jpg", names[0]]) + "\n")  # the last line repeats the first one
    return folder


def detect(archive, model_file, *arguments, **options):
    arguments = command("detect", "--ray", "--model", model_file, "--confidence", "0.05", *arguments)
    return subprocess.Popen(arguments, cwd=archive, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def test_documentation_contains_the_tested_commands():
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
    """Output and messages of a run that was killed and then resumed."""
    out = archive / "detections.parquet"
    killed = detect(archive, model_file, "list.txt", "--out", out.name, start_new_session=True)
    while not parts_of(out):
        with suppress(subprocess.TimeoutExpired):
            pytest.fail(f"the run ended with {killed.wait(timeout=0.02)}: {killed.communicate()}")
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    finished_parts = parts_of(out)
    assert killed.returncode == -signal.SIGKILL, "the run ended before it could be killed"
    modified = {name: (out / name).stat().st_mtime_ns for name in finished_parts}
    resumed = detect(archive, model_file, "list.txt", "--out", out, "--json")
    output, messages = resumed.communicate()
    return {"out": out, "parts_before": modified, "code": resumed.returncode, "summary": json.loads(output), "messages": messages}


def test_killed_run_resumes_and_outputs_each_image_exactly_once(finished, archive):
    expected = {*(archive / "list.txt").read_text().split()}
    counted = Counter(row["photo"] for row in rows_of(finished["out"]))
    assert counted == Counter(expected)
    assert len(expected) == VALID_IMAGES + len(UNREADABLE)


def test_finished_parts_are_not_computed_again(finished):
    now = {name: (finished["out"] / name).stat().st_mtime_ns for name in finished["parts_before"]}
    assert now == finished["parts_before"] != {}
    assert len(parts_of(finished["out"])) > len(finished["parts_before"])


def test_unreadable_images_are_counted_and_listed(finished):
    rows = {row["photo"].rpartition("/")[2]: row for row in rows_of(finished["out"])}
    assert {name: row["kind"] for name, row in rows.items() if row["kind"]} == UNREADABLE
    for name in UNREADABLE:
        assert rows[name]["detections"] is rows[name]["width"] is None
        assert f"{rows[name]['photo']}: {rows[name]['problem']}" in finished["messages"]
    summary = finished["summary"]
    assert (summary["photos"], summary["unread"]) == (VALID_IMAGES + len(UNREADABLE), len(UNREADABLE))
    assert summary["problems"] == dict.fromkeys(UNREADABLE.values(), 1)
    assert finished["code"] == 1


def test_detections_equal_those_of_a_local_detector(finished, archive, model_file):
    model = load_model(model_file)
    detector = Detector(model.spec, build_engine(model, threads=1))
    boxes = 0
    for row in rows_of(finished["out"]):
        if row["problem"] is None:
            reduced = decode_image((archive / row["photo"]).read_bytes(), detector.min_decode_side)
            prepared = detector.preprocess(reduced)
            detections = detector.postprocess(detector.forward(prepared.pixels[None])[0], prepared, score_threshold=0.05)
            listed = [detection.model_dump() for detection in Detection.from_detections(detections, model.spec.labels)]
            assert row["detections"] == [{"label": each["label"], "score": each["score"], **each["box"]} for each in listed]
            assert (row["width"], row["height"]) == (reduced.width, reduced.height)
            boxes += len(listed)
    assert finished["summary"]["boxes"] == boxes > 0


def test_pandas_reads_the_output_folder_as_one_table(finished):
    import pandas

    table = pandas.read_parquet(finished["out"])
    assert len(table) == VALID_IMAGES + len(UNREADABLE)
    assert list(table) == ["photo", "width", "height", "detections", "kind", "problem"]


def test_finished_run_does_not_start_ray_again(finished, archive, model_file):
    before = rows_of(finished["out"])
    resumed = detect(archive, model_file, "list.txt", "--out", finished["out"])
    output, messages = resumed.communicate()
    assert "Started a local Ray" not in messages
    assert f"{VALID_IMAGES} images processed" in output
    assert rows_of(finished["out"]) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
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
def test_invalid_argument_is_reported_before_ray_starts(archive, model_file, arguments, message):
    process = detect(archive, model_file, "photos", *arguments)
    _, messages = process.communicate()
    assert process.returncode == 2
    assert message in messages
    assert "Ray instance" not in messages
    assert "Traceback" not in messages


def test_folder_without_images_is_reported_and_nothing_is_written(archive, model_file):
    (archive / "empty").mkdir()
    process = detect(archive, model_file, "empty", "--out", "no-results")
    _, messages = process.communicate()
    assert process.returncode == 1
    assert messages.startswith("empty: no image in this folder")
    assert not (archive / "no-results" / "_plan").exists()


CRASHING_WORKER = """
import os, sys
from pathlib import Path
from cli.batch.manifest import Manifest
from cli.batch.worker import CrashJournal
with CrashJournal(Path("out"), 0) as journal:
    for image in journal.track(Manifest.read(Path("out")).chunk(0)):
        if image.name == "poison.jpg":
            os._exit(9)
"""


@pytest.fixture
def make_worker(tmp_path, model_file, monkeypatch):
    """() -> a worker in this process. Its environment variables are removed after the test, because later tests train with all threads."""
    for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        monkeypatch.setenv(name, "1")

    def make():
        from cli.batch.worker import BatchWorker

        return BatchWorker(str(tmp_path / "out"), str(model_file), EngineOptions())

    return make


def test_image_that_crashes_workers_is_skipped(tmp_path, make_worker, monkeypatch):
    from cli.batch.manifest import BatchTask, Manifest
    from cli.batch.worker import MAX_CRASHES

    monkeypatch.chdir(tmp_path)
    names = ("a.jpg", "poison.jpg", "z.jpg")
    (tmp_path / "out").mkdir()
    paths = [tmp_path / name for name in names]
    for seed, path in enumerate(paths):
        path.write_bytes(make_image(seed))
    Manifest.create(tmp_path / "out", BatchTask("tiny", "", 0.05, 0.45, (), str(tmp_path)), paths)
    for _ in range(MAX_CRASHES):
        crashed = subprocess.run([sys.executable, "-c", CRASHING_WORKER], cwd=tmp_path, env=environment(PYTHONPATH=str(ROOT)))
        assert crashed.returncode == 9
    make_worker()({"chunk": [0]})
    kinds = {row["photo"].rpartition("/")[2]: row["kind"] for row in rows_of(tmp_path / "out")}
    assert kinds == {"a.jpg": None, "poison.jpg": "worker-crash", "z.jpg": None}
    assert not list((tmp_path / "out").glob(".*.journal"))


def test_file_name_that_is_not_utf8_is_output(tmp_path, make_worker):
    from cli.batch.manifest import BatchTask, Manifest

    path = tmp_path / os.fsdecode(b"caf\xe9.jpg")
    path.write_bytes(make_image(0))
    (tmp_path / "out").mkdir()
    Manifest.create(tmp_path / "out", BatchTask("tiny", "", 0.05, 0.45, (), str(tmp_path)), [path])
    make_worker()({"chunk": [0]})
    (row,) = rows_of(tmp_path / "out")
    assert row["photo"].endswith("caf\\xe9.jpg")
    assert row["problem"] is None
