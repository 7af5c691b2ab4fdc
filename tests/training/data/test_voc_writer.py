"""Writing of VOC annotations and data sets: round trips, and failures that leave no folder."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.voc_reader import parse_annotation, read_annotation, read_set
from training.data.voc_writer import annotation_xml, new_dataset
from training.errors import DatasetError

LABELS = st.text(st.characters(blacklist_categories=("Cs", "Cc", "Cn")), min_size=1, max_size=12).filter(lambda text: text.strip() == text)
INTEGERS = st.integers(-2000, 60_000)
FRACTIONS = st.floats(-2000, 9000, width=32)


def write_and_read(folder, boxes, labels, difficult):
    xml = annotation_xml("a.jpg", (640, 480), boxes, labels, difficult=difficult)
    (folder / "a.xml").write_bytes(xml)
    return read_annotation(folder, "a")


def objects(numbers):
    return st.lists(st.tuples(st.tuples(*[numbers] * 4), LABELS, st.booleans()), max_size=5)


def to_arrays(annotated_objects):
    boxes = np.array([box for box, _, _ in annotated_objects], np.float32).reshape(-1, 4)
    return (
        boxes,
        [label for _, label, _ in annotated_objects],
        np.array([is_difficult for _, _, is_difficult in annotated_objects], np.bool_),
    )


@given(objects(INTEGERS))
def test_integer_boxes_survive_a_round_trip_exactly(tmp_path_factory, annotated_objects):
    boxes, labels, difficult = to_arrays(annotated_objects)
    annotation = write_and_read(tmp_path_factory.mktemp("written"), boxes, labels, difficult)
    np.testing.assert_array_equal(annotation.boxes, boxes)
    assert list(annotation.labels) == labels
    np.testing.assert_array_equal(annotation.difficult, difficult)
    assert (annotation.size, annotation.filename) == ((640, 480), "a.jpg")


@given(objects(FRACTIONS))
def test_fractional_boxes_survive_a_round_trip_to_a_thousandth(tmp_path_factory, annotated_objects):
    boxes, labels, difficult = to_arrays(annotated_objects)
    annotation = write_and_read(tmp_path_factory.mktemp("written"), boxes, labels, difficult)
    np.testing.assert_allclose(annotation.boxes, boxes, atol=1e-3, rtol=0)


def test_the_file_counts_from_one_and_includes_the_last_pixel(tmp_path):
    (tmp_path / "a.xml").write_bytes(annotation_xml("a.jpg", (30, 40), np.array([[0, 1, 30, 40]], np.float32), ["dog"]))
    root = parse_annotation(tmp_path / "a.xml")
    assert [root.findtext(f"object/bndbox/{edge}") for edge in ("xmin", "ymin", "xmax", "ymax")] == ["1", "2", "30", "40"]


def test_a_real_annotation_survives_a_round_trip(shared, tmp_path):
    for sample in read_set(shared / "data" / "bccd", "val"):
        annotation = write_and_read(tmp_path, sample.boxes, sample.labels, sample.difficult)
        np.testing.assert_array_equal(annotation.boxes, sample.boxes)
        assert annotation.labels == sample.labels


@pytest.mark.parametrize("label", ["", "  ", "a\x00b", "a\x0bb", "\ud800", "\ufffe"])
def test_labels_that_xml_cannot_hold_are_refused(label):
    with pytest.raises(DatasetError, match="is blank, or has characters") as caught:
        annotation_xml("a.jpg", (30, 40), np.zeros((1, 4), np.float32), [label])
    assert str(caught.value).isascii()


def test_whitespace_around_a_label_is_removed(tmp_path):
    assert write_and_read(tmp_path, np.zeros((1, 4), np.float32), [" traffic light "], None).labels == ("traffic light",)


def test_a_new_data_set_appears_when_it_is_complete(tmp_path, save_image):
    image, out = save_image(tmp_path / "p.png", 0), tmp_path / "new" / "set"
    with new_dataset(out) as new:
        new.add("cam/a b", image, annotation_xml("a b.png", (60, 40), np.array([[0, 0, 5, 5]], np.float32), ["dog"]))
        new.write_list("train", ["cam/a b"])
        assert not out.exists()
    (sample,) = read_set(out, "train")
    assert sample.image_path.read_bytes() == image.read_bytes()
    assert [path.name for path in out.parent.iterdir()] == ["set"]


def test_a_failure_leaves_no_data_set(tmp_path, save_image):
    image = save_image(tmp_path / "p.png", 0)

    def interrupted():
        with new_dataset(tmp_path / "set") as new:
            new.add("a", image, b"<annotation/>")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [path.name for path in tmp_path.iterdir()] == ["p.png"]


@pytest.mark.parametrize("kind", ["folder", "file", "broken link"])
def test_existing_files_and_folders_are_not_overwritten(tmp_path, kind):
    out = tmp_path / "set"
    {"folder": out.mkdir, "file": out.touch, "broken link": lambda: out.symlink_to("nowhere")}[kind]()
    with pytest.raises(DatasetError, match="exists already"), new_dataset(out):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_folder_that_is_created_during_the_writing_is_not_replaced(tmp_path):
    out = tmp_path / "set"

    def write_into_taken_folder():
        with new_dataset(out):
            out.mkdir()
            (out / "mine").touch()

    with pytest.raises(DatasetError, match="exists already"):
        write_into_taken_folder()
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
    assert [path.name for path in out.iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("name", "message"), [("../a", "leads out"), ("/a", "leads out"), ("a\nb", "cannot hold"), ("twice", "two images")]
)
def test_invalid_and_repeated_names_are_refused(tmp_path, save_image, name, message):
    image = save_image(tmp_path / "p.png", 0)

    def add():
        with new_dataset(tmp_path / "set") as new:
            new.add("twice", image, b"<annotation/>")
            new.add(name, image, b"<annotation/>")

    with pytest.raises(DatasetError, match=message):
        add()
    assert [path.name for path in tmp_path.iterdir()] == ["p.png"]


@pytest.mark.parametrize("name", ["../train", "..", " ", "", "train ", ".hidden", "a\nb"])
def test_an_image_set_must_have_a_plain_name(tmp_path, name):
    with pytest.raises(DatasetError, match="plain name"), new_dataset(tmp_path / "set") as new:
        new.write_list(name, ["a"])
    assert not list(tmp_path.iterdir())


def test_the_error_of_a_full_disk_names_the_new_folder_and_not_the_source_or_a_temporary_file(tmp_path, save_image):
    resource = pytest.importorskip("resource")
    image = save_image(tmp_path / "p.png", 0, (100, 100))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(OSError, match="File too large") as caught, new_dataset(tmp_path / "set") as new:
            new.add("p", image, annotation_xml("p.png", (100, 100), np.zeros((0, 4), np.float32), ()))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.filename == str(tmp_path / "set")
    assert [path.name for path in tmp_path.iterdir()] == ["p.png"]
