"""How circuits are drawn: which edges, in which colour and width, and what hovers say."""

from __future__ import annotations

from typing import Any

import networkx as nx
import plotly.graph_objects as go
import pytest

from feature_tracker.charts.circuit import circuit_page, plot_circuit
from feature_tracker.charts.theme import NEGATIVE, POSITIVE, layer_colours
from tests.support import HOSTILE

COLOURS = layer_colours((4, 10))


def node(layer: int, kind: str = "features", **values: Any) -> dict[str, Any]:
    own = {"label": "rates", "words": "bank", "members": "L4/F1 L4/F2", "influence": 0.2, "asked": False, "name": "x"}
    return own | {"layer": layer, "kind": kind, "n_members": 2, "activation": 1.0} | values


@pytest.fixture
def graph() -> nx.DiGraph:
    """A word, a layer of five nodes and a rest, and the target, which all of these feed."""
    graph = nx.DiGraph()
    graph.add_node(0, **node(10, asked=True))
    for number in range(1, 6):
        graph.add_node(number, **node(4, influence=number / 10))
    graph.add_node(6, **node(4, "rest", label="58 other features"))
    graph.add_node(7, **node(-1, "words", members=""))
    for number, lost in enumerate((0.5, -0.3, 0.2, 0.04, 0.03), start=1):
        graph.add_edge(number, 0, lost=lost, effect=lost, attribution=0.1, drawn=True)
    graph.add_edge(6, 0, lost=0.01, effect=0.01, drawn=False)
    graph.add_edge(7, 1, lost=0.9, effect=0.9, drawn=True)
    return graph


def lines(figure: go.Figure) -> list[tuple[str, int]]:
    return [(trace.line.color, len(trace.x) // 3) for trace in figure.data if trace.mode == "lines"]


def test_the_strongest_edges_into_a_node_are_drawn_in_the_colour_of_their_sign(graph: nx.DiGraph) -> None:
    drawn = lines(plot_circuit(graph, colours=COLOURS))
    assert sum(n for colour, n in drawn if colour == POSITIVE) == 3  # two into the target, one of the word
    assert sum(n for colour, n in drawn if colour == NEGATIVE) == 1


def test_all_edges_of_the_chosen_node_are_drawn_but_the_weakest(graph: nx.DiGraph) -> None:
    assert sum(n for _, n in lines(plot_circuit(graph, colours=COLOURS, selected=5))) == 5
    assert sum(n for _, n in lines(plot_circuit(graph, colours=COLOURS, selected=6))) == 4


def test_all_lines_are_solid_and_wider_for_a_larger_effect(graph: nx.DiGraph) -> None:
    traces = [trace for trace in plot_circuit(graph, colours=COLOURS).data if trace.mode == "lines"]
    assert {trace.line.dash for trace in traces} == {"solid"}
    widths = {round(trace.y[0], 3): trace.line.width for trace in traces}
    assert len(set(widths.values())) > 1


def test_columns_lead_from_words_to_what_is_asked_about(graph: nx.DiGraph) -> None:
    figure = plot_circuit(graph, colours=COLOURS)
    assert figure.layout.xaxis.ticktext == ("Words", "Layer 4", "Layer 10")
    nodes = [trace for trace in figure.data if trace.mode == "markers+text"]
    assert [len(trace.x) for trace in nodes] == [1, 6, 1]
    assert [data[0] for trace in nodes for data in trace.customdata] == [7, 1, 2, 3, 4, 5, 6, 0]


def test_a_hover_says_what_is_lost(graph: nx.DiGraph) -> None:
    figure = plot_circuit(graph, colours=COLOURS)
    hovers = [text for trace in figure.data if trace.mode == "markers" for text in trace.hovertext]
    assert any("loses 50%" in text and "The estimate: 10.0%" in text for text in hovers)
    assert any("gains 30%" in text for text in hovers)


@pytest.mark.parametrize("label", HOSTILE)
def test_labels_are_text(graph: nx.DiGraph, label: str) -> None:
    graph.nodes[1].update(label=label, words=label)
    page = circuit_page(graph, colours=COLOURS, title=label, answer=label).decode()
    assert "<script>alert" not in page
    assert page.count("<h1>") == 1


def test_no_nodes_is_said() -> None:
    assert "no nodes" in plot_circuit(nx.DiGraph(), colours=COLOURS).layout.annotations[0].text
