"""The image paths that command-line arguments stand for."""

from pathlib import Path

import pytest

from cli.detect.inputs import expand_image_paths
from detector.errors import SettingError


def test_a_list_means_the_paths_in_its_lines_if_lists_are_allowed(make_image, tmp_path):
    paths = [make_image(name) for name in ("b.jpg", "a name with spaces.jpg")]
    file = tmp_path / "list.txt"
    file.write_text(f"{paths[0]}\r\n\n  {paths[1]}\n{tmp_path / 'missing.jpg'}", encoding="utf-8")
    assert expand_image_paths([file], lists=True) == ([*paths, tmp_path / "missing.jpg"], [])
    assert expand_image_paths([file]) == ([file], [])
    assert expand_image_paths([tmp_path / "none.txt"], lists=True) == ([tmp_path / "none.txt"], [])


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_list_may_begin_with_a_byte_order_mark(tmp_path, encoding):
    file = tmp_path / "list.txt"
    file.write_text("ä 1.jpg\r\nb.jpg\r\n", encoding=encoding)
    assert expand_image_paths([file], lists=True) == ([Path("ä 1.jpg"), Path("b.jpg")], [])


def test_an_empty_list_is_reported_and_a_binary_list_is_an_error(tmp_path):
    file = tmp_path / "list.txt"
    file.write_text("\n\n", encoding="utf-8")
    assert expand_image_paths([file], lists=True) == ([], [f"{file}: the list has no path."])
    file.write_bytes(b"\xff\xfea")
    with pytest.raises(SettingError, match="not text in the encoding of its byte order mark"):
        expand_image_paths([file], lists=True)
    file.write_bytes(b"a.jpg\0")
    with pytest.raises(SettingError, match="this file is binary"):
        expand_image_paths([file], lists=True)


def test_a_folder_means_its_images_without_hidden_ones_copies_and_those_of_other_programs(make_image, tmp_path):
    skipped = (".a.jpg", "a.boxes.jpg", "@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg", "#recycle/b.jpg", "$RECYCLE.BIN/c.jpg", "__MACOSX/d.jpg")
    for name in (*skipped, "sub/a.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        make_image(name)
    assert expand_image_paths([tmp_path]) == ([tmp_path / "sub" / "a.jpg"], [])


def test_a_folder_that_cannot_be_read_is_reported(make_image, tmp_path, deny_reading):
    image, unreadable = make_image("a.jpg"), tmp_path / "sub"
    unreadable.mkdir()
    deny_reading(unreadable)
    assert expand_image_paths([tmp_path]) == ([image], [f"{unreadable}: Permission denied."])


def test_images_of_unsupported_formats_in_a_folder_are_reported_once(make_image, tmp_path):
    image, heic = make_image("a.jpg"), tmp_path / "b.HEIC"
    heic.write_bytes(b"x")
    (tmp_path / ".c.heic").write_bytes(b"x")
    message = f"{heic}: skipped, because Boxwright does not read this format. Convert the image to JPEG."
    assert expand_image_paths([tmp_path]) == ([image], [message])
    (tmp_path / "c.dng").write_bytes(b"x")
    several = f"{tmp_path}: 2 images skipped, such as {heic}. Boxwright does not read their formats. Convert them to JPEG."
    assert expand_image_paths([tmp_path]) == ([image], [several])
    image.unlink()
    assert expand_image_paths([tmp_path]) == ([], [several])
