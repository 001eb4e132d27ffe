"""A circuit with names, as a NetworkX graph; and what fires together."""

from __future__ import annotations

import math
from typing import Any

import networkx as nx
import pandas as pd

from feature_tracker.circuits.circuit import DRAWN, Circuit, Node
from feature_tracker.feature import Feature
from feature_tracker.labels.table import LabelTable
from feature_tracker.model.hooks import EMBEDDINGS
from feature_tracker.model.tokens import TokenizedText
from feature_tracker.tracing.rows import Row, feature_of, rows_of

_MOST_WORDS = 6  # that stand under a node's name


def feature_graph(ranked: pd.DataFrame, links: pd.DataFrame) -> nx.DiGraph[Any]:
    """A graph of the ranked features and the correlations between them.

    Args:
        ranked: rows of `tracing.rank.rank_features`. Each row becomes a node, a `Feature`, with the row's values.
        links: rows of `circuits.correlation.Correlations.links`. Links to a feature that is not ranked are left out.

    Returns:
        Edges go from the shallower layer to the deeper one and carry `r`, `q` and `n_either`.
    """
    graph = nx.DiGraph()
    for row in rows_of(ranked):
        graph.add_node(feature_of(row), **row)
    for link in rows_of(links):
        source, target = _ends(link)
        if source in graph and target in graph:
            graph.add_edge(source, target, r=float(link["r"]), q=float(link["q"]), n_either=int(link["n_either"]))
    return graph


def circuit_graph(
    circuit: Circuit, tokens: TokenizedText, labels: LabelTable, *, next_word: str = ""
) -> nx.DiGraph[Any]:
    """A circuit as a graph of its measured edges, from the shallower layer to the deeper one.

    Args:
        next_word: name of the node of a logit.

    Returns:
        Nodes are the numbers of `Circuit.nodes` and carry `name` (as `str(Node)`), `layer`, `kind`, `label`, `words`
        (of the text, on which it contributes most), `n_members`, `members`, `influence`, `activation`, and `asked`:
        whether the question is about it. Edges carry `effect`, `lost`, `attribution` where it was estimated, and
        `drawn`: whether the effect is large enough to be shown.
    """
    graph = nx.DiGraph()
    n_asked = len([node for node in circuit.nodes if node.layer == circuit.nodes[0].layer])
    for node in circuit.nodes:
        graph.add_node(
            node.number,
            name=str(node),
            layer=node.layer,
            kind=node.kind,
            label=node_label(node, circuit, tokens, labels, next_word),
            words=", ".join(words_of(node, tokens)[:_MOST_WORDS]),
            n_members=len(node.members) or len(node.positions),
            members=" ".join(map(str, node.members)),
            influence=node.influence,
            activation=node.activation,
            asked=node.number < n_asked,
        )
    for edge in rows_of(circuit.edges):
        values = {name: float(edge[name]) for name in ("attribution", "effect", "lost") if not math.isnan(edge[name])}
        drawn = abs(edge["lost"]) >= DRAWN
        graph.add_edge(int(edge["source"]), int(edge["target"]), drawn=drawn, **values)
    return graph


def words_of(node: Node, tokens: TokenizedText) -> list[str]:
    """The words of the text on which a node contributes most, strongest first, each once."""
    words = tokens.words
    texts = [tokens.text[slice(*words.spans[words.word_of[position]])] for position in node.positions]
    return list({text.casefold(): text.strip() or "(blank)" for text in texts}.values())


def node_label(node: Node, circuit: Circuit, tokens: TokenizedText, labels: LabelTable, next_word: str = "") -> str:
    """What a node is called: its most telling member's label, its word, or what it holds."""
    if node.kind == "logit":
        return next_word or "Next word"
    if node.kind == "error":
        return f"What the SAE of layer {node.layer} misses"
    if node.kind == "sinks":
        return "Beginning of text and attention sinks"
    if node.kind == "rest":
        n_members = len(node.members) or len(words_of(node, tokens))
        return f"{n_members:,} other {'words' if node.layer == EMBEDDINGS else 'features'}"
    if node.kind == "words":
        times = f" ({len(node.positions)}×)" if len(node.positions) > 1 else ""
        return f"“{words_of(node, tokens)[0]}”{times}"
    return labels.name(naming_member(node, circuit, labels))


def naming_member(node: Node, circuit: Circuit, labels: LabelTable) -> Feature:
    """The feature that names a node: of those half as influential as the first, the one whose label has the best F1."""
    influence = circuit.members.set_index(["layer", "feature"])["influence"]
    notable = [
        feature for feature in node.members if influence[tuple(feature)] >= 0.5 * influence[tuple(node.members[0])]
    ]
    f1 = labels.frame["f1"].astype(float)
    return max(notable, key=lambda feature: -1.0 if math.isnan(f1[tuple(feature)]) else f1[tuple(feature)])


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


def _ends(row: Row) -> tuple[Feature, Feature]:
    return feature_of(row, "source_"), feature_of(row, "target_")
