"""2,000 damaged annotations are read or refused with a clear error, and no file outside the folder is opened."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from training.data.voc_reader import parse_annotation, read_sample, read_set
from training.errors import DatasetError

ROOT = Path(__file__).resolve().parents[3]
COUNT = 2000
SENTINEL = "content of a file outside"

LABELIMG = """<annotation verified="yes">
	<folder>photos</folder>
	<filename>photo.jpg</filename>
	<path>/home/somebody/photos/photo.jpg</path>
	<source><database>Unknown</database></source>
	<size><width>60</width><height>40</height><depth>3</depth></size>
	<segmented>0</segmented>
	<object>
		<name>raccoon</name>
		<pose>Unspecified</pose>
		<truncated>0</truncated>
		<difficult>1</difficult>
		<bndbox><xmin>8</xmin><ymin>7</ymin><xmax>52</xmax><ymax>33</ymax></bndbox>
	</object>
	<object><name>Käfer &amp; Co</name><bndbox><xmin>1.5</xmin><ymin>2e0</ymin><xmax>30</xmax><ymax>40</ymax></bndbox></object>
</annotation>
"""
NUMBERS = ["0", "-1", "-99999", "1e5", "1e6", "1e400", "nan", "-inf", "0x10", "1_000", "٣", "", " 7 ", "9" * 5000, "12,5", "true"]
NAMES = [
    "{out}/secret.jpg",
    "../outside/secret.jpg",
    "..\\outside\\secret.jpg",
    "file://{out}/secret.jpg",
    "secret.jpg",
    "..",
    "/",
    "x" * 300,
    "%2e%2e/secret.jpg",
]
ENTITIES = [
    '<!DOCTYPE annotation [<!ENTITY e SYSTEM "file://{out}/secret.txt">]>',
    '<!DOCTYPE annotation [<!ENTITY % e SYSTEM "file://{out}/secret.dtd"> %e;]>',
    '<!DOCTYPE annotation SYSTEM "{out}/secret.dtd">',
    '<!DOCTYPE annotation [<!ENTITY e "raccoon">]>',
    '<!DOCTYPE annotation [<!ENTITY a "ha"><!ENTITY e "&a;&a;&a;&a;&a;&a;&a;&a;">]>',
]
INCLUDES = [
    '<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="file://{out}/secret.txt" parse="text"/>',
    '<?xml-stylesheet href="{out}/secret.txt"?>',
]
ENCODINGS = [
    "utf-8",
    "latin-1",
    "utf-16",
    "utf-16-le",
    "utf-32",
    "cp1252",
    "koi8-r",
    "ascii",
    "utf-7",
    "shift_jis",
    "klingon",
    "zlib",
    "../../x",
]


def mutate(rng, out):
    """Return an annotation with random faults or attacks, or without any."""
    text = LABELIMG
    for _ in range(rng.randint(0, 2)):
        text = rng.choice((_number, _name, _entity, _include, _element, _nesting))(text, rng, out)
    encoding = rng.choice(ENCODINGS) if rng.random() < 0.3 else "utf-8"
    if rng.random() < 0.3:
        text = f'<?xml version="1.0" encoding="{rng.choice((encoding, rng.choice(ENCODINGS)))}"?>{text}'
    try:
        data = bytearray(text, encoding, errors="replace")
    except LookupError:
        data = bytearray(text, "utf-8")
    for _ in range(rng.choice((0, 0, 1, 3, 12))):
        position = rng.randrange(max(len(data), 1))
        kind = rng.random()
        if kind < 0.5 and data:
            data[position % len(data)] ^= 1 << rng.randrange(8)
        elif kind < 0.7:
            del data[position : position + rng.randint(1, 40)]
        elif kind < 0.8:
            del data[position:]
        else:
            data[position:position] = rng.choice(
                [b"<", b">", b"&", b"&e;", b"&#0;", b"&#xFFFF;", b"]]>", b"<!--", b"\0", b"\xff\xfe", b"</annotation>"]
            )
    return bytes(data)


def _number(text, rng, _):
    tag = rng.choice(("xmin", "ymin", "xmax", "ymax", "width", "height", "difficult"))
    head, element, tail = text.partition(f"<{tag}>")
    return f"{head}{element}{rng.choice(NUMBERS)}<{tail.partition('<')[2]}" if element else text


def _name(text, rng, out):
    tag = rng.choice(("filename", "filename", "path", "folder", "name"))
    head, element, tail = text.partition(f"<{tag}>")
    return f"{head}{element}{rng.choice(NAMES).format(out=out)}<{tail.partition('<')[2]}" if element else text


def _entity(text, rng, out):
    replaced = rng.choice(("raccoon", "photo.jpg", "<xmin>8"))
    return rng.choice(ENTITIES).replace("{out}", str(out)) + text.replace(replaced, "&e;" if replaced != "<xmin>8" else "<xmin>&e;", 1)


def _include(text, rng, out):
    return text.replace("<folder>", rng.choice(INCLUDES).replace("{out}", str(out)) + "<folder>", 1)


def _element(text, rng, _):
    lines = text.splitlines(keepends=True)
    number = rng.randrange(len(lines))
    lines[number : number + 1] = rng.choice(([], [lines[number]] * 2, [lines[number]] * 50, [lines[number].replace("<", "<x:", 1)]))
    return "".join(lines)


def _nesting(text, rng, _):
    depth = rng.choice((10, 5000))
    return text.replace("<segmented>", "<deep>" * depth + "</deep>" * depth + "<segmented>", 1)


READ_ALL = """
import json, sys, warnings
from pathlib import Path
warnings.simplefilter("error")
folder, out = Path(sys.argv[1]), sys.argv[2]
from training.datasets.check import check_dataset
from training.datasets.repair import repair_dataset
from training.errors import DatasetError
from training.data.voc_reader import read_sample

