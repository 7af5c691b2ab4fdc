"""`boxwright detect`: what it prints, writes and refuses."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cli.detect.backends import Finder
from cli.detect.found import Wanted
from cli.detect.photo_paths import photo_paths
from detector.detector import Detector
from detector.engines.onnxruntime import OnnxEngine
from detector.errors import SettingError
from detector.imaging.image import read_image, read_reduced
from service.schemas.detections import Detection
from training.data.voc_reader import read_annotation
from weights.formats.safetensors import save_model

ROOT = Path(__file__).resolve().parents[2]


def test_the_table_has_every_box(boxwright, model_file, photo, tiny_model):
    path = photo("dog.jpg")
    found = Detector(tiny_model.spec, OnnxEngine.of(tiny_model)).detect(read_image(path.read_bytes()), score_threshold=0.05)
    ended = boxwright("detect", path, "--model", model_file, "--confidence", "0.05")
    assert ended.code == 0
    assert ended.err == ""
    assert len(found) > 0
    assert sum(ended.out.count(f" {label} ") for label in tiny_model.spec.labels) == len(found)
    assert all(f"{score:.3f}" in ended.out for score in found.scores)


def test_a_photo_without_anything_says_so(boxwright, model_file, photo):
    ended = boxwright("detect", photo("dog.jpg"), "--model", model_file, "--confidence", "1")
    assert ended.code == 0
    assert "nothing found" in ended.out


def test_json_is_one_line_for_each_photo_and_nothing_else(boxwright, model_file, photo):
    paths = [photo("one.jpg"), photo("three.png", 31, 90)]
    ended = boxwright("detect", *paths, "--model", model_file, "--json", "--confidence", "0.05")
    lines = [json.loads(line) for line in ended.out.splitlines()]
    assert ended.err == ""
    assert [line["photo"] for line in lines] == [str(path) for path in paths]
    assert [line["image"] for line in lines] == [{"width": 80, "height": 50}, {"width": 31, "height": 90}]
    assert all(list(line) == ["photo", "model", "image", "detections"] for line in lines)
    assert list(lines[0]["detections"][0]) == ["label", "score", "box"]


def test_a_photo_that_cannot_be_read_is_named_and_the_others_go_on(boxwright, model_file, photo, tmp_path):
    text, missing = tmp_path / "notes.txt", tmp_path / "missing.jpg"
    text.write_text("not a photo")
    ended = boxwright("detect", photo("a.jpg"), text, missing, photo("b.jpg"), "--model", model_file, "--json")
    assert ended.code == 1
    assert [json.loads(line)["photo"] for line in ended.out.splitlines()] == [str(tmp_path / "a.jpg"), str(tmp_path / "b.jpg")]
    complaints = ended.err.splitlines()
    assert [complaint.partition(": ")[0] for complaint in complaints] == [str(text), str(missing)]
    assert all(len(complaint.partition(": ")[2]) > 10 for complaint in complaints)


def test_where_no_photo_can_be_read_there_is_no_table(boxwright, model_file, tmp_path):
    ended = boxwright("detect", tmp_path / "missing.jpg", "--model", model_file)
    assert (ended.code, ended.out) == (1, "")


def test_copies_are_annotated_and_sources_left_alone(boxwright, model_file, photo, tmp_path):
    path, out = photo("dog.jpg"), tmp_path / "new" / "folder"
    before = path.read_bytes()
    ended = boxwright("detect", path, "--model", model_file, "--out", out, "--confidence", "0.01", "--json")
    copy = out / "dog.boxes.jpg"
    assert json.loads(ended.out)["annotated"] == str(copy)
    assert list(out.iterdir()) == [copy]
    assert path.read_bytes() == before
    difference = np.abs(np.asarray(Image.open(copy), np.int16) - read_image(before))
    assert difference.shape == (50, 80, 3)
    assert difference.max() > 100  # boxes are drawn


def antialiased(tiny_model, tmp_path):
    """A model that is content with a large JPEG at a reduced scale, and its file."""
    model = replace(tiny_model, spec=replace(tiny_model.spec, resample="antialiased"))
    save_model(model, tmp_path / "antialiased.safetensors")
    return model, tmp_path / "antialiased.safetensors"


@pytest.mark.parametrize("annotate", [False, True])
def test_a_large_photo_has_the_scores_that_the_service_gives_it(tiny_model, photo, tmp_path, annotate):
    model, file = antialiased(tiny_model, tmp_path)
    path = photo("large.jpg", 900, 700)
    found = Finder.load(str(file), "onnxruntime", Wanted(0.01, 0.45, (), annotate)).find(path)
    detector = Detector(model.spec, OnnxEngine.of(model))
    prepared = detector.prepare(read_reduced(path.read_bytes(), detector.enough))
    expected = detector.select(detector.network(prepared.pixels[None])[0], prepared, score_threshold=0.01)
    assert list(found.detections) == Detection.from_detections(expected, model.spec.labels) != []
    assert (found.width, found.height) == (900, 700)


def test_copies_of_large_photos_are_large(boxwright, tiny_model, photo, tmp_path):
    _, file = antialiased(tiny_model, tmp_path)
    ended = boxwright("detect", photo("large.jpg", 900, 700), "--model", file, "--out", tmp_path / "out")
    assert ended.code == 0
    assert read_image((tmp_path / "out" / "large.boxes.jpg").read_bytes()).shape == (700, 900, 3)


def test_copies_never_take_the_name_of_a_photo_or_of_one_another(boxwright, model_file, photo, tmp_path):
    paths = [photo("dog.jpg"), photo("dog.png"), photo("dog-2.boxes.jpg"), photo("other/dog.jpg")]
    before = [path.read_bytes() for path in paths]
    boxwright("detect", *paths, "--model", model_file, "--out", tmp_path)
    assert [path.read_bytes() for path in paths] == before
    copies = {path.name for path in tmp_path.glob("*.boxes*.jpg")} - {"dog-2.boxes.jpg"}
    assert copies == {"dog.boxes.jpg", "dog-3.boxes.jpg", "dog-4.boxes.jpg", "dog-2.boxes.boxes.jpg"}


def test_copies_of_an_earlier_run_are_replaced(boxwright, model_file, photo, tmp_path):
    for _ in range(2):
        boxwright("detect", photo("dog.jpg"), "--model", model_file, "--out", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["dog.boxes.jpg"]


def test_classes_keep_only_their_own(boxwright, model_file, photo):
    ended = boxwright("detect", photo("dog.jpg"), "--model", model_file, "--classes", "dog", "--confidence", "0.01", "--json")
    assert {detection["label"] for detection in json.loads(ended.out)["detections"]} == {"dog"}


def test_an_unknown_class_is_refused_with_the_known_ones(boxwright, model_file, photo):
    ended = boxwright("detect", photo("dog.jpg"), "--model", model_file, "--classes", "unicorn")
    assert ended.code == 2
    assert all(label in ended.err for label in ("unicorn", "cat", "dog", "person"))


@pytest.mark.parametrize("label", ["[red]", "[/]", "a\\b"])
def test_names_are_printed_as_they_are(boxwright, photo, tmp_path, tiny_model, label):
    from dataclasses import replace

    from weights.formats.safetensors import save_model

    model = replace(tiny_model, spec=replace(tiny_model.spec, labels=(label, "dog", "person")))
    save_model(model, tmp_path / "odd.safetensors")
    ended = boxwright("detect", photo("[bold]dog.jpg"), "--model", tmp_path / "odd.safetensors", "--confidence", "0.01", "--classes", label)
    assert ended.code == 0
    assert label in ended.out


@pytest.mark.parametrize(("count", "shown"), [(1, False), (3, True)])
def test_a_terminal_shows_a_bar_for_many_photos_and_the_output_stays_clean(model_file, photo, count, shown):
    paths = [str(photo(f"{index}.jpg")) for index in range(count)]
    command = [sys.executable, "-m", "cli.main", "detect", *paths, "--model", str(model_file), "--json"]
    terminal, end = os.openpty()
    ended = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=end, check=True, text=True, env=os.environ | {"TERM": "xterm"})
    os.close(end)
    os.set_blocking(terminal, False)
    try:
        bar = os.read(terminal, 65536).decode()
    except OSError:  # nothing was written
        bar = ""
    os.close(terminal)
    assert ("detecting" in bar) == shown
    assert [json.loads(line)["photo"] for line in ended.stdout.splitlines()] == paths


def test_a_folder_that_cannot_be_written_is_refused(boxwright, model_file, photo, tmp_path):
    (tmp_path / "taken").write_text("a file where the folder should be")
    ended = boxwright("detect", photo("dog.jpg"), "--model", model_file, "--out", tmp_path / "taken" / "out")
    assert ended.code == 2
    assert ended.err.startswith("boxwright: ")
    assert ended.err.count("\n") == 1
    assert "taken" in ended.err


def named(ended):
    return [Path(json.loads(line)["photo"]) for line in ended.out.splitlines()]


def test_a_folder_means_the_photos_in_it_and_below(boxwright, model_file, photo, tmp_path):
    paths = [photo(f"album/{name}") for name in ("b.jpg", "a.png", "far/below/c.jpg")]
    for left_out in ("album/.hidden.jpg", "album/.thumbnails/a.jpg", "album/a.boxes.jpg"):
        photo(left_out)
    (tmp_path / "album" / "notes.txt").write_text("no photo")
    ended = boxwright("detect", tmp_path / "album", "--model", model_file, "--jsonl")
    assert (ended.code, ended.err) == (0, "")
    assert named(ended) == sorted(paths)


def test_a_pattern_means_the_files_that_match_unless_a_file_is_called_so(boxwright, model_file, photo, tmp_path):
    paths = [photo(name) for name in ("1.jpg", "2.jpg", "far/3.jpg", "[12].png")]
    ended = boxwright("detect", tmp_path / "**" / "[12].jpg", tmp_path / "[12].png", "--model", model_file, "--json")
    assert named(ended) == [paths[0], paths[1], paths[3]]


def test_folders_and_patterns_without_a_photo_are_told_and_the_others_go_on(boxwright, model_file, photo, tmp_path):
    (tmp_path / "empty").mkdir()
    ended = boxwright("detect", tmp_path / "empty", tmp_path / "*.gif", photo("a.jpg"), "--model", model_file, "--json")
    assert ended.code == 1
    assert named(ended) == [tmp_path / "a.jpg"]
    first, second = ended.err.splitlines()
    assert first.startswith(f"{tmp_path / 'empty'}: no photo")
    assert second == f"{tmp_path / '*.gif'}: no file matches this pattern."


def test_a_list_means_the_paths_in_its_lines_where_lists_are_meant(photo, tmp_path):
    paths = [photo(name) for name in ("b.jpg", "a name with spaces.jpg")]
    file = tmp_path / "list.txt"
    file.write_text(f"{paths[0]}\r\n\n  {paths[1]}\n{tmp_path / 'gone.jpg'}", encoding="utf-8")
    assert photo_paths([file], lists=True) == ([*paths, tmp_path / "gone.jpg"], [])
    assert photo_paths([file]) == ([file], [])
    assert photo_paths([tmp_path / "none.txt"], lists=True) == ([tmp_path / "none.txt"], [])


def test_a_list_of_nothing_is_told_and_one_that_is_no_text_refused(tmp_path):
    file = tmp_path / "list.txt"
    file.write_text("\n\n", encoding="utf-8")
    assert photo_paths([file], lists=True) == ([], [f"{file}: no path in this list."])
    file.write_bytes(b"a.jpg\0")
    with pytest.raises(SettingError, match="bytes of 0"):
        photo_paths([file], lists=True)


def test_what_may_never_end_is_refused(boxwright, model_file, tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    ended = boxwright("detect", tmp_path / "pipe.jpg", "/dev/zero", "--model", model_file)
    assert (ended.code, ended.out) == (1, "")
    for line, path in zip(ended.err.splitlines(), (tmp_path / "pipe.jpg", "/dev/zero"), strict=True):
        assert line.startswith(f"{path}: not a plain file")
        assert "pipe it into '-'" in line


def test_standard_input_is_read(model_file, photo, tmp_path):
    command = [sys.executable, "-m", "cli.main", "detect", "-", "--model", str(model_file), "--json", "--out", str(tmp_path / "out")]
    with photo("a.jpg").open("rb") as file:
        ended = subprocess.run(command, cwd=ROOT, stdin=file, capture_output=True, check=True)
    assert json.loads(ended.stdout)["annotated"] == str(tmp_path / "out" / "stdin.boxes.jpg")


def test_more_bytes_than_any_photo_has_are_refused_from_a_file_of_holes(boxwright, model_file, tmp_path):
    with (tmp_path / "large.jpg").open("wb") as file:
        file.truncate(2**40)
    ended = boxwright("detect", tmp_path / "large.jpg", "--model", model_file)
    assert ended.code == 1
    assert "more than 536,870,912 bytes" in ended.err


def test_voc_annotations_say_the_same_boxes_as_json(boxwright, model_file, photo, tmp_path):
    path = photo("dog.jpg")
    ended = boxwright("detect", path, "--model", model_file, "--confidence", "0.05", "--voc", tmp_path / "xml", "--json")
    answer = json.loads(ended.out)
    assert answer["voc"] == str(tmp_path / "xml" / "dog.xml")
    read = read_annotation(tmp_path / "xml", "dog")
    assert (read.filename, read.size) == ("dog.jpg", (80, 50))
    assert read.labels == tuple(found["label"] for found in answer["detections"])
    np.testing.assert_allclose(read.boxes, [list(found["box"].values()) for found in answer["detections"]], atol=1e-3)


def test_a_photo_without_anything_gets_an_annotation_without_objects(boxwright, model_file, photo, tmp_path):
    boxwright("detect", photo("dog.jpg"), "--model", model_file, "--confidence", "1", "--voc", tmp_path)
    assert read_annotation(tmp_path, "dog").labels == ()


def test_annotations_that_are_there_are_left_alone(boxwright, model_file, photo, tmp_path):
    (tmp_path / "dog.xml").write_text("corrected by hand")
    ended = boxwright("detect", photo("dog.jpg"), photo("cat.jpg"), "--model", model_file, "--voc", tmp_path)
    assert ended.code == 1
    assert f"{tmp_path / 'dog.xml'} is there already" in ended.err
    assert (tmp_path / "dog.xml").read_text() == "corrected by hand"
    assert (tmp_path / "cat.xml").is_file()
