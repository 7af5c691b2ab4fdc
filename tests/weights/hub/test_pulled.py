"""Loading the model of a pulled file."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from detector.errors import ModelFileError
from weights.hub.catalogue import entry_of, spec_of
from weights.hub.fetch import fetch_entry, pull
from weights.hub.pulled import load_pulled, remove_pulled


@pytest.mark.usefixtures("home")
def test_a_pulled_file_loads_as_the_model_of_its_catalogue_entry(tmp_path: Path, make_weights):
    entry = entry_of("darknet19")
    data = make_weights(entry)
    source = tmp_path / "local copy"
    source.write_bytes(data)
    model = load_pulled(entry, pull("darknet19", source=source))
    assert (model.name, model.spec) == ("darknet19", spec_of(entry))
    numbers = np.frombuffer(data[16:], np.float32)
    assert np.array_equal(model.arrays["conv1/beta"], numbers[:32])
    assert np.array_equal(model.arrays["conv6_5/kernel"].transpose(3, 2, 0, 1).ravel(), numbers[-9 * 512 * 1024 :])
    assert model.provenance["sha256"] == hashlib.sha256(data).hexdigest()
    assert (model.provenance["catalogue"], model.provenance["licence"], model.provenance["darknet.seen"]) == (
        "darknet19",
        entry.licence,
        "32",
    )
    assert remove_pulled(entry)
    source.unlink()


@pytest.mark.usefixtures("home")
def test_a_file_of_another_network_is_refused(tmp_path: Path):
    path = tmp_path / "short.weights"
    path.write_bytes(bytes(1000))
    with pytest.raises(ModelFileError, match=r"short\.weights: .*truncated, or belongs to another.*remove darknet19, then pull it again"):
        load_pulled(entry_of("darknet19"), path)
    with pytest.raises(ModelFileError, match=r"not a complete .npz.*remove darknet19, then pull it again"):
        load_pulled(replace(entry_of("darknet19"), format="tensornets"), path)


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("hashes", [{}, {"sha256": "0" * 64}])
def test_the_provenance_contains_the_hash_of_the_file(tmp_path: Path, entry_without_hash, web_server, hashes):
    path = fetch_entry(entry_without_hash)
    data = web_server.pages["/unpublished.weights"].body[:-4] + b"\0\0\0\0"
    path.write_bytes(data)
    with pytest.raises(ModelFileError, match=rf"{hashlib.sha256(data).hexdigest()} instead of .*weights remove unpublished, then pull"):
        load_pulled(replace(entry_without_hash, hashes=hashes), path)
    other_path = tmp_path / "other_path.weights"
    other_path.write_bytes(data)
    assert (
        load_pulled(replace(entry_without_hash, name="never recorded"), other_path).provenance["sha256"] == hashlib.sha256(data).hexdigest()
    )
