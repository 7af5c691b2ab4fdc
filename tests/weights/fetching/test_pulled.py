"""A pulled file as a model."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from detector.errors import ModelFileError
from weights.catalogue import entry_of, spec_of
from weights.fetch import pull, remove
from weights.pulled import load_pulled


@pytest.mark.usefixtures("home")
def test_a_pulled_file_becomes_the_model_that_the_catalogue_says(tmp_path: Path, weights_like):
    entry = entry_of("darknet19")
    data = weights_like(entry)
    source = tmp_path / "carried here"
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
    assert remove("darknet19")
    source.unlink()


@pytest.mark.usefixtures("home")
def test_a_file_of_another_network_is_refused_by_name(tmp_path: Path):
    path = tmp_path / "short.weights"
    path.write_bytes(bytes(1000))
    with pytest.raises(ModelFileError, match=r"short\.weights: .*cut short, or belongs to another"):
        load_pulled(entry_of("darknet19"), path)
    with pytest.raises(ModelFileError, match=r"not a whole .npz"):
        load_pulled(replace(entry_of("darknet19"), format="tensornets"), path)
