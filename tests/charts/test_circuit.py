"""How circuits are drawn: which edges, of which colour and width, what hovers say, and what fits."""

from __future__ import annotations

from typing import Any

import networkx as nx
import plotly.graph_objects as go
import pytest

from feature_tracker.charts.circuit import CIRCUIT_LEGEND, circuit_page, plot_circuit
from feature_tracker.charts.theme import MUTED, NEGATIVE, POSITIVE, layer_colours, with_alpha

COLOURS = layer_colours((4, 10))
WORDS = -1


def graph_of(*edges: tuple[int, int, float], drawn: bool = True) -> nx.DiGraph:
    """Words 0 and 1, of layer 4 the features 2 and 3, the rest 4 and the error 5, of layer 10 the target 6."""
    graph = nx.DiGraph()
    kinds = ["words", "words", "features", "features", "rest", "error", "features"]
    layers = [WORDS, WORDS, 4, 4, 4, 4, 10]
    for number, (kind, layer) in enumerate(zip(kinds, layers, strict=True)):
        values: dict[str, Any] = {"label": f"label {number}", "words": "rose, fell" if kind == "features" else ""}
        members = f"L{layer}/F{number} L{layer}/F9" if kind == "features" else ""
        graph.add_node(
            number, name=f"n{number}", kind=kind, layer=layer, members=members, influence=0.1 * (number + 1),
            asked=number == 6, **values,
        )  # fmt: skip
    for source, target, lost in edges:
        graph.add_edge(source, target, effect=10 * lost, lost=lost, attribution=0.4, drawn=drawn)
    return graph


