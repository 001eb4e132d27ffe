"""How circuits are drawn: which edges, of which colour and width, what hovers say, and what fits."""

from __future__ import annotations

from typing import Any

import networkx as nx
import plotly.graph_objects as go
import pytest

from feature_tracker.charts.circuit import CIRCUIT_LEGEND, circuit_page, drawn_edges, drawn_nodes, plot_circuit
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


def n_lines(figure: go.Figure) -> int:
    return sum(n for *_, n in lines(figure))


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


def test_an_edge_of_a_grey_node_is_drawn_once_either_end_is_chosen() -> None:
    graph = graph_of((2, 6, 0.5), (4, 6, 0.4))
    assert n_lines(plot_circuit(graph, colours=COLOURS)) == 1
    assert n_lines(plot_circuit(graph, colours=COLOURS, selected=6)) == 2
    assert n_lines(plot_circuit(graph, colours=COLOURS, selected=4)) == 2


def test_edges_that_are_not_the_chosen_nodes_fade() -> None:
    figure = plot_circuit(graph_of((2, 6, 0.5), (0, 2, 0.5)), colours=COLOURS, selected=6)
    faded, full = (trace.opacity for trace in figure.data if trace.mode == "lines")
    assert faded < full / 2


def wide(n: int) -> nx.DiGraph:
    """`n` features of layer 4 that feed one of layer 10, each more than the one before; all have the same influence."""
    graph = nx.DiGraph()
    for number in range(n + 1):
        graph.add_node(
            number, name="", kind="features", layer=10 if number == n else 4, members="", influence=0.1,
            asked=number == n, label=f"label {number}", words="",
        )  # fmt: skip
    for number in range(n):
        graph.add_edge(number, n, effect=1.0, lost=0.05 * (number + 1), drawn=True)
    return graph


def test_of_many_nodes_those_that_matter_most_are_drawn_and_the_chosen_one() -> None:
    assert drawn_nodes(wide(7)) == [[6, 5, 4, 3], [7]]
    assert drawn_nodes(wide(7), selected=0) == [[6, 5, 4, 3, 0], [7]]
    assert set(nodes(plot_circuit(wide(7), colours=COLOURS, selected=0))) == {0, 3, 4, 5, 6, 7}


def test_a_node_counts_by_what_it_feeds() -> None:
    graph = wide(6)
    graph.add_node(7, name="", kind="words", layer=WORDS, members="", influence=0.1, asked=False, label="a", words="")
    graph.add_node(8, name="", kind="words", layer=WORDS, members="", influence=0.9, asked=False, label="b", words="")
    graph.add_edge(7, 5, effect=1.0, lost=0.4, drawn=True)  # feeds a strong node
    graph.add_edge(8, 0, effect=1.0, lost=0.9, drawn=True)  # feeds one that isn't drawn
    assert drawn_nodes(graph) == [[7], [5, 4, 3, 2], [6]]


def test_what_a_feature_feeds_is_followed_upwards() -> None:
    graph = wide(6).reverse()
    for number in range(7):
        graph.nodes[number].update(layer=4 if number == 6 else 10)
    assert drawn_nodes(graph) == [[6], [5, 4, 3, 2]]


def test_before_anything_is_measured_the_most_influential_nodes_are_drawn() -> None:
    assert drawn_nodes(graph_of()) == [[1, 0], [3, 2], [6]]


def test_nothing_is_drawn_beyond_a_layer_in_which_nothing_is_lost() -> None:
    graph = graph_of((2, 6, 0.001), (3, 6, 0.001), (0, 2, 0.4))
    for source, target in [(2, 6), (3, 6)]:
        graph.edges[source, target]["drawn"] = False
    assert drawn_nodes(graph) == [[], [], [6]]
    assert n_lines(plot_circuit(graph, colours=COLOURS)) == 0


def test_a_node_that_feeds_nothing_drawn_is_left_out() -> None:
    assert drawn_nodes(graph_of((2, 6, 0.5), (3, 6, 0.0), (0, 2, 0.1))) == [[0], [2], [6]]


def test_of_many_links_into_a_node_the_strongest_are_drawn_and_the_strongest_of_each_source() -> None:
    graph = wide(4)
    graph.add_node(5, **graph.nodes[4])
    graph.add_edge(0, 5, effect=1.0, lost=0.3, drawn=True)
    assert set(drawn_edges(graph, [0, 1, 2, 3, 4, 5])) == {(3, 4), (2, 4), (1, 4), (0, 5)}
    assert (0, 4) in drawn_edges(graph, [0, 1, 2, 3, 4, 5], selected=4)


def test_columns_run_from_the_words_to_the_target() -> None:
    figure = plot_circuit(graph_of(), colours=COLOURS)
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
    assert len({(values["x"], values["y"]) for values in drawn.values()}) == len(drawn) == 6


def test_the_words_on_which_a_feature_acts_stand_below_its_label() -> None:
    drawn = nodes(plot_circuit(graph_of(), colours=COLOURS))
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
    graph = graph_of()
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
