from __future__ import annotations

import math
from itertools import product

import pytest

from feature_tracker.labels.scores import (
    CONTRADICTORY,
    GOOD,
    GUESS_UNKNOWN,
    NO_BETTER,
    NO_NEGATIVES,
    NOT_SCORED,
    counted_scores,
    reported_scores,
)

NAN = float("nan")


def counted(tp: int, fp: int, fn: int, tn: int):
    return counted_scores(true_positive=tp, false_positive=fp, false_negative=fn, true_negative=tn, unanswered=3)


def test_counts_give_every_score() -> None:
    scores = counted(40, 3, 10, 12)
    assert scores.precision == pytest.approx(40 / 43, abs=1e-12)
    assert scores.recall == pytest.approx(0.8, abs=1e-12)
    assert scores.f1 == pytest.approx(2 * (40 / 43) * 0.8 / (40 / 43 + 0.8), abs=1e-12)
    assert scores.balanced_accuracy == pytest.approx((0.8 + 12 / 15) / 2, abs=1e-12)
    assert (scores.n_positive, scores.n_negative, scores.n_unanswered) == (50, 15, 3)
    share = 50 / 65
    assert scores.f1_always_yes == pytest.approx(2 * share / (1 + share), abs=1e-12)


def test_always_yes_scores_what_it_is_said_to_and_does_not_beat_itself() -> None:
    scores = counted(50, 15, 0, 0)
    assert scores.f1 == scores.f1_always_yes
    assert scores.mark == NO_BETTER


def test_a_sample_without_negatives_is_marked_however_high_the_score() -> None:
    scores = counted(49, 0, 1, 0)
    assert scores.f1 > 0.98
    assert scores.mark == NO_NEGATIVES
    assert scores.f1_always_yes == 1
    assert math.isnan(scores.balanced_accuracy)


def test_without_positives_or_answers_there_is_no_f1() -> None:
    assert counted(0, 0, 0, 0).mark == NOT_SCORED
    assert math.isnan(counted(0, 2, 0, 3).f1)


def test_a_judge_who_never_says_yes_scores_nothing() -> None:
    scores = counted(0, 0, 10, 10)
    assert (scores.f1, scores.precision, scores.mark) == (0, 0, NO_BETTER)


def test_rounded_rates_give_back_what_the_counts_give() -> None:
    """Every judge of 50 positives and 15 negatives, through three decimals."""
    undetermined, exact = 0, []
    for tp, tn in product(range(1, 51), range(16)):
        true = counted(tp, 15 - tn, 50 - tp, tn)
        rounded = (round(x, 3) for x in (true.f1, true.accuracy, true.precision, true.recall))
        found = reported_scores(*rounded)
        if found.mark == GUESS_UNKNOWN:
            undetermined += 1  # everything right
            continue
        assert found.mark == true.mark, (tp, tn, found)
        # Now and then a smaller sample rounds to the same four numbers.
        assert found.f1_always_yes == pytest.approx(true.f1_always_yes, abs=0.025)
        assert found.balanced_accuracy == pytest.approx(true.balanced_accuracy, abs=0.01)
        exact.append(abs(found.f1_always_yes - true.f1_always_yes) < 1e-9)
    assert undetermined == 1
    assert sum(exact) > 0.9 * len(exact)


def test_rates_of_a_sample_without_negatives_are_told() -> None:
    for tp in range(1, 50):
        true = counted(tp, 0, 50 - tp, 0)
        assert reported_scores(*(round(x, 3) for x in (true.f1, true.accuracy, 1.0, true.recall))).mark == NO_NEGATIVES


def test_a_large_sample_is_judged_by_the_formula_and_only_beyond_rounding() -> None:
    true = counted(4_001, 2_003, 1_009, 5_017)
    found = reported_scores(*(round(x, 3) for x in (true.f1, true.accuracy, true.precision, true.recall)))
    assert found.f1_always_yes == pytest.approx(true.f1_always_yes, abs=0.005)
    assert found.balanced_accuracy == pytest.approx(true.balanced_accuracy, abs=0.005)
    assert found.mark == GOOD
    guess = counted(5_010, 7_020, 0, 0)
    share = round(guess.precision, 3)
    assert reported_scores(round(guess.f1, 3), share, share, 1.0).mark == NO_BETTER


@pytest.mark.parametrize(
    ("rates", "mark"),
    [
        ((0.8, NAN, NAN, NAN), GUESS_UNKNOWN),
        ((0.8, NAN, 0.8, 0.8), GUESS_UNKNOWN),
        ((1.0, 1.0, 1.0, 1.0), GUESS_UNKNOWN),
        ((0.0, 0.2, 0.0, 0.0), NO_BETTER),
        ((0.5, 0.9, 0.9, 0.9), CONTRADICTORY),
        ((0.9, 0.1, 0.9, 0.9), CONTRADICTORY),
        ((NAN, NAN, NAN, NAN), NOT_SCORED),
        ((0.8, 0.75, 0.8, 0.8), GOOD),
    ],
)
def test_what_the_numbers_do_not_tell_is_marked(rates: tuple[float, float, float, float], mark: str) -> None:
    assert reported_scores(*rates).mark == mark
