"""The strongest paths of a layered graph, from its first layer to its last."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import networkx as nx
import numpy as np

Node = Hashable


class Path(NamedTuple):
    """A chain of nodes, one per layer.

    Attributes:
        nodes: from the first layer to the last.
        strength: product of the edges' |weight|, multiplied in this order.
        sign: product of the edges' signs, +1 or -1.
    """

    nodes: tuple[Node, ...]
    strength: float
    sign: int


def strongest_paths(graph: nx.DiGraph[Any], layers: Sequence[Sequence[Node]], k: int, *, weight: str) -> list[Path]:
    """The k strongest paths through all layers, strongest first; ties are ordered by their nodes.

    Exact: dynamic programming keeps the k strongest paths into every node, layer by layer (the k-best form of Viterbi
    1967). A path has to reach the last layer, over edges whose weight is not 0.

    Args:
        layers: the graph's nodes, each once, in order. Only edges from one layer into the next count.
        weight: name of the edge attribute.
    """
    if not layers or k < 1:
        return []
    # Paths into one layer are kept ascending by their nodes, so that stable sorts by strength break ties by nodes.
    paths = [Path((node,), 1.0, 1) for node in sorted(layers[0])]  # type: ignore[type-var]  # nodes of one kind compare
    for layer in layers[1:]:
        extended: list[Path] = []
        strengths = np.array([path.strength for path in paths])
        paths_into = _paths_by_end(paths)
        for node in layer:
            extended += _strongest_into(node, graph.pred[node], paths, strengths, paths_into, k, weight)
        paths = sorted(extended, key=lambda path: path.nodes)
    return sorted(paths, key=lambda path: -path.strength)[:k]


def _paths_by_end(paths: Sequence[Path]) -> dict[Node, list[int]]:
    """By last node, the numbers of the paths that end in it."""
    by_end: dict[Node, list[int]] = {}
    for number, path in enumerate(paths):
        by_end.setdefault(path.nodes[-1], []).append(number)
    return by_end


def _strongest_into(
    node: Node,
    edges: Mapping[Node, Mapping[str, float]],
    paths: Sequence[Path],
    strengths: np.ndarray,
    paths_into: Mapping[Node, list[int]],
    k: int,
    weight: str,
) -> list[Path]:
    """The k strongest extensions of `paths` by an edge into a node."""
    weights = np.zeros(len(paths))
    for source, edge in edges.items():
        if source in paths_into:
            weights[paths_into[source]] = edge[weight]
    extended = strengths * np.abs(weights)
    strongest = np.argsort(-extended, kind="stable")[:k]
    return [
        Path(
            nodes=(*paths[number].nodes, node),
            strength=float(extended[number]),
            sign=paths[number].sign * (1 if weights[number] > 0 else -1),
        )
        for number in strongest
        if extended[number] > 0
    ]
