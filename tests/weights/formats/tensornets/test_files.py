"""Files of tensornets are written, read back and found in the catalogue."""

import sys
from dataclasses import replace

import numpy as np
import pytest

from detector.errors import ModelFileError, UnknownModel
from detector.network.architectures import tiny_yolov2
from detector.network.spec import Model
from tests.weights.formats.tensornets.networks import BACKBONE, TINY_VOC, VOC, make_labels
from tests.weights.formats.tensornets.tensornets_files import Payload, write_npz, write_tensornets
from weights.errors import FetchError
from weights.formats.tensornets.compat import fetch_from_catalogue, import_tensornets
from weights.formats.tensornets.graph import TensornetsGraph
from weights.formats.tensornets.mapping import read_tensornets, tensornets_network
from weights.hub import resolve
from weights.hub.catalogue import entries, entry_of, spec_of

pytestmark = pytest.mark.slow  # large files, and graphs of tensornets


@pytest.fixture(scope="module")
def tiny(random_arrays):
    return Model("tiny", replace(TINY_VOC, input_size=64), random_arrays(TINY_VOC.network, 4))


@pytest.fixture(scope="module")
def tiny_file(tiny, tmp_path_factory):
    path = tmp_path_factory.mktemp("tiny") / "ref_tiny_yolo_v2_voc.npz"
    write_tensornets(tiny, path)
    return path


def assert_equal(actual, expected):
    assert set(actual) == set(expected)
    for name, array in actual.items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)


def test_a_full_file_is_written_and_read_back(model, tmp_path):
    path = tmp_path / "ref_yolo_v2_voc.npz"
    write_tensornets(model, path)
    assert path.stat().st_size > 202_000_000
    read = read_tensornets(path, VOC)
    assert (read.name, read.spec, read.provenance) == ("ref_yolo_v2_voc", VOC, {"format": "tensornets", "weights": path.name})
    assert_equal(read.arrays, model.arrays)


def test_variables_are_in_the_order_of_tensornets(tiny):
    graph = TensornetsGraph.build(tiny.spec)
    with graph.session.graph.as_default():
        assert list(tensornets_network(tiny.spec).variables.values()) == [variable.name for variable in graph.output.get_weights()]


def test_pretrained_uses_the_file_that_fetch_file_returns(tiny, tiny_file):
    requested = []
    graph = TensornetsGraph.build(tiny.spec)
    graph.pretrained(lambda name: requested.append(name) or tiny_file)
    assert requested == [entry_of("tensornets-tiny-yolov2-voc").file]
    assert_equal(graph.read_back(), tiny.arrays)
    assert_equal(read_tensornets(tiny_file, tiny.spec).arrays, tiny.arrays)


def test_reading_a_backbone_ignores_the_classifier_in_its_file(random_arrays, tmp_path):
    model = Model("backbone", BACKBONE, random_arrays(BACKBONE.network, 5))
    write_tensornets(model, tmp_path / "backbone.npz")
    assert_equal(read_tensornets(tmp_path / "backbone.npz", BACKBONE).arrays, model.arrays)

    graph = TensornetsGraph.build(BACKBONE)
    graph.assign(model.arrays)
    backbone = dict(zip(tensornets_network(BACKBONE).variables.values(), graph.session.run(list(graph.variables.values())), strict=True))
    classifier = {"darknet19/logits/weights:0": np.zeros((1, 1, 1024, 1000), np.float32), "darknet19/logits/biases:0": np.zeros(1000, "f4")}
    write_npz(tmp_path / "darknet19.npz", backbone | classifier)
    assert_equal(read_tensornets(tmp_path / "darknet19.npz", BACKBONE).arrays, model.arrays)
    graph.assign({name: array * 2 for name, array in model.arrays.items()})
    graph.pretrained(lambda name: tmp_path / name)
    assert_equal(graph.read_back(), model.arrays)


