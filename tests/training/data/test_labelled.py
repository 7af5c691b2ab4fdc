"""ImageSets/labelled.json: what is read, refused, reported by the check and kept by a repaired copy."""

import json
import random
import time

import pytest

from training.data.labelled import LABELLED_FILE, MAX_LABELLED_BYTES, labelled_text, read_labelled
from training.data.voc_layout import find_annotation
from training.data.voc_reader import read_set
from training.datasets.check import check_dataset
from training.datasets.repair import repair_dataset
from training.datasets.split import split_dataset, write_split
from training.errors import DatasetError

DOG, CAT = ("dog", 1, 1, 30, 40), ("cat", 31, 1, 60, 40)


@pytest.fixture
def partial(make_dataset):
    """(content of labelled.json) -> a data set of a dog and a cat, one of them in a subfolder."""

    def make(content):
        folder = make_dataset({"a": [DOG], "sub/b": [CAT], "c": [DOG, CAT]}, {"train": ["a", "sub/b"], "val": ["c"]})
        text = content if isinstance(content, bytes | str) else json.dumps(content)
        (folder / LABELLED_FILE).write_bytes(text if isinstance(text, bytes) else text.encode())
        return folder

    return make


def test_listed_images_have_their_labels_and_all_others_every_label(partial):
    folder = partial({"sub/b": ["cat", "cow"], "c": []})
    assert [sample.labelled for sample in read_set(folder, "train")] == [None, frozenset({"cat", "cow"})]
    assert [sample.labelled for sample in read_set(folder, "val")] == [frozenset()]


def test_a_data_set_without_the_file_is_labelled_for_every_class(make_dataset):
    folder = make_dataset({"a": [DOG]})
    assert read_labelled(folder) == {}
    assert read_set(folder, "all")[0].labelled is None


@pytest.mark.parametrize(("content", "message"), [
    ("", r"labelled\.json is not valid JSON: Expecting value: line 1"),
    ('{"a": ["dog"],}', "is not valid JSON"),
    (b'{"\xff": []}', "is not UTF-8 text"),
    ("[" * 100_000, "nested too deeply"),
    ('{"a": [], "a": []}', "'a' appears twice"),
    ([["a", ["dog"]]], "expected a JSON object of image names, got a list"),
    (None, "expected a JSON object of image names, got null"),
    ({"a": "dog"}, "'a': expected a list of labels, got a string"),
    ({"a": ["dog", 7]}, "'a': expected a list of labels, got a number in the list"),
    ({"a": {"dog": 1}}, "'a': expected a list of labels, got an object"),
    ({"a": [" "]}, "the label ' ' is blank"),
    ({"a": ["dog "]}, "the label 'dog ' is blank or has whitespace around it"),
    ({"../a": ["dog"]}, "leads out of the folder"),
    ({"a\n": ["dog"]}, "has characters that a list of names cannot hold"),
    ({"a.jpg": ["dog"]}, r"'a\.jpg' has no annotation"),
])  # fmt: skip
def test_content_that_does_not_map_names_to_labels_is_refused(partial, content, message):
    folder = partial("null" if content is None else content)
    with pytest.raises(DatasetError, match=message):
        read_set(folder, "train")


def test_a_file_that_is_too_large_is_not_read(partial):
    folder = partial({})
    with (folder / LABELLED_FILE).open("r+b") as file:
        file.truncate(MAX_LABELLED_BYTES + 1)
    with pytest.raises(DatasetError, match=f"the file has {MAX_LABELLED_BYTES + 1} bytes; at most {MAX_LABELLED_BYTES} are read"):
        read_set(folder, "train")


def test_a_link_out_of_the_folder_is_refused(partial, tmp_path):
    folder = partial({})
    (folder / LABELLED_FILE).unlink()
    (tmp_path / "secret.json").write_text("{}")
    (folder / LABELLED_FILE).symlink_to(tmp_path / "secret.json")
    with pytest.raises(DatasetError, match="link that leads out of the folder"):
        read_set(folder, "train")


