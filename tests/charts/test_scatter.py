from __future__ import annotations

import numpy as np

from feature_tracker.charts.scatter import plot_features
from feature_tracker.charts.theme import layer_colours
from feature_tracker.feature import Feature
from tests.support import make_ranked

COLOURS = layer_colours((4, 10))


def test_features_are_dots_by_layer_and_those_without_scores_are_left_out() -> None:
    described = make_ranked((4, 10), 6)
    figure = plot_features(described, colours=COLOURS, selected=Feature(4, 24))
    assert [trace.name for trace in figure.data] == ["Layer 4", "Layer 10"]
    known = described[described["f1"].notna() & (described["layer"] == 4)]
    assert list(figure.data[0].y) == known["f1"].tolist()
    assert list(figure.data[0].x) == known["specialization_index"].tolist()
    assert [list(pair) for pair in figure.data[0].customdata] == [[4, feature] for feature in known["feature"]]
    assert sum(figure.data[0].marker.line.width) == 3


def test_labels_in_its_hovers_are_text() -> None:
    described = make_ranked((4,), 9)
    figure = plot_features(described, colours=COLOURS, selected=None)
    hovers = [hover for trace in figure.data for hover in trace.hovertext]
    assert hovers and not any("<script" in hover or "<a " in hover for hover in hovers)


def test_a_table_without_scores_says_so() -> None:
    figure = plot_features(make_ranked((4,), 3).assign(f1=np.nan), colours=COLOURS, selected=None)
    assert figure.layout.annotations[0].text
