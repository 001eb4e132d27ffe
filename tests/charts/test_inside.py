from __future__ import annotations

import numpy as np
import pytest

from feature_tracker.charts.inside import STRATA, plot_activations, plot_recall

ROW = {
    "density": 0.1, "q50": 1.0, "q90": 2.0, "q99": 3.0, "max_activation": 4.0,
    "finance_tokens": 60_000.0, "general_tokens": 40_000.0,
    "recall_0_10": 1.0, "recall_10_30": 0.75, "recall_30_60": 0.5, "recall_60_100": 0.0,
}  # fmt: skip


def test_recall_is_drawn_by_falling_strength() -> None:
    line = plot_recall(ROW, colour="#1F6FC4").data[0]
    assert list(line.x) == list(STRATA.values())
    assert list(line.y) == [1.0, 0.75, 0.5, 0.0]
    assert list(line.text) == ["100%", "75%", "50%", "0%"]


def test_a_label_that_nobody_judged_says_so() -> None:
    assert "Nobody has judged" in plot_recall({}, colour="#1F6FC4").layout.annotations[0].text


def test_activations_fall_from_the_density_to_one_token_of_the_corpus() -> None:
    figure = plot_activations(ROW, 2.5, colour="#1F6FC4")
    assert list(figure.data[0].x) == [0, 1, 2, 3, 4]
    assert list(figure.data[0].y) == pytest.approx([0.1, 0.05, 0.01, 0.001, 1e-5])
    assert figure.layout.shapes[0].x0 == 2.5
    assert list(figure.layout.yaxis.ticktext) == ["1 in 1", "1 in 100", "1 in 10,000"]


def test_a_peak_above_all_of_the_corpus_stays_in_the_chart() -> None:
    assert plot_activations(ROW, 10.0, colour="#1F6FC4").layout.xaxis.range[1] > 10


@pytest.mark.parametrize("unknown", [{"q90": np.nan}, {"density": np.nan}, {"density": 0.0}])
def test_activations_that_were_not_measured_say_so(unknown: dict[str, float]) -> None:
    assert "not measured" in plot_activations(ROW | unknown, 1.0, colour="#1F6FC4").layout.annotations[0].text
