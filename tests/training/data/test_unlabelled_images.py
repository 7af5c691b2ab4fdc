"""Background images and images for the memory: which files of a folder are used, and which are reported."""

import logging

import pytest

from training.data.unlabelled_images import unlabelled_images
from training.errors import DatasetError
from training.features.replay import replay_samples


def make(folder, names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


@pytest.mark.parametrize(
    ("names", "used"),
    [
        (["b.jpg", "A.PNG"], ["A.PNG", "b.jpg"]),
        (["day/a.jpg", "night/deep/b.jpg", "c.jpg"], ["c.jpg", "day/a.jpg", "night/deep/b.jpg"]),
        (["a.jpg", "a.boxes.jpg", ".b.jpg", "@eaDir/a.jpg", ".thumbs/c.jpg"], ["a.jpg"]),
        (["JPEGImages/a.jpg", "SegmentationClass/a.png"], ["JPEGImages/a.jpg"]),
    ],
)
def test_all_images_in_and_below_a_folder_are_used(tmp_path, caplog, names, used):
    assert [path.relative_to(tmp_path).as_posix() for path in unlabelled_images(make(tmp_path, names), "")] == used
    assert [sample.image_path for sample in replay_samples(tmp_path)] == unlabelled_images(tmp_path, "")
    assert caplog.text == ""


@pytest.mark.parametrize("name", ["b.HEIC", "phone/b.heif", "b.avif", "b.dng"])
def test_images_of_unsupported_formats_are_reported(tmp_path, caplog, name):
    with caplog.at_level(logging.WARNING):
        assert len(replay_samples(make(tmp_path, ["a.jpg", name]))) == 1
    assert f"1 image of unsupported formats, such as {tmp_path / name}: skipped. Convert them to JPEG." in caplog.text
    (tmp_path / "a.jpg").unlink()
    with pytest.raises(DatasetError, match=r"there is no image that can be read, but 1 image of .*Convert them to JPEG"):
        replay_samples(tmp_path)


def test_a_folder_without_images_is_refused_with_advice(tmp_path):
    with pytest.raises(DatasetError, match=r"there are no images\. Give a folder of images"):
        replay_samples(tmp_path)
