"""The order of images in each epoch."""

from collections import Counter
from collections.abc import Sequence
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from training.data.voc_reader import Sample


def repeat_factors(samples: Sequence[Sample], threshold: float) -> NDArray[np.float64]:
    """Return how often to show each image (N,), relative to the others, determined by its rarest class.

    A class that is in a fraction f of the images has the factor sqrt(threshold / f), but at least 1.

    Source: repeat-factor sampling, Gupta et al., arXiv 1908.03195, section 5.
    """
    images = Counter(label for sample in samples for label in set(sample.labels))
    factors = {label: max(1.0, sqrt(threshold * len(samples) / count)) for label, count in images.items()}
    return np.array([max((factors[label] for label in sample.labels), default=1.0) for sample in samples])


def random_order(rng: np.random.Generator, count: int, weights: NDArray[np.float64] | None) -> NDArray[np.intp]:
    """Return `count` indices in random order: each once, or in proportion to the weights (count,) to within one."""
    if weights is None:
        return rng.permutation(count)
    cumulative = np.cumsum(weights)
    positions = (np.arange(count) + rng.random()) / count * cumulative[-1]  # systematic sampling
    return rng.permutation(np.minimum(np.searchsorted(cumulative, positions, side="right"), count - 1))
