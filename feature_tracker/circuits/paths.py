"""The strongest paths of a layered graph, from its first layer to its last."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import networkx as nx
import numpy as np

Node = Hashable


class Path(NamedTuple):
    """A chain of nodes, one a layer.

    Attributes:
        nodes: from the first layer to the last.
        strength: product of the edges' |weight|, taken from the first edge on.
        sign: product of the edges' signs, +1 or -1.
    """

    nodes: tuple[Node, ...]
    strength: float
    sign: int


def strongest_paths(graph: nx.DiGraph[Any], layers: Sequence[Sequence[Node]], k: int, *, weight: str) -> list[Path]:
    """The k paths of largest strength through all layers, strongest first; equal ones in the order of their nodes.

    Exact: dynamic programming keeps the k best paths into every node, layer by layer (the k-best form of Viterbi 1967).
    A path that doesn't reach the last layer, or has an edge of weight 0, is none.

    Args:
        layers: the graph's nodes, each once, in order; edges count from one layer into the next.
        weight: name of the edge attribute.
    """
    if not layers or k < 1:
        return []
    # Paths into the nodes of a layer, ascending by their nodes, so that a stable sort by strength breaks ties by them.
    paths = [Path((node,), 1.0, 1) for node in sorted(layers[0])]  # type: ignore[type-var]  # nodes of one kind compare
    for here in layers[1:]:
        found: list[Path] = []
        strengths = np.array([path.strength for path in paths])
        ends = _places([path.nodes[-1] for path in paths])
        for node in here:
            found += _best_into(node, graph.pred[node], paths, strengths, ends, k, weight)
        paths = sorted(found, key=lambda path: path.nodes)
    return sorted(paths, key=lambda path: -path.strength)[:k]


def _places(ends: Sequence[Node]) -> dict[Node, list[int]]:
    """Which paths end in which node."""
    places: dict[Node, list[int]] = {}
    for place, end in enumerate(ends):
        places.setdefault(end, []).append(place)
    return places


def _best_into(
    node: Node,
    edges: Mapping[Node, Mapping[str, float]],
    paths: Sequence[Path],
    strengths: np.ndarray,
    ends: Mapping[Node, list[int]],
    k: int,
    weight: str,
) -> list[Path]:
    weights = np.zeros(len(paths))
    for source, edge in edges.items():
        if source in ends:
            weights[ends[source]] = edge[weight]
    extended = strengths * np.abs(weights)
    best = np.argsort(-extended, kind="stable")[:k]
    return [
        Path((*paths[at].nodes, node), float(extended[at]), paths[at].sign * (1 if weights[at] > 0 else -1))
        for at in best
        if extended[at] > 0
    ]