def test_random_damage_never_causes_another_error(partial):
    folder = partial({"a": ["dog"], "sub/b": ["cat", "dög"]})
    data, rng, refused = (folder / LABELLED_FILE).read_bytes(), random.Random(0), 0
    for _ in range(300):
        damaged = bytearray(data)
        for _ in range(rng.randint(1, 3)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        (folder / LABELLED_FILE).write_bytes(damaged)
        try:
            read_set(folder, "train")
        except DatasetError:
            refused += 1
    assert refused > 200


def test_written_labels_are_read_back(partial):
    labelled = {"sub/b": frozenset({"cat", 'a "quoted" dög'}), "a": frozenset()}
    folder = partial(labelled_text(labelled))
    assert read_labelled(folder) == labelled
    assert (folder / LABELLED_FILE).read_text(encoding="utf-8").splitlines()[1] == '"a": [],'


def findings(folder, *image_sets, **options):
    return {(finding.kind, finding.where) for finding in check_dataset(folder, image_sets, **options).findings}


def test_the_check_reports_missing_names_and_unused_labels(partial):
    folder = partial({"missing": ["dog"], "a": ["dog", "cow"], "c": ["Cat"], "sub/b": ["dog"]})  # sub/b has a box of a cat, which is fine
    expected = {("labelled-name", "missing"), ("labelled-label", LABELLED_FILE.name), ("spelling", LABELLED_FILE.name)}
    assert findings(folder) == expected
    assert findings(folder, "train") == {("labelled-name", "missing"), ("spelling", LABELLED_FILE.name)}  # val may have a cow
    assert ("unknown-label", LABELLED_FILE.name) in findings(folder, labels=["dog", "cat"])


def test_the_check_reports_an_unreadable_file(partial):
    (finding,) = check_dataset(partial("{")).findings
    assert (finding.kind, finding.severity) == ("labelled-file", "error")
    assert "is not valid JSON" in finding.detail


def test_a_repaired_copy_has_the_remaining_images_and_one_spelling(partial, tmp_path):
    folder = partial({"a": ["Dog"], "c": ["cat", "cow"], "sub/b": []})
    (folder / "JPEGImages" / "c.jpg").write_bytes(b"broken")
    repair_dataset(check_dataset(folder), tmp_path / "fixed")
    assert read_labelled(tmp_path / "fixed") == {"a": frozenset({"dog"}), "sub/b": frozenset()}


def test_an_unreadable_file_prevents_a_repaired_copy(partial, tmp_path):
    folder = partial("{")
    with pytest.raises(DatasetError, match="is not valid JSON"):
        repair_dataset(check_dataset(folder), tmp_path / "fixed")
    assert not (tmp_path / "fixed").exists()


def test_a_split_leaves_the_file_as_it_is(partial):
    folder = partial({"a": ["dog"]})
    before = (folder / LABELLED_FILE).read_bytes()
    write_split(folder, split_dataset(read_set(folder, "all"), val=0.34), force=True)
    assert (folder / LABELLED_FILE).read_bytes() == before
    labelled = {sample.name: sample.labelled for image_set in ("train", "val") for sample in read_set(folder, image_set)}
    assert labelled == {"a": frozenset({"dog"}), "sub/b": None, "c": None}


def test_labelled_json_of_everyday_names_existing_images(shared):
    folder = shared / "data" / "everyday"
    labelled = read_labelled(folder)
    assert len(labelled) == 4546
    for name in sorted(labelled)[::100]:
        assert find_annotation(folder, name) is not None
    assert all(sample.labelled is None for sample in read_set(folder, "val"))


def test_a_repeated_name_among_many_is_found_in_linear_time(partial):
    names = [f"x{number}" for number in range(100_000)]
    folder = partial("{" + ", ".join(f'"{name}": []' for name in [*names, names[-1]]) + "}")
    before = time.thread_time()
    with pytest.raises(DatasetError, match="'x99999' appears twice"):
        read_labelled(folder)
    assert time.thread_time() - before < 10  # quadratic time is minutes; a garbage collection can take a second
