from __future__ import annotations

import math

import numpy as np
import pytest

from feature_tracker.charts.measure import activation_text, one_in, rarity


@pytest.mark.parametrize(
    ("percentile", "said"),
    [
        (100 * (1 - 1 / 12_345), "1 in 12,000"),
        (100 * (1 - 1 / 3_712_345), "1 in 3.7 million"),
        (99.0, "1 in 100"),
        (30.0, "1 in 1.4"),
        (0.0, "1 in 1"),
        (100.0, "never seen before"),
        (math.nan, ""),
    ],
)
def test_a_percentile_is_said_as_one_in_so_many(percentile: float, said: str) -> None:
    assert one_in(percentile) == said


def test_rarity_is_finite_where_the_percentile_is_known() -> None:
    assert rarity([0.0, 90.0, 99.9, math.nan]).tolist() == pytest.approx([1, 10, 1000, math.nan], nan_ok=True)
    assert np.isfinite(rarity(100.0))


def test_an_activation_is_named_by_its_aggregation() -> None:
    assert activation_text(12.345) == "Activation 12.3"
    assert activation_text(0.1234, "share") == "Share of words 12.3%"
