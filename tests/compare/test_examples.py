from __future__ import annotations

import numpy as np
import pytest

from feature_tracker.compare.examples import FEWEST, find_features, interval, separation
from feature_tracker.errors import TrackerError
from feature_tracker.tracker import Tracker

WITH = ["Rates rose again.", "The bank raised rates.", "Higher rates hurt.", "Rates were up.", "Cut rates now."]
WITHOUT = ["Sales fell.", "A new plant opened.", "The board met.", "Costs were flat.", "Demand is strong."]


def naive_auc(values: np.ndarray, is_with: np.ndarray) -> float:
    pairs = values[is_with][:, None] - values[~is_with]
    return float((pairs > 0).mean() + 0.5 * (pairs == 0).mean())


def test_auc_is_the_share_of_pairs_in_the_right_order() -> None:
    rng = np.random.default_rng(0)
    values = np.maximum(rng.normal(size=(17, 30)), 0)  # with ties, as where features don't fire
    is_with = np.arange(17) < 7
    auc, _, p = separation(values, is_with)
    assert auc == pytest.approx([naive_auc(column, is_with) for column in values.T])
    assert (p > 0).all() and (p <= 1).all()


def test_a_feature_that_separates_the_sides_is_found_among_hundreds() -> None:
    rng = np.random.default_rng(1)
    values = rng.uniform(size=(20, 500))
    is_with = np.arange(20) < 10
    values[:, 7] = is_with + rng.uniform(0, 0.5, 20)
    auc, statistic, p = separation(values, is_with)
    assert auc[7] == 1
    assert np.abs(statistic).argmax() == 7
    assert p[7] < 0.05
    assert (p[np.arange(500) != 7] > 0.05).all()


def test_shuffled_sides_find_nothing_in_nineteen_of_twenty_lists() -> None:
    rng = np.random.default_rng(2)
    values = np.maximum(rng.normal(size=(24, 300)), 0)
    found = [bool((separation(values, rng.permutation(24) < 12).p <= 0.05).any()) for _ in range(200)]
    assert np.mean(found) <= 0.09  # 0.05, and three standard deviations of 200 lists


def test_the_interval_narrows_with_examples_and_holds_the_auc() -> None:
    for n in (5, 50):
        low, high = interval(np.array([0.5, 0.8, 1.0]), n, n)
        assert (low <= [0.5, 0.8, 1.0]).all() and (high >= [0.5, 0.8, 1.0]).all()
    assert interval(np.array([0.8]), 50, 50)[0] > interval(np.array([0.8]), 5, 5)[0]


def test_rows_say_what_separates_and_on_which_words(tiny_tracker: Tracker) -> None:
    found = tiny_tracker.find(WITH, WITHOUT)
    assert (found.n_with, found.n_without) == (5, 5)
    assert found.features["p"].is_monotonic_increasing
    first = found.features.iloc[0]
    assert first["words"]
    assert (first["with_it"] > first["without_it"]) == (first["auc"] > 0.5)
    assert first["low"] <= first["auc"] <= first["high"]


@pytest.mark.parametrize(
    ("with_it", "without_it", "message"),
    [
        ([], WITHOUT, "0 examples with it are too few"),
        (WITH, WITHOUT[: FEWEST - 1], "3 examples without it are too few"),
        ([WITH[0]] * 9, WITHOUT, "1 examples with it"),
        (WITH, [*WITHOUT, WITH[0]], "stand on both sides, such as “Rates rose again.”"),
    ],
)
def test_examples_that_tell_nothing_are_refused(
    tiny_tracker: Tracker, with_it: list[str], without_it: list[str], message: str
) -> None:
    with pytest.raises(TrackerError, match=message):
        tiny_tracker.find(with_it, without_it)


def test_the_order_of_examples_does_not_matter(tiny_tracker: Tracker) -> None:
    reader, _ = tiny_tracker.kinds_of_change()
    one = find_features(WITH, WITHOUT, reader, tiny_tracker.labels).features
    other = find_features(WITH[::-1], WITHOUT[::-1], reader, tiny_tracker.labels).features
    key = ["layer", "feature"]
    assert np.allclose(one.set_index(key)["auc"].sort_index(), other.set_index(key)["auc"].sort_index())
