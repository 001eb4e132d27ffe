"""Every figure: with hostile labels, with nothing to show, with one token."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable

import networkx as nx
import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from feature_tracker.charts.bars import plot_layer
from feature_tracker.charts.circuit import plot_circuit
from feature_tracker.charts.comparison import plot_theme_layers
from feature_tracker.charts.evolution import plot_lineage
from feature_tracker.charts.heatmap import plot_heatmap
from feature_tracker.charts.network import plot_network
from feature_tracker.charts.theme import layer_colours
from feature_tracker.feature import Feature
from feature_tracker.tracing.rank import RankBy

COLOURS = layer_colours((4, 10, 16))


def graph_of(ranked: pd.DataFrame, edges: list[tuple[int, int, float]]) -> nx.DiGraph:
    graph = nx.DiGraph()
    for row in ranked.to_dict("records"):
        graph.add_node(Feature(row["layer"], row["feature"]), **row)
    nodes = list(graph)
    for source, target, r in edges:
        graph.add_edge(nodes[source], nodes[target], r=r, q=0.01, n_either=12)
    return graph


def circuit_of(ranked: pd.DataFrame) -> nx.DiGraph:
    """A feature of each layer by its hostile label, which feeds the next one."""
    graph = nx.DiGraph()
    rows = ranked.groupby("layer").head(1).to_dict("records")
    for number, row in enumerate(rows):
        values = {"kind": "features", "layer": row["layer"], "label": row["label"], "words": row["label"]}
        graph.add_node(number, name="L4/F1", members="L4/F1", influence=0.5, asked=number == len(rows) - 1, **values)
    for number in range(1, len(rows)):
        graph.add_edge(number - 1, number, effect=1.0, lost=0.5, attribution=0.4, drawn=True)
    return graph


def lineage_of(ranked: pd.DataFrame) -> pd.DataFrame:
    line = ranked.groupby("layer").head(1)[
        ["layer", "feature", "label", "reliable", "specialization_index", "activation"]
    ]
    return line.assign(cosine=[np.nan, 0.6, 0.5], r=[np.nan, 0.8, -0.2])


def figures(ranked: pd.DataFrame) -> dict[str, go.Figure]:
    values = np.random.default_rng(0).random((len(ranked), 5))
    words = ["<b>a</b>", " $1", "\n", "x\x00", "שלום"]
    return {
        "bars": plot_layer(ranked[ranked["layer"] == 4], layer=4, colour=COLOURS[4]),
        "comparison": plot_theme_layers(
            ranked.assign(theme=range(len(ranked)), theme_label=ranked["label"], one_in=50.0),
            colours=COLOURS,
            selected=None,
        ),
        "heatmap": plot_heatmap(ranked, values, words, colours=COLOURS),
        "network": plot_network(graph_of(ranked, [(0, 10, 0.9), (1, 11, -0.6)]), colours=COLOURS, threshold=0.5),
        "circuit": plot_circuit(circuit_of(ranked), colours=COLOURS),
        "evolution": plot_lineage(lineage_of(ranked), colours=COLOURS, chosen_layer=4),
    }


def strings(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for item in value.values() for text in strings(item)]
    return [text for item in value for text in strings(item)] if isinstance(value, list) else []


@pytest.mark.parametrize("name", ["bars", "comparison", "heatmap", "network", "circuit", "evolution"])
def test_hostile_labels_and_words_become_letters(ranked: pd.DataFrame, name: str) -> None:
    figure = json.loads(figures(ranked)[name].to_json())
    figure["layout"].pop("template", None)
    for text in strings(figure):
        assert not re.search(r"<(?!/?(b|i|br|extra)>)", text), text
        assert "$" not in text
        assert "\x00" not in text
    # The text is there, escaped, and not dropped.
    assert any("<script>" in html.unescape(text) for text in strings(figure))


@pytest.mark.parametrize("name", ["bars", "comparison", "heatmap", "network", "circuit", "evolution"])
def test_figures_leave_backgrounds_and_fonts_to_the_theme(ranked: pd.DataFrame, name: str) -> None:
    layout = figures(ranked)[name].layout
    assert layout.paper_bgcolor is None
    assert layout.font.color is None


def test_nothing_to_show_is_said(ranked_of: Callable[..., pd.DataFrame]) -> None:
    empty = ranked_of((), 0)
    for figure in (
        plot_layer(empty, layer=4, colour="#000000"),
        plot_theme_layers(empty, colours={}, selected=None),
        plot_heatmap(empty, np.zeros((0, 0)), [], colours={}),
        plot_network(nx.DiGraph(), colours={}, threshold=0.5),
        plot_circuit(nx.DiGraph(), colours={}),
        plot_lineage(empty, colours={}, chosen_layer=4),
    ):
        assert figure.layout.annotations[0].text


@pytest.mark.parametrize("by", ["activation", "distinctiveness"])
def test_bars_are_as_long_as_what_ranks_them(ranked: pd.DataFrame, by: RankBy) -> None:
    rows = ranked[ranked["layer"] == 4]
    figure = plot_layer(rows, layer=4, colour="#1F6FC4", by=by)
    assert list(figure.data[0].x) == rows[by].tolist()
    assert figure.layout.yaxis.range == (9.5, -0.5)


def test_bars_of_rarity_end_with_it_and_stand_on_a_logarithmic_axis(ranked: pd.DataFrame) -> None:
    rows = ranked[ranked["layer"] == 4].assign(rarity=[10_000.0, np.nan, *[2.0] * 8], is_rarest=[True, *[False] * 9])
    figure = plot_layer(rows, layer=4, colour="#1F6FC4", by="rarity")
    words = plot_layer(rows, layer=4, colour="#1F6FC4").data[0].text
    rarities = [end.removeprefix(word) for end, word in zip(figure.data[0].text[:3], words[:3], strict=True)]
    assert rarities == [" · 1 in ≥10,000", "", " · 1 in 2"]
    assert list(figure.data[0].x[:3]) == pytest.approx([4, 0, np.log10(2)])
    assert list(figure.layout.xaxis.ticktext) == ["1", "10", "100", "1,000", "10,000"]
    assert all(word[0] == "“" and word[-1] == "”" for word in words)
    assert not any("<" in word for word in words)


def test_bars_of_features_below_ordinary_text_have_no_length(ranked: pd.DataFrame) -> None:
    rows = ranked[ranked["layer"] == 4].assign(distinctiveness=-1.0)
    assert set(plot_layer(rows, layer=4, colour="#1F6FC4").data[0].x) == {0.0}


def test_bars_say_their_layer_and_what_their_length_is(ranked: pd.DataFrame) -> None:
    figure = plot_layer(ranked[ranked["layer"] == 4], layer=4, colour="#1F6FC4", by="activation", aggregation="share")
    assert figure.layout.title.text == "Layer 4"
    assert figure.layout.xaxis.title.text == "Share of words"
    assert figure.layout.xaxis.tickformat == ".0%"
    assert "Share of words 1000.0%" in figure.data[0].hovertext[0]


def test_bars_carry_their_feature_for_clicks(ranked: pd.DataFrame) -> None:
    rows = ranked[ranked["layer"] == 4]
    assert [list(pair) for pair in plot_layer(rows, layer=4, colour="#1F6FC4").data[0].customdata] == [
        [4, feature] for feature in rows["feature"]
    ]


def test_unreliable_bars_are_paler_and_marked(ranked: pd.DataFrame) -> None:
    figure = plot_layer(ranked[ranked["layer"] == 4], layer=4, colour="#1F6FC4")
    assert figure.data[0].marker.color[0] == "rgba(31,111,196,0.4)"
    assert figure.data[0].marker.color[2] == "rgba(31,111,196,1)"
    assert " ?<br>" in figure.layout.yaxis.ticktext[0]
    assert not figure.layout.yaxis.ticktext[2].endswith(" ?")


def test_features_of_one_label_keep_bars_of_their_own(ranked: pd.DataFrame) -> None:
    rows = ranked[ranked["layer"] == 4].assign(label="the same")
    assert len(set(plot_layer(rows, layer=4, colour="#1F6FC4").data[0].y)) == len(rows)


def test_the_chosen_feature_is_set_off_in_each_chart(ranked: pd.DataFrame) -> None:
    feature = Feature(4, int(ranked["feature"].iloc[2]))
    bars = plot_layer(ranked[ranked["layer"] == 4], layer=4, colour="#1F6FC4", selected=feature.index)
    assert bars.layout.yaxis.ticktext[2].startswith("<b>")
    assert list(bars.data[0].marker.line.width).count(3) == 1
    graph = plot_network(graph_of(ranked, []), colours=COLOURS, threshold=0.5, selected=feature)
    assert sum(4 in (trace.marker.line.width or ()) for trace in graph.data if trace.mode == "markers+text") == 1


def test_each_theme_has_its_most_unusual_feature_of_a_layer_as_a_dot() -> None:
    members = pd.DataFrame(
        [
            (0, "rates", 4, 1, "rate words", 10.0),
            (0, "rates", 4, 2, "<b>rates</b>", 500.0),
            (0, "rates", 16, 3, "rates", 20.0),
            (1, "loans", 4, 5, "loans", 1e9),
        ],
        columns=["theme", "theme_label", "layer", "feature", "label", "one_in"],
    )
    figure = plot_theme_layers(members, colours=COLOURS, selected=Feature(16, 3))
    dots = figure.data[0]
    features = [tuple(feature) for feature in dots.customdata]
    assert features == [(4, 5), (4, 2), (16, 3)]
    assert list(zip(dots.x, dots.y, strict=True)) == [(0, 1), (0, 0), (2, 0)]
    assert dots.marker.size[0] > dots.marker.size[1] > dots.marker.size[2]
    assert list(dots.marker.line.width) == [0, 0, 4]
    assert "1 in 500 passages" in dots.hovertext[1] and "&lt;b&gt;rates" in dots.hovertext[1]
    assert list(figure.layout.yaxis.ticktext) == ["rates", "loans"]


def test_heatmap_measures_each_row_against_its_own_peak(ranked: pd.DataFrame) -> None:
    rows = ranked.head(2)
    figure = plot_heatmap(rows, np.array([[1.0, 2.0], [0.0, 0.0]]), ["a", "b"], colours=COLOURS)
    assert np.asarray(figure.data[0].z).tolist() == [[0.5, 1.0], [0.0, 0.0]]


def test_heatmap_keeps_columns_of_the_same_word_apart(ranked: pd.DataFrame) -> None:
    figure = plot_heatmap(ranked, np.ones((len(ranked), 60)), ["the"] * 60, colours=COLOURS)
    assert len(set(figure.layout.xaxis.categoryarray)) == 60


def test_heatmap_cells_carry_their_column_for_clicks(ranked: pd.DataFrame) -> None:
    figure = plot_heatmap(ranked, np.ones((len(ranked), 3)), ["a", "b", "c"], colours=COLOURS, chosen=[1])
    markers = figure.data[-1]
    assert [list(pair) for pair in markers.customdata[:4]] == [[0], [1], [2], [0]]
    assert figure.layout.shapes[0].x0 == 0.5


def test_heatmap_hovers_name_the_whole_word_of_a_token(ranked: pd.DataFrame) -> None:
    values, columns, words = np.ones((len(ranked), 3)), [" rose", " $", "1,"], ["rose", "$1,234", "$1,234"]
    whole = plot_heatmap(ranked, values, columns, colours=COLOURS, words=words).data[-1].hovertext
    stretch = plot_heatmap(ranked, values, columns, colours=COLOURS).data[-1].hovertext
    assert [text.split("<br>")[-2] for text in stretch[:3]] == ["“rose”", "“&#36;”", "“1,”"]
    assert [text.split("<br>")[-2] for text in whole[:3]] == [
        "“rose”",
        "“&#36;” in “&#36;1,234”",
        "“1,” in “&#36;1,234”",
    ]


def test_heatmap_rows_of_one_label_can_be_told_apart(ranked: pd.DataFrame) -> None:
    figure = plot_heatmap(ranked.assign(label="the same"), np.ones((30, 3)), ["a", "b", "c"], colours=COLOURS)
    assert len(set(figure.layout.yaxis.ticktext)) == 30


def test_heatmap_of_one_token(ranked: pd.DataFrame) -> None:
    figure = plot_heatmap(ranked, np.ones((len(ranked), 1)), ["rates"], colours=COLOURS)
    assert len(figure.data) == 4


def test_network_keeps_each_layer_in_its_column(ranked: pd.DataFrame) -> None:
    figure = plot_network(graph_of(ranked, [(0, 10, 0.9)]), colours=COLOURS, threshold=0.5)
    columns = [set(trace.x) for trace in figure.data if trace.mode == "markers+text"]
    assert columns == [{0.0}, {1.0}, {2.0}]


def test_network_edges_widen_with_r_and_show_its_sign(ranked: pd.DataFrame) -> None:
    graph = graph_of(ranked, [(0, 10, 0.95), (1, 11, 0.51), (2, 12, -0.95)])
    lines = [trace for trace in plot_network(graph, colours=COLOURS, threshold=0.5).data if trace.mode == "lines"]
    widths = {(line.line.color, line.line.width) for line in lines}
    assert len(widths) == 3
    assert len({color for color, _ in widths}) == 2
    assert max(line.line.width for line in lines) > min(line.line.width for line in lines)


def test_network_puts_linked_features_at_the_same_height(ranked: pd.DataFrame) -> None:
    graph = graph_of(ranked[ranked["layer"] < 16], [(9, 10, 0.9)])
    figure = plot_network(graph, colours=COLOURS, threshold=0.5)
    first, second = (trace for trace in figure.data if trace.mode == "markers+text")
    assert first.y[9] == pytest.approx(second.y[0], abs=0.11)


def test_evolution_marks_where_the_lineage_starts(ranked: pd.DataFrame) -> None:
    figure = plot_lineage(lineage_of(ranked), colours=COLOURS, chosen_layer=10)
    assert list(figure.data[1].marker.symbol) == ["circle", "star", "circle"]
    assert list(figure.data[1].marker.color) == [COLOURS[4], COLOURS[10], COLOURS[16]]
