"""How correlation networks are drawn: which lines are solid, what is left out, how many nodes there are."""

from __future__ import annotations

from collections.abc import Callable

import networkx as nx
import pandas as pd
import plotly.graph_objects as go
import pytest

from feature_tracker.charts.network import plot_network
from feature_tracker.charts.theme import NEGATIVE, POSITIVE, layer_colours
from feature_tracker.feature import Feature

COLOURS = layer_colours((4, 10, 16))


@pytest.fixture
def graph(ranked: pd.DataFrame) -> nx.DiGraph:
    graph = nx.DiGraph()
    for row in ranked.to_dict("records"):
        graph.add_node(Feature(row["layer"], row["feature"]), **row)
    return graph


def lines(figure: go.Figure) -> list[tuple[str, str, int]]:
    """Colour, dash and number of edges of each trace of lines."""
    return [(t.line.color, t.line.dash, len(t.x) // 3) for t in figure.data if t.mode == "lines"]


def link(r: float, q: float) -> dict[str, float]:
    return {"r": r, "q": q, "n_either": 12}


def test_a_correlation_is_solid_only_where_it_is_more_than_chance(graph: nx.DiGraph) -> None:
    nodes = list(graph)
    graph.add_edge(nodes[0], nodes[10], **link(0.9, 0.05))
    graph.add_edge(nodes[1], nodes[11], **link(0.9, 0.051))
    graph.add_edge(nodes[2], nodes[12], **link(-0.9, 0.001))
    drawn = lines(plot_network(graph, colours=COLOURS, threshold=0.5, significant=0.05))
    assert sorted(drawn) == sorted([(POSITIVE, "solid", 1), (POSITIVE, "dash", 1), (NEGATIVE, "solid", 1)])


def test_of_two_thousand_nodes_the_strongest_are_drawn_and_the_rest_is_counted(
    ranked_of: Callable[..., pd.DataFrame],
) -> None:
    ranked = ranked_of((4, 10, 16, 22, 28), 400)
    graph = nx.DiGraph()
    for row in ranked.to_dict("records"):
        graph.add_node(Feature(row["layer"], row["feature"]), **row)
    nodes = list(graph)
    for source, target in zip(nodes[:400], nodes[400:800], strict=True):
        graph.add_edge(source, target, **link(0.9, 0.01))
    figure = plot_network(graph, colours=layer_colours((4, 10, 16, 22, 28)), threshold=0.5)
    drawn = [trace for trace in figure.data if trace.mode == "markers+text"]
    assert [len(trace.x) for trace in drawn] == [30] * 5
    drawn_nodes = {tuple(data) for trace in drawn for data in trace.customdata}
    assert drawn_nodes == {tuple(node) for layer in range(5) for node in nodes[400 * layer : 400 * layer + 30]}
    assert any("150 of 2,000 features" in note.text for note in figure.layout.annotations)
    assert sum(n for _, _, n in lines(figure)) == 30