def lines(figure: go.Figure) -> list[tuple[str, str, int]]:
    """Colour, dash and number of edges of each trace of lines."""
    return [(trace.line.color, trace.line.dash, len(trace.x) // 3) for trace in figure.data if trace.mode == "lines"]


def widths(figure: go.Figure) -> dict[str, float]:
    return {trace.line.color: trace.line.width for trace in figure.data if trace.mode == "lines"}


def edge_hovers(figure: go.Figure) -> tuple[str, ...]:
    return next(trace.hovertext for trace in figure.data if trace.mode == "markers")


def nodes(figure: go.Figure) -> dict[int, dict[str, Any]]:
    """By number, what is drawn of each node."""
    found = {}
    for trace in figure.data:
        if trace.mode == "markers+text":
            parts = zip(
                trace.customdata, trace.x, trace.y, trace.text, trace.hovertext, trace.marker.size,
                trace.marker.color, trace.marker.line.width, strict=True,
            )  # fmt: skip
            for (number,), *values in parts:
                names = ("x", "y", "text", "hover", "size", "colour", "ring")
                found[number] = dict(zip(names, values, strict=True))
    return found


def test_edges_are_solid_blue_where_they_feed_and_red_where_they_hold_back() -> None:
    drawn = lines(plot_circuit(graph_of((2, 6, 0.5), (3, 6, -0.5)), colours=COLOURS))
    assert sorted(drawn) == sorted([(POSITIVE, "solid", 1), (NEGATIVE, "solid", 1)])


def test_an_edge_is_wider_the_more_its_target_loses() -> None:
    width = widths(plot_circuit(graph_of((2, 6, 0.7), (3, 6, -0.1)), colours=COLOURS))
    assert width[POSITIVE] > width[NEGATIVE]


def test_edges_too_weak_to_be_drawn_are_left_out_even_of_the_chosen_node() -> None:
    assert lines(plot_circuit(graph_of((2, 6, 0.01), drawn=False), colours=COLOURS, selected=6)) == []


def test_the_weakest_edges_into_a_node_are_drawn_only_where_it_is_chosen() -> None:
    graph = graph_of((2, 6, 0.9), (3, 6, 0.08), (4, 6, 0.02), (0, 2, 0.03))
    assert sum(n for *_, n in lines(plot_circuit(graph, colours=COLOURS))) == 2  # the strongest into 6, the one into 2
    assert sum(n for *_, n in lines(plot_circuit(graph, colours=COLOURS, selected=6))) == 4


def test_columns_run_from_the_words_to_the_target() -> None:
    figure = plot_circuit(graph_of((2, 6, 0.5)), colours=COLOURS)
    assert list(figure.layout.xaxis.ticktext) == ["Words", "Layer 4", "Layer 10"]
    x = {number: values["x"] for number, values in nodes(figure).items()}
    assert [x[number] for number in range(7)] == [0, 0, 1, 1, 1, 1, 2]


def test_a_next_word_has_a_column_of_its_own() -> None:
    graph = graph_of((2, 6, 0.5))
    graph.nodes[6].update(kind="logit", layer=30)
    assert list(plot_circuit(graph, colours=COLOURS).layout.xaxis.ticktext)[-1] == "Next word"


def test_nodes_grow_with_influence_and_only_named_features_have_their_layers_colour() -> None:
    drawn = nodes(plot_circuit(graph_of((2, 6, 0.5)), colours=COLOURS, selected=3))
    assert drawn[3]["size"] > drawn[2]["size"]
    assert drawn[2]["colour"] == COLOURS[4]
    assert drawn[6]["colour"] == COLOURS[10]
    assert {drawn[number]["colour"] for number in (4, 5)} == {with_alpha(MUTED, 0.6)}
    assert [number for number, values in drawn.items() if values["ring"]] == [3]


def test_no_two_nodes_of_a_column_are_drawn_on_each_other() -> None:
    drawn = nodes(plot_circuit(graph_of((0, 2, 0.5), (0, 3, 0.5), (2, 6, 0.5), (3, 6, 0.5)), colours=COLOURS))
    assert len({(values["x"], values["y"]) for values in drawn.values()}) == 7


def test_the_words_on_which_a_feature_acts_stand_below_its_label() -> None:
    drawn = nodes(plot_circuit(graph_of((2, 6, 0.5)), colours=COLOURS))
    assert drawn[2]["text"] == "label 2<br><i>rose, fell</i>"
    assert drawn[0]["text"] == "label 0"


def test_hovers_say_what_is_lost_and_what_was_estimated() -> None:
    hovers = edge_hovers(plot_circuit(graph_of((2, 6, 0.53), (3, 6, -0.5)), colours=COLOURS))
    assert hovers[0] == (
        "Without “label 2”,<br>“label 6” loses 53%<br>The estimate: 40.0% of the answer takes this way"
    )
    assert "gains 50%" in hovers[1]


def test_an_edge_without_estimate_says_only_what_was_measured() -> None:
    graph = graph_of((2, 6, 0.53))
    del graph.edges[2, 6]["attribution"]
    (hover,) = edge_hovers(plot_circuit(graph, colours=COLOURS))
    assert "estimate" not in hover


def test_a_node_tells_its_members_on_hovering() -> None:
    graph = graph_of((2, 6, 0.5))
    graph.nodes[3]["members"] = " ".join(f"L4/F{number}" for number in range(9))
    drawn = nodes(plot_circuit(graph, colours=COLOURS))
    assert "L4/F2, L4/F9" in drawn[2]["hover"]
    assert "L4/F5 and 3 more" in drawn[3]["hover"]
    assert "what is asked about" in drawn[6]["hover"]


@pytest.mark.parametrize("text", ["<script>alert(1)</script> $x$", "half \ud83d"])
def test_the_page_holds_question_answer_and_legend_as_letters(text: str) -> None:
    page = circuit_page(graph_of((2, 6, 0.5)), colours=COLOURS, title=text, answer=f"Because of {text}").decode()
    assert "<script>alert(1)" not in page
    assert f"<p>{CIRCUIT_LEGEND}</p>" in page
    assert "Because of" in page
    assert "cdn" not in page.split("</head>")[0]
