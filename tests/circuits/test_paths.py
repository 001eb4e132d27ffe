from __future__ import annotations

import itertools
import math

import networkx as nx
import numpy as np
import pytest

from feature_tracker.circuits.paths import Path, strongest_paths
from feature_tracker.feature import Feature


def layered(
    sizes: list[int], *, seed: int, keep: float = 0.7, rounded: bool = False
) -> tuple[nx.DiGraph, list[list[Feature]]]:
    generator = np.random.default_rng(seed)
    layers = [[Feature(layer, index) for index in range(size)] for layer, size in enumerate(sizes)]
    graph = nx.DiGraph()
    for layer in layers:
        graph.add_nodes_from(layer)
    for first, second in itertools.pairwise(layers):
        for source, target in itertools.product(first, second):
            if generator.random() < keep:
                value = generator.normal()
                graph.add_edge(source, target, share=round(value) / 2 if rounded else value)
    return graph, layers


def brute_force(graph: nx.DiGraph, layers: list[list[Feature]], k: int) -> list[Path]:
    paths = []
    for nodes in itertools.product(*layers):
        edges = list(itertools.pairwise(nodes))
        if all(graph.has_edge(*edge) for edge in edges):
            weights = [graph.edges[edge]["share"] for edge in edges]
            strength = math.prod(abs(weight) for weight in weights)
            if strength > 0:
                paths.append(Path(nodes, strength, int(math.prod(np.sign(weights)))))
    return sorted(paths, key=lambda path: (-path.strength, path.nodes))[:k]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("k", [1, 5, 1000])
def test_equals_brute_force_on_small_random_graphs(seed: int, k: int) -> None:
    graph, layers = layered([4, 5, 3, 4, 2], seed=seed)
    assert strongest_paths(graph, layers, k, weight="share") == brute_force(graph, layers, k)


@pytest.mark.parametrize("seed", range(10))
def test_equal_strengths_come_in_the_order_of_their_nodes(seed: int) -> None:
    graph, layers = layered([4, 4, 4, 4], seed=seed, rounded=True)
    paths = strongest_paths(graph, layers, 12, weight="share")
    assert len({path.strength for path in paths}) < len(paths)
    assert paths == brute_force(graph, layers, 12)


def test_no_way_through_gives_no_path() -> None:
    graph, layers = layered([3, 3, 3], seed=0)
    graph.remove_edges_from(list(graph.in_edges(layers[2])))
    assert strongest_paths(graph, layers, 3, weight="share") == []
    assert strongest_paths(graph, [], 3, weight="share") == []
