from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from feature_tracker.charts.documents import MOST_COLUMNS, plot_apart, plot_map, plot_over_time, plot_standing
from feature_tracker.feature import Feature
from tests.support import HOSTILE


def texts(figure: object) -> str:
    return str(figure.to_plotly_json())


def assert_harmless(figure: object) -> None:
    shown = texts(figure)
    assert "<script" not in shown
    assert "<a " not in shown
    assert "$x^2$" not in shown


def test_a_map_has_a_column_a_document_and_a_click_gives_its_row() -> None:
    values = np.arange(12.0).reshape(4, 3)
    figure = plot_map(
        values,
        list("abc"),
        list("wxyz"),
        ["2024-01-01", "", "", "2024-02-01"],
        ticks={0: "2024-01-01", 3: "2024-02-01"},
        against="ordinary text",
    )
    assert np.array(figure.data[0].z) == pytest.approx(values.T)
    assert [row for (row,) in figure.data[1].customdata] == [0, 1, 2, 3] * 3
    assert list(figure.layout.xaxis.ticktext) == ["2024-01-01", "2024-02-01"]


def test_many_documents_share_columns_and_a_click_gives_the_strongest_of_them() -> None:
    values = np.zeros((5 * MOST_COLUMNS, 1))
    values[7] = 10.0
    names = [f"document {number}" for number in range(len(values))]
    figure = plot_map(values, ["theme"], names, [""] * len(names), ticks={6: "here"}, against="ordinary text")
    assert np.array(figure.data[0].z).shape == (1, MOST_COLUMNS)
    assert figure.data[0].z[0][1] == 2.0
    assert list(figure.data[1].customdata[1]) == [7]
    assert list(figure.layout.xaxis.tickvals) == [1]
    assert "5 documents" in figure.data[1].hovertext[1]


def test_a_map_without_documents_or_themes_says_so() -> None:
    for values, themes, names in ((np.zeros((0, 2)), ["a", "b"], []), (np.zeros((2, 0)), [], ["a", "b"])):
        assert plot_map(values, themes, names, [""] * len(names), ticks={}, against="x").layout.annotations[0].text


def test_a_line_over_time_has_intervals_where_there_are_enough_documents() -> None:
    rows = pd.DataFrame(
        {
            "period": ["2023Q1", "2023Q2", "2023Q4"],
            "n_documents": [9, 2, 9],
            "mean": [1.0, 2.0, 3.0],
            "low": [0.5, np.nan, 2.5],
            "high": [1.5, np.nan, 3.5],
        }
    )
    figure = plot_over_time({HOSTILE[0]: rows, "other": rows.iloc[:0]}, against="ordinary text")
    assert list(figure.data[0].y) == [1.0, 2.0, 3.0]
    assert list(figure.data[0].error_y.array) == pytest.approx([0.5, np.nan, 0.5], nan_ok=True)
    assert "too few" in figure.data[0].hovertext[1]
    assert list(figure.layout.xaxis.categoryarray) == ["2023Q1", "2023Q2", "2023Q4"]
    assert_harmless(figure)
    assert plot_over_time({}, against="x").layout.annotations[0].text


def apart(auc: list[float]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "layer": 4, "feature": range(len(auc)), "auc": auc, "q": 0.01, "first_mean": 0.2, "second_mean": 0.1,
            "index": 0.3, "label": [HOSTILE[number % len(HOSTILE)] for number in range(len(auc))], "reliable": True,
        }
    )  # fmt: skip


def test_what_sets_groups_apart_goes_to_the_side_that_has_more_of_it() -> None:
    figure = plot_apart(apart([0.3, 0.9]), first=HOSTILE[1], second="second", selected=Feature(4, 0))
    bar = figure.data[0]
    assert bar.base == 0.5
    assert list(bar.x) == pytest.approx([0.4, -0.2])
    assert [list(feature) for feature in bar.customdata] == [[4, 1], [4, 0]]
    assert list(bar.marker.line.width) == [0, 3]
    low, high = figure.layout.xaxis.range
    assert low <= 0.3 and high >= 0.9 and low + high == pytest.approx(1)
    assert_harmless(figure)
    assert plot_apart(apart([]), first="a", second="b", selected=None).layout.annotations[0].text


def test_what_stands_out_in_a_document_is_a_bar_a_feature() -> None:
    rows = apart([0.5, 0.5]).assign(score=[3.0, 1.0], reliable=[True, False])
    figure = plot_standing(rows, against="ordinary text", selected=Feature(4, 1))
    assert list(figure.data[0].x) == [3.0, 1.0]
    assert list(figure.data[0].marker.line.width) == [0, 3]
    assert figure.layout.yaxis.ticktext[1].endswith("?")
    assert_harmless(figure)
    assert plot_standing(rows.iloc[:0], against="x", selected=None).layout.annotations[0].text
