"""The catalogue against the official .cfg files and tensornets."""

import re
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from detector.errors import UnknownModel
from detector.network.layers import Conv, Reorg
from detector.network.shapes import parameters
from detector.network.spec import ModelSpec
from weights.formats.darknet.cfg import read_cfg
from weights.formats.layer_names import rename_layers
from weights.hub.catalogue import Entry, entries, entry_of, spec_of

NAMES = {
    "yolov2-voc": "yolov2-voc.cfg",
    "yolov2-coco": "yolov2-coco.cfg",
    "tiny-yolov2-voc": "yolov2-tiny-voc.cfg",
    "tiny-yolov2-coco": "yolov2-tiny-coco.cfg",
}


def without_names(spec: ModelSpec) -> ModelSpec:
    return replace(spec, network=rename_layers(spec.network, [str(index) for index in range(len(spec.network))]))


def test_the_catalogue_has_the_nine_models():
    assert set(entries()) == {
        *NAMES,
        "darknet19",
        "tensornets-yolov2-voc",
        "tensornets-yolov2-coco",
        "tensornets-tiny-yolov2-voc",
        "tensornets-darknet19",
    }


@pytest.mark.parametrize("name", NAMES)
def test_the_spec_of_an_entry_equals_the_official_cfg(name: str, shared: Path):
    entry = entry_of(name)
    assert without_names(spec_of(entry)) == without_names(
        read_cfg(shared / "weights" / NAMES[name], labels=entry.labels, edges=entry.edges)
    )


def test_the_backbone_is_the_first_23_layers_of_its_cfg(shared: Path):
    assert without_names(spec_of(entry_of("darknet19"))) == without_names(
        read_cfg(shared / "weights" / "darknet19_448.cfg", layers=23, edges="continuous")
    )


@pytest.mark.parametrize("dataset", ["voc", "coco"])
def test_labels_are_in_darknets_order(dataset: str, shared: Path):
    names = (shared / "weights" / f"{dataset}.names").read_text(encoding="utf-8").split("\n")
    assert list(entry_of(f"yolov2-{dataset}").labels) == [name for name in names if name]


@pytest.mark.parametrize("name", [*NAMES, "darknet19"])
def test_the_size_of_a_file_is_a_header_and_four_bytes_per_parameter(name: str):
    entry = entry_of(name)
    assert entry.sizes
    assert {size - 4 * parameters(spec_of(entry).network) for size in entry.sizes} <= {16, 20}


@pytest.mark.parametrize("entry", entries().values(), ids=lambda entry: entry.name)
def test_an_entry_is_complete(entry: Entry):
    digits = {"sha256": 64, "sha1": 40, "md5": 32}
    assert all(re.fullmatch(rf"[0-9a-f]{{{digits[algorithm]}}}", text) for algorithm, text in entry.hashes.items())
    assert entry.sizes or entry.hashes  # a file can be verified
    assert entry.description
    assert entry.licence
    assert all(urlsplit(address).scheme == "https" and urlsplit(address).hostname for address in entry.addresses)
    assert entry.addresses[0].endswith(f"/{entry.file}")
    assert len(set(entry.addresses)) == len(entry.addresses) > 0
    assert spec_of(entry).is_detector == bool(entry.labels)


def test_no_two_entries_share_a_file():
    assert len({entry.file for entry in entries().values()}) == len(entries())


def test_an_unknown_name_is_refused_with_the_known_names():
    with pytest.raises(UnknownModel, match=r"no model 'efficientdet'\. It has yolov2-voc, yolov2-coco"):
        entry_of("efficientdet")


def test_the_shipped_model_has_no_catalogue_entry():
    with pytest.raises(UnknownModel, match="everyday ships with the package; there is nothing to pull"):
        entry_of("everyday")


@pytest.mark.parametrize(("name", "order"), [("yolov2-voc", "darknet"), ("tensornets-yolov2-voc", "space-to-depth")])
def test_the_reorg_order_is_a_property_of_the_weights(name: str, order: str):
    assert [layer.order for layer in spec_of(entry_of(name)).network if isinstance(layer, Reorg)] == [order]


def test_edges_are_inclusive_for_darknets_voc_models_only():
    assert {name for name in entries() if spec_of(entry_of(name)).edges == "inclusive"} == {"yolov2-voc", "tiny-yolov2-voc"}


def test_tensornets_yolov2_differs_from_darknets_in_reorg_epsilon_and_placement_only():
    ours, theirs = spec_of(entry_of("yolov2-voc")), spec_of(entry_of("tensornets-yolov2-voc"))
    network = [replace(layer, order="darknet") if isinstance(layer, Reorg) else layer for layer in theirs.network]
    network = [replace(layer, epsilon=1e-12) if isinstance(layer, Conv) and layer.normalize else layer for layer in network]
    assert replace(theirs, network=tuple(network), fit="letterbox", resample="darknet", edges="inclusive") == ours
