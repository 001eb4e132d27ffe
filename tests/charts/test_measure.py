from __future__ import annotations

import math

import pytest

from feature_tracker.charts.measure import activation_text, chance_text, one_in


@pytest.mark.parametrize(
    ("rarity", "said"),
    [
        (12_345.0, "1 in 12,000"),
        (3_712_345.0, "1 in 3.7 million"),
        (100.0, "1 in 100"),
        (1.4, "1 in 1.4"),
        (1.0, "1 in 1"),
        (math.nan, ""),
    ],
)
def test_a_rarity_is_said_as_one_in_so_many(rarity: float, said: str) -> None:
    assert one_in(rarity) == said


def test_a_rarity_that_is_a_lower_limit_says_so() -> None:
    assert one_in(12_345, at_least=True) == "1 in ≥12,000"


@pytest.mark.parametrize(
    ("expected", "said"), [(0.05, "under 0.1"), (3.14, "about 3.1"), (12.3, "about 12"), (math.nan, "")]
)
def test_what_chance_gives_is_said_in_words(expected: float, said: str) -> None:
    assert chance_text(expected) == said


def test_an_activation_is_named_by_its_aggregation() -> None:
    assert activation_text(12.345) == "Activation 12.3"
    assert activation_text(0.1234, "share") == "Share of words 12.3%"
