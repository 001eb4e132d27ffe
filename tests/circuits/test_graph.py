from __future__ import annotations

import pandas as pd

from feature_tracker.circuits.correlation import COLUMNS
from feature_tracker.circuits.graph import feature_graph
from feature_tracker.feature import Feature

RANKED = pd.DataFrame(
    {"layer": [1, 1, 3], "feature": [5, 6, 5], "label": ["rates", "years", "banks"], "activation": [1.0, 2.0, 3.0]}
)


def links(*rows: tuple[float, ...]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=COLUMNS)


def test_every_ranked_feature_is_a_node_with_its_row() -> None:
    graph = feature_graph(RANKED, links())
    assert set(graph) == {Feature(1, 5), Feature(1, 6), Feature(3, 5)}
    assert graph.nodes[Feature(3, 5)]["label"] == "banks"
    assert graph.number_of_edges() == 0


def test_edges_keep_direction_and_sign() -> None:
    graph = feature_graph(RANKED, links((1, 5, 3, 5, -0.6, 20, 20.0, 0.01, 0.02)))
    assert list(graph.edges(data=True)) == [(Feature(1, 5), Feature(3, 5), {"r": -0.6, "q": 0.02, "n_either": 20})]


def test_a_link_to_a_feature_that_is_not_ranked_adds_no_node() -> None:
    graph = feature_graph(RANKED, links((1, 5, 3, 6, 0.9, 20, 20.0, 0.0, 0.0)))
    assert len(graph) == 3
    assert graph.number_of_edges() == 0
