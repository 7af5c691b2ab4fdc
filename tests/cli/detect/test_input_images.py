"""Which images `boxwright detect` reads: folders, patterns, standard input, and what is refused."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def test_an_unreadable_image_is_named_and_the_others_are_processed(boxwright, model_file, make_image, tmp_path):
    text, missing = tmp_path / "notes.txt", tmp_path / "missing.jpg"
    text.write_text("not an image")
    result = boxwright("detect", make_image("a.jpg"), text, missing, make_image("b.jpg"), "--model", model_file, "--json")
    assert result.code == 1
    assert [json.loads(line)["photo"] for line in result.out.splitlines()] == [str(tmp_path / "a.jpg"), str(tmp_path / "b.jpg")]
    messages = [line.partition(": ") for line in result.err.splitlines()]
    assert [path for path, _, _ in messages] == [str(text), str(missing)]
    assert all(len(message) > 10 for _, _, message in messages)


def test_nothing_is_printed_to_stdout_if_no_image_can_be_read(boxwright, model_file, tmp_path):
    result = boxwright("detect", tmp_path / "missing.jpg", "--model", model_file)
    assert (result.code, result.out) == (1, "")


def image_paths(result):
    return [Path(json.loads(line)["photo"]) for line in result.out.splitlines()]


def test_a_folder_means_the_images_in_it_and_below(boxwright, model_file, make_image, tmp_path):
    paths = [make_image(f"album/{name}") for name in ("b.jpg", "a.png", "deeply/nested/c.jpg")]
    for ignored in ("album/.hidden.jpg", "album/.thumbnails/a.jpg", "album/a.boxes.jpg"):
        make_image(ignored)
    (tmp_path / "album" / "notes.txt").write_text("no image")
    result = boxwright("detect", tmp_path / "album", "--model", model_file, "--jsonl")
    assert (result.code, result.err) == (0, "")
    assert image_paths(result) == sorted(paths)


def test_a_pattern_means_the_matching_files_unless_a_file_has_that_name(boxwright, model_file, make_image, tmp_path):
    paths = [make_image(name) for name in ("1.jpg", "2.jpg", "nested/3.jpg", "[12].png")]
    result = boxwright("detect", tmp_path / "**" / "[12].jpg", tmp_path / "[12].png", "--model", model_file, "--json")
    assert image_paths(result) == [paths[0], paths[1], paths[3]]


def test_folders_and_patterns_without_images_are_reported_and_the_others_processed(boxwright, model_file, make_image, tmp_path):
    (tmp_path / "empty").mkdir()
    result = boxwright("detect", tmp_path / "empty", tmp_path / "*.gif", make_image("a.jpg"), "--model", model_file, "--json")
    assert result.code == 1
    assert image_paths(result) == [tmp_path / "a.jpg"]
    first, second = result.err.splitlines()
    assert first.startswith(f"{tmp_path / 'empty'}: no image in this folder")
    assert second == f"{tmp_path / '*.gif'}: no file matches this pattern."


def test_pipes_and_devices_are_not_read(boxwright, model_file, tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    result = boxwright("detect", tmp_path / "pipe.jpg", "/dev/zero", "--model", model_file)
    assert (result.code, result.out) == (1, "")
    for line, path in zip(result.err.splitlines(), (tmp_path / "pipe.jpg", "/dev/zero"), strict=True):
        assert line.startswith(f"{path}: this is not a regular file")
        assert "To read a pipe, use '-'" in line


def test_standard_input_is_read(model_file, make_image, tmp_path):
    command = [sys.executable, "-m", "cli.main", "detect", "-", "--model", str(model_file), "--json", "--out", str(tmp_path / "out")]
    with make_image("a.jpg").open("rb") as file:
        result = subprocess.run(command, cwd=ROOT, stdin=file, capture_output=True, check=True)
    assert json.loads(result.stdout)["annotated"] == str(tmp_path / "out" / "stdin.boxes.jpg")


def test_a_file_larger_than_any_image_is_an_error(boxwright, model_file, tmp_path):
    with (tmp_path / "large.jpg").open("wb") as file:
        file.truncate(2**40)
    result = boxwright("detect", tmp_path / "large.jpg", "--model", model_file)
    assert result.code == 1
    assert "more than 536,870,912 bytes" in result.err


@pytest.mark.parametrize("url", ["rtsp://camera.local:554/live", "rtsps://10.0.0.2/live", "rtmp://camera.local/live"])
def test_the_stream_of_a_camera_gets_the_command_that_saves_an_image(boxwright, url):
    result = boxwright("detect", url)
    assert result.code == 1
    assert result.err == (
        f"{url}: streams of cameras are not read. Run: ffmpeg -i '{url}' -frames:v 1 image.jpg && boxwright detect image.jpg\n"
    )


def test_a_url_gets_the_command_that_downloads_it(boxwright):
    result = boxwright("detect", "https://example.com/dog.jpg")
    assert result.code == 1
    assert result.err == (
        "https://example.com/dog.jpg: URLs are not downloaded. "
        "Run: curl --silent --location 'https://example.com/dog.jpg' | boxwright detect -\n"
    )
