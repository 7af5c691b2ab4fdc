"""The original tensornets graph as an engine."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detector.engines import split_anchors
from detector.engines.support import Precision
from detector.network.spec import Model
from weights.formats.tensornets.graph import TensornetsGraph


@dataclass(frozen=True)
class TensornetsEngine:
    """A tensornets graph with the model's arrays."""

    graph: TensornetsGraph
    name: str = "tensornets"
    precision: Precision = "float32"

    @classmethod
    def of(cls, model: Model) -> "TensornetsEngine":
        """Build the graph and assign the arrays.

        Raises NetworkError if tensornets has no such network, and MissingExtra if tensornets is not installed.
        """
        graph = TensornetsGraph.build(model.spec)
        graph.assign(model.arrays)
        return cls(graph)

    def __call__(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the network; see `detector.engines.Engine`."""
        return split_anchors(self.graph.run(images), len(self.graph.spec.anchors))