def test_pretrained_requests_its_files_from_the_catalogue(monkeypatch, tmp_path):
    monkeypatch.setenv("BOXWRIGHT_HOME", str(tmp_path))
    monkeypatch.setenv("BOXWRIGHT_OFFLINE", "1")
    for name in ("tensornets-yolov2-coco", "tensornets-darknet19"):
        graph = TensornetsGraph.build(replace(spec_of(entry_of(name)), input_size=32))
        with pytest.raises(FetchError, match=f"boxwright weights pull {name} "):
            graph.pretrained()


def test_the_catalogue_has_the_addresses_and_hashes_of_tensornets(monkeypatch):
    nets, requested = import_tensornets(), {}
    pretrained = sys.modules["tensornets.pretrained"]
    monkeypatch.setattr(pretrained, "get_file", lambda *names, file_hash, **_: requested.update({names[0]: (names[1], file_hash)}))
    monkeypatch.setattr(pretrained, "parse_weights", str)
    for load in ("darknet19", "ref_yolo_v2_coco", "ref_yolo_v2_voc", "ref_tiny_yolo_v2_voc"):
        getattr(pretrained, f"load_{load}")(None, return_fn=print)
    ours = [entry for entry in entries().values() if entry.format == "tensornets"]
    assert {entry.file: (entry.addresses[0], entry.hashes["md5"]) for entry in ours} == requested
    assert nets.__version__ == "0.4.6"


def test_a_file_that_is_not_in_the_catalogue_is_not_fetched():
    with pytest.raises(UnknownModel, match=r"requests resnet50\.npz.*ref_yolo"):
        fetch_from_catalogue("resnet50.npz")


def test_a_file_of_another_network_is_refused(tiny_file, tiny, tmp_path):
    with pytest.raises(ModelFileError, match=r"voc\.npz: it contains 42 arrays, but the network has 112"):
        read_tensornets(tiny_file, VOC)
    other = replace(TINY_VOC, labels=make_labels(3), network=tiny_yolov2(make_labels(3), filters=512))
    with pytest.raises(
        ModelFileError, match=r"array 36, 'conv8/kernel', has shape \(3, 3, 1024, 1024\), but the network needs \(3, 3, 1024, 512\)"
    ):
        read_tensornets(tiny_file, other)
    with pytest.raises(ModelFileError, match="tensornets cannot use the file that it requested"):
        TensornetsGraph.build(BACKBONE).pretrained(lambda _: tiny_file)
    for invalid in (np.nan, np.inf, -1.0):
        arrays = dict(tiny.arrays) | {"conv3/variance": np.full(64, invalid, np.float32)}
        write_tensornets(replace(tiny, arrays=arrays), tmp_path / "bad.npz")
        with pytest.raises(ModelFileError, match="array 14, 'conv3/variance', contains NaN, infinity or a negative variance"):
            read_tensornets(tmp_path / "bad.npz", tiny.spec)


def test_tensornets_itself_does_not_unpickle(tmp_path):
    values = np.empty(1, object)
    values[0] = Payload(tmp_path / "ran")
    np.savez(tmp_path / "bad.npz", names=np.array(["a"]), values=values)
    graph = TensornetsGraph.build(BACKBONE)
    for use in (
        lambda: graph.pretrained(lambda _: tmp_path / "bad.npz"),
        lambda: graph.output.load(tmp_path / "bad.npz", graph.session),
    ):
        with pytest.raises(ModelFileError, match=r"its pickle names .*open"):
            use()
    assert not (tmp_path / "ran").exists()


def test_a_pulled_file_is_resolved_by_its_catalogue_name(model, tmp_path, monkeypatch):
    monkeypatch.setenv("BOXWRIGHT_HOME", str(tmp_path))
    (tmp_path / "weights").mkdir()
    entry = entry_of("tensornets-yolov2-voc")
    write_tensornets(model, tmp_path / "weights" / entry.file)
    loaded = resolve.resolve_model(entry.name)
    assert (loaded.name, loaded.spec, loaded.provenance["catalogue"]) == (entry.name, VOC, entry.name)
    assert_equal(loaded.arrays, model.arrays)