opened = []
sys.addaudithook(lambda event, arguments: opened.append(str(arguments[0])) if event == "open" else None)
read, refusals, outside = 0, [], []
for number in range(int(sys.argv[3])):
    try:
        sample = read_sample(folder, f"{number:04}")
        sample.image_path.read_bytes()
    except DatasetError as error:
        refusals.append(str(error))
    else:
        read += 1
        if not sample.image_path.resolve().is_relative_to(folder.resolve()):
            outside.append(str(sample.image_path))
check = check_dataset(folder)
repair_dataset(check, Path(out))
repaired = check_dataset(Path(out))
texts = [finding.detail for finding in check.findings] + [label for label in check.spelling]
errors = [finding.detail for finding in repaired.findings if finding.severity == "error"]
print(json.dumps({"read": read, "refusals": refusals, "outside": outside, "opened": sorted(set(opened)), "texts": texts,
                  "left": len(repaired.inspections), "errors": errors}))
"""


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory):
    """The parent folder of a data set with damaged annotations, and the results of a process that read them."""
    root = tmp_path_factory.mktemp("fuzz")
    folder, out = root / "data", root / "outside"
    for new_folder in (folder / "Annotations", folder / "JPEGImages", out):
        new_folder.mkdir(parents=True)
    Image.new("RGB", (60, 40), "red").save(folder / "JPEGImages" / "photo.jpg")
    Image.new("RGB", (60, 40), "blue").save(out / "secret.jpg")
    (out / "secret.txt").write_text(SENTINEL)
    (out / "secret.dtd").write_text(f'<!ENTITY e "{SENTINEL}">')
    rng = random.Random(2026)
    for number in range(COUNT):
        (folder / "Annotations" / f"{number:04}.xml").write_bytes(mutate(rng, out))
    (out / "secret.xml").write_text(LABELIMG)
    (folder / "Annotations" / "0000.xml").unlink()
    (folder / "Annotations" / "0000.xml").symlink_to(out / "secret.xml")
    (folder / "Annotations" / "0001.xml").write_text(LABELIMG.replace("photo.jpg", "linked.jpg"))
    (folder / "JPEGImages" / "linked.jpg").symlink_to(out / "secret.jpg")
    command = [sys.executable, "-c", READ_ALL, str(folder), str(root / "fixed"), str(COUNT)]
    child = subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert child.returncode == 0, child.stderr[-3000:]
    return root, json.loads(child.stdout)


def test_every_mutated_file_is_read_or_refused_with_a_message(fuzzed):
    _, result = fuzzed
    assert result["read"] + len(result["refusals"]) == COUNT
    assert result["read"] > COUNT / 5
    assert len(result["refusals"]) > COUNT / 5
    assert all(message.endswith(".") and "/data/" in message for message in result["refusals"])
    assert ["leads out of the folder" in message for message in result["refusals"][:3]] == [True, True, False]
    assert max(len(message) for message in result["refusals"]) < 600


def test_nothing_outside_the_folder_is_opened(fuzzed):
    root, result = fuzzed
    inside = [path for path in result["opened"] if path.startswith(str(root))]
    allowed = (str(root / "data"), str(root / "fixed"), str(root / "."))
    assert len(inside) > COUNT / 2
    assert [path for path in inside if not path.startswith(allowed) or "outside" in path] == []
    elsewhere = [path for path in result["opened"] if path not in inside]
    assert [path for path in elsewhere if not path.endswith((".py", ".pyc", ".so")) and not path.isdecimal()] == []
    assert result["outside"] == []


def test_no_entity_is_expanded_and_no_secret_is_revealed(fuzzed):
    _, result = fuzzed
    assert not [text for text in result["texts"] + result["refusals"] if SENTINEL in text or "haha" in text]


def test_the_repaired_copy_has_no_errors(fuzzed):
    _, result = fuzzed
    assert result["left"] > COUNT / 10
    assert result["errors"] == []


@pytest.fixture
def read_one(make_dataset):
    """(content) -> the sample of an annotation with this content."""
    folder = make_dataset({"a": []})

    def read(data):
        (folder / "Annotations" / "a.xml").write_bytes(data if isinstance(data, bytes) else data.encode())
        return read_sample(folder, "a")

    return read


def test_nested_entities_are_refused(read_one):
    entities = '<!ENTITY l0 "lol">' + "".join(f'<!ENTITY l{i + 1} "{f"&l{i};" * 10}">' for i in range(9))
    with pytest.raises(DatasetError, match="not readable as XML"):
        read_one(f"<!DOCTYPE annotation [{entities}]><annotation><filename>&l9;</filename></annotation>")


@pytest.mark.parametrize("entity", ENTITIES)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_document_types_are_refused_in_every_encoding(read_one, tmp_path, entity, encoding):
    head = f'<?xml version="1.0" encoding="{encoding}"?>' + entity.replace("{out}", str(tmp_path))
    text = f"{head}<annotation><filename>&e;</filename></annotation>"
    with pytest.raises(DatasetError, match="not readable as XML"):
        read_one(text.encode(encoding))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1", "cp1252"])
def test_declared_encodings_are_read(read_one, encoding):
    label = "Käfer"
    text = f'<?xml version="1.0" encoding="{encoding.removesuffix("-sig")}"?>' + LABELIMG.replace("raccoon", label)
    sample = read_one(text.encode(encoding))
    assert sample.labels == (label, "Käfer & Co")
    assert sample.boxes.tolist() == [[7, 6, 52, 33], [0.5, 1, 30, 40]]
    assert sample.difficult.tolist() == [True, False]


@pytest.mark.parametrize("encoding", ["latin-1", "cp500"])
def test_an_undeclared_encoding_is_refused(read_one, encoding):
    with pytest.raises(DatasetError, match="not readable as XML"):
        read_one(LABELIMG.encode(encoding))


@pytest.mark.parametrize(
    ("number", "edge"), [("1.5", 0.5), ("-3", -4), (" 7\n", 6), ("1e3", 999), ("+8.", 7), ("-0", -1), ("999999", 999998)]
)
def test_floats_negative_and_large_numbers_are_read(read_one, number, edge):
    assert read_one(LABELIMG.replace("<xmin>8<", f"<xmin>{number}<")).boxes[0, 0] == edge


@pytest.mark.parametrize("number", ["1e6", "-1e6", "1e400", "9" * 5000, "inf", "nan", "0x10", "12,5", "eight", "1 2"])
def test_impossible_coordinates_are_refused(read_one, number):
    with pytest.raises(DatasetError, match=r"<xmin> is '.{1,40}'; expected a number of pixels"):
        read_one(LABELIMG.replace("<xmin>8<", f"<xmin>{number}<"))


def test_deeply_nested_and_long_files_are_refused(read_one):
    with pytest.raises(DatasetError, match="nested more than 20 levels deep"):
        read_one(LABELIMG.replace("<folder>", "<d>" * 200_000 + "</d>" * 200_000 + "<folder>"))
    assert len(read_one(LABELIMG.replace("<folder>", "<d>" * 18 + "</d>" * 18 + "<folder>")).boxes) == 2
    element = LABELIMG[LABELIMG.index("<object>") : LABELIMG.index("</object>") + 9]
    assert len(read_one(LABELIMG.replace("<folder>", element * 5000 + "<folder>")).boxes) == 5002
    with pytest.raises(DatasetError, match=r"the annotation has \d+ bytes; at most"):
        read_one(LABELIMG + " " * 8 * 2**20)


def test_the_error_of_an_unreadable_file_names_it(tmp_path):
    (tmp_path / "a.xml").mkdir()
    with pytest.raises(DatasetError, match=r"a\.xml: the annotation is missing"):
        parse_annotation(tmp_path / "a.xml")
    with pytest.raises(DatasetError, match="no VOC-style data"):
        read_set(tmp_path / "nowhere", "all")
