"""Writers of tensornets' .npz files, valid and malicious."""

import numpy as np

from weights.formats.tensornets.mapping import tensornets_network


def object_array(arrays):
    """Return a one-dimensional object array of these arrays."""
    values = np.empty(len(arrays), object)
    for index, array in enumerate(arrays):
        values[index] = array
    return values


def write_npz(path, arrays):
    """Write arrays, which have tensornets' names and order, like tensornets' `save`."""
    np.savez(path, names=np.array(list(arrays), np.str_), values=object_array(list(arrays.values())))


def write_tensornets(model, path):
    """Write the arrays of a model under tensornets' names."""
    write_npz(path, {theirs: model.arrays[ours] for ours, theirs in tensornets_network(model.spec).variables.items()})


class Payload:
    """An object that creates the file `marker` when it is unpickled."""

    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return open, (self.marker, "w")
