"""A circuit's answer in plain sentences, from its measured edges."""

from __future__ import annotations

import math
from typing import Any

import networkx as nx

from feature_tracker.circuits.question import NextWord, WhatItFeeds
from feature_tracker.circuits.traced import TracedCircuit

_LITTLE_RECOVERED = 0.3
"""Share of the target below which the kept features bring back too little to explain it."""
_LITTLE_PASSES = 0.2
"""Share of the influence through named features below which the paths through them are no explanation."""
_LITTLE = (
    "This circuit explains little: most of what matters here passes through what the SAEs miss, or through many "
    "features that each do a little. Ask about one word, or about a feature of an earlier layer."
)
_TELLING = 0.05
"""Smallest share lost by an edge that a sentence names."""
_LONGEST = 60


def answer(traced: TracedCircuit) -> str:
    """What the strongest edges say, followed from what is asked about down to words, or up from the feature.

    Where the circuit explains little, that is the answer.
    """
    if explains_little(traced):
        return _LITTLE
    graph = traced.graph()
    if isinstance(traced.circuit.question, WhatItFeeds):
        return _answer_forward(graph)
    return _answer_back(graph, isinstance(traced.circuit.question, NextWord))


def faithfulness_in_words(traced: TracedCircuit) -> str:
    """How much of the target the kept features carry; empty until it is measured, and where it can't be."""
    measured = traced.circuit.faithfulness
    if measured is None or not math.isfinite(measured.recovered):
        return ""
    n_features = len(traced.circuit.members) - sum(len(node.members) for node in _asked(traced))
    alone = f"By themselves, the circuit's {n_features:,} features bring back {_share(measured.recovered)} of it"
    if measured.without < 0:
        return f"{alone}; without them, it turns into its opposite."
    left = "is left" if measured.without <= 1 else "of what it was is there, because they also hold it back"
    return f"{alone}; without them, {_share(measured.without)} {left}."


def explains_little(traced: TracedCircuit) -> bool:
    """Whether so little passes through named features, or comes back with them alone, that paths explain nothing."""
    measured = traced.circuit.faithfulness
    if measured is not None and not measured.recovered >= _LITTLE_RECOVERED:
        return True
    return traced.circuit.explained() < _LITTLE_PASSES


def _asked(traced: TracedCircuit) -> list[Any]:
    first = traced.circuit.nodes[0]
    return [node for node in traced.circuit.nodes if node.layer == first.layer]


def _answer_back(graph: nx.DiGraph[Any], is_word: bool) -> str:
    target = max((node for node in graph if graph.nodes[node]["asked"]), key=lambda node: graph.in_degree(node))
    name = _name(graph, target)
    steps, seen = [], target
    while (source := _strongest_source(graph, seen)) is not None:
        steps.append((source, graph.edges[source, seen]["lost"]))
        seen = source
    if not steps:
        return f"Nothing that was taken out changes {name} by {_TELLING:.0%} or more."
    first, lost = steps[0]
    loses = f"it loses {_share(lost)}" if not is_word else f"its lead shrinks by {_share(lost)}"
    sentences = [f"{_capital(name)} is fed most by {_name(graph, first)}: without it, {loses}."]
    chain = [f"{_name(graph, source)} ({_share(lost)})" for source, lost in steps[1:]]
    if chain:
        sentences.append("That in turn is fed by " + ", and that by ".join(chain) + ".")
    against = _strongest_source(graph, target, sign=-1)
    if against is not None:
        more = _share(-graph.edges[against, target]["lost"])
        sentences.append(f"{_capital(_name(graph, against))} holds it down: without it, there would be {more} more.")
    return " ".join(sentences)


def _answer_forward(graph: nx.DiGraph[Any]) -> str:
    (first,) = [node for node in graph if graph.nodes[node]["asked"]]
    named = [node for node in graph if graph.nodes[node]["kind"] == "features"]
    fed = [node for node in named if graph.has_edge(first, node)]
    fed.sort(key=lambda node: -abs(graph.edges[first, node]["lost"]))
    telling = [node for node in fed if abs(graph.edges[first, node]["lost"]) >= _TELLING][:3]
    if not telling:
        return f"Without {_name(graph, first)}, nothing named in the next layer loses {_TELLING:.0%} or more."
    losses = [f"{_name(graph, node)} {_change(graph.edges[first, node]['lost'])}" for node in telling]
    sentences = [f"Without {_name(graph, first)}, {_listed(losses)}."]
    deepest = max(graph.nodes[node]["layer"] for node in named)
    if deepest > graph.nodes[telling[0]]["layer"]:
        there = [node for node in named if graph.nodes[node]["layer"] == deepest]
        last = max(there, key=lambda node: graph.nodes[node]["influence"])
        sentences.append(f"In the deepest layer, it matters most to {_name(graph, last)}.")
    return " ".join(sentences)


def _strongest_source(graph: nx.DiGraph[Any], target: int, sign: int = 1) -> int | None:
    """The named node, of features or words, whose absence costs a node most; `None` if none costs enough."""
    lost = {
        source: sign * graph.edges[source, target]["lost"]
        for source in graph.predecessors(target)
        if graph.nodes[source]["kind"] in ("features", "words")
    }
    telling = [source for source in lost if lost[source] >= _TELLING]
    return max(telling, key=lambda source: lost[source], default=None)


def _name(graph: nx.DiGraph[Any], node: int) -> str:
    values = graph.nodes[node]
    label = str(values["label"])
    if values["kind"] == "words":
        return f"the word {label}"
    if values["kind"] != "features":
        return label
    short = label if len(label) <= _LONGEST else label[: _LONGEST - 1].rstrip(" ,;:…") + "…"
    telling = [word for word in str(values["words"]).split(", ") if any(map(str.isalnum, word))]
    return f"“{short}”" + (f" on “{telling[0]}”" if telling else "")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _share(value: float) -> str:
    return f"{value:.0%}"


def _change(lost: float) -> str:
    return f"loses {_share(lost)}" if lost > 0 else f"gains {_share(-lost)}"


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
