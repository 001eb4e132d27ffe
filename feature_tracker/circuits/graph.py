"""Features and the links between them, as NetworkX graphs."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, NamedTuple

import networkx as nx
import pandas as pd

from feature_tracker.circuits.circuit import EDGE_MEASURES, Circuit
from feature_tracker.circuits.paths import Path, strongest_paths
from feature_tracker.feature import Feature
from feature_tracker.tracing.rows import Row, feature_of, rows_of


class ErrorNode(NamedTuple):
    """The reconstruction error of a layer's SAE: what its features leave out of the residual stream."""

    layer: int

    def __str__(self) -> str:
        return f"L{self.layer}/error"


def feature_graph(ranked: pd.DataFrame, links: pd.DataFrame) -> nx.DiGraph[Any]:
    """A graph of the ranked features and the correlations between them.

    Args:
        ranked: rows of `tracing.rank.rank_features`. Each row becomes a node, a `Feature`, with the row's values.
        links: rows of `circuits.correlation.Correlations.links`. Links to a feature that is not ranked are left out.

    Returns:
        Edges go from the shallower layer to the deeper one and carry `r`, `q` and `n_either`.
    """
    graph = _graph_of_nodes(ranked)
    for link in rows_of(links):
        source, target = _ends(link)
        if source in graph and target in graph:
            graph.add_edge(source, target, r=float(link["r"]), q=float(link["q"]), n_either=int(link["n_either"]))
    return graph


def circuit_graph(ranked: pd.DataFrame, circuit: Circuit) -> nx.DiGraph[Any]:
    """A circuit as a graph whose edges go from the shallower layer to the deeper one.

    Args:
        ranked: rows of `tracing.rank.rank_features` for the circuit's features.

    Returns:
        Nodes are `Feature`s with the row's values, `kind` "feature" and `influence`, and one `ErrorNode` per layer
        whose error contributes, with `kind` "error", `layer` and `label`. Edges carry those of `EDGE_MEASURES` and
        `share` that were computed, and `direct`: whether their ends lie in neighbouring SAE layers.
    """
    graph = _graph_of_nodes(ranked)
    influence = circuit.influence()
    for node in list(graph):
        graph.nodes[node].update(kind="feature", influence=float(influence.get(tuple(node), 0.0)))
    before = {deeper: layer for layer, deeper in pairwise(circuit.layers)}
    for edge in rows_of(circuit.edges):
        source, target = _ends(edge)
        if source in graph and target in graph:
            computed = {name: float(edge[name]) for name in (*EDGE_MEASURES, "share") if not math.isnan(edge[name])}
            graph.add_edge(source, target, direct=before.get(target.layer) == source.layer, **computed)
    for row in rows_of(circuit.incoming):
        target = feature_of(row)
        total = row["in_circuit"] + row["other"] + abs(row["error"])
        if target in graph and target.layer in before and total > 0:
            error = ErrorNode(before[target.layer])
            label = f"What the SAE of layer {error.layer} leaves out"
            graph.add_node(error, kind="error", layer=error.layer, label=label)
            share = abs(row["error"]) / total
            graph.add_edge(error, target, direct=True, attribution=float(row["error"]), share=float(share))
    return graph


def feature_layers(graph: nx.DiGraph[Any]) -> list[list[Feature]]:
    """The graph's features grouped by layer, layers ascending."""
    features = sorted(node for node in graph if isinstance(node, Feature))
    layers = sorted({feature.layer for feature in features})
    return [[feature for feature in features if feature.layer == layer] for layer in layers]


def circuit_paths(graph: nx.DiGraph[Any], k: int) -> list[Path]:
    """The k strongest paths from features of the first layer to features of the last, over direct edges.

    A path's strength is the share of its last feature that runs through it: the product of its edges' `share`. Its sign
    is the product of its edges' signs: of the effect where an edge is verified, else of the attribution.
    """
    signed = nx.DiGraph()
    for source, target, edge in graph.edges(data=True):
        if edge["direct"] and edge.get("share") and isinstance(source, Feature):
            sign_from = edge.get("effect", edge["attribution"])
            signed.add_edge(source, target, weight=math.copysign(edge["share"], sign_from))
    layers = feature_layers(graph)
    signed.add_nodes_from(node for layer in layers for node in layer)
    return strongest_paths(signed, layers, k, weight="weight")


def path_in_words(path: Path, graph: nx.DiGraph[Any], width: int = 40) -> str:
    """A path in words: 'interest rates' L4/F283 → 'monetary policy' L16/F7 → …

    Args:
        width: longest label, in characters; longer ones are shortened.
    """
    names = []
    for node in path.nodes:
        label = str(graph.nodes[node].get("label", node))
        shown = label if len(label) <= width else label[: width - 1].rstrip(" …") + "…"
        names.append(f"'{shown}' {node}")
    return " → ".join(names)


def firing_groups(links: pd.DataFrame, *, significant: float, seed: int = 0) -> list[list[Feature]]:
    """Groups of features that fire together, largest first.

    These are the Louvain communities (Blondel et al. 2008) of the graph of significant positive correlations, weighted
    by r.

    Args:
        links: rows of `Correlations.pairs`.
        significant: largest q of a correlation that counts.
        seed: for the order in which Louvain visits nodes.
    """
    graph = nx.Graph()
    for link in rows_of(links[(links["r"] > 0) & (links["q"] <= significant)]):
        source, target = _ends(link)
        graph.add_edge(source, target, weight=float(link["r"]))
    if not graph:
        return []
    communities = nx.community.louvain_communities(graph, seed=seed)
    return sorted((sorted(community) for community in communities), key=lambda group: (-len(group), group))


def _graph_of_nodes(ranked: pd.DataFrame) -> nx.DiGraph[Any]:
    graph = nx.DiGraph()
    for row in rows_of(ranked):
        graph.add_node(feature_of(row), **row)
    return graph


def _ends(row: Row) -> tuple[Feature, Feature]:
    return feature_of(row, "source_"), feature_of(row, "target_")
