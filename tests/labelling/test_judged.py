from __future__ import annotations

import numpy as np
import pytest

from feature_tracker.labels.judged import HARD_SILENT, RANDOM_SILENT, Stratum, judged_scores

STRATA = [Stratum(0.1, 0.4), Stratum(0.2, 0.3), Stratum(0.3, 0.2), Stratum(0.4, 0.1)]
PLACES = [0] * 6 + [1] * 4 + [2] * 3 + [3] * 3 + [RANDOM_SILENT] * 8 + [HARD_SILENT] * 8


def answers(yes: dict[int, int]) -> list[bool]:
    """The first so many places of each stratum are answered yes."""
    left = dict(yes)
    given = []
    for stratum in PLACES:
        given.append(left.get(stratum, 0) > 0)
        left[stratum] = left.get(stratum, 0) - 1
    return given


def test_each_reading_weighs_the_strata_as_it_says() -> None:
    scores = judged_scores(STRATA, PLACES, answers({0: 6, 1: 2, 2: 1, RANDOM_SILENT: 2, HARD_SILENT: 4}))
    recall = 0.4 * 1 + 0.3 * 0.5 + 0.2 / 3
    uniform = 0.1 * 1 + 0.2 * 0.5 + 0.3 / 3
    assert scores.recall == pytest.approx(recall)
    assert scores.precision == pytest.approx(recall / (recall + 0.25))
    assert scores.f1 == pytest.approx(2 * recall / (1 + recall + 0.25))
    assert scores.f1 == pytest.approx(2 * scores.precision * recall / (scores.precision + recall))
    assert scores.f1_strong == pytest.approx(2 / 2.25)
    assert scores.f1_uniform == pytest.approx(2 * uniform / (1.25 + uniform))
    assert scores.f1_hard == pytest.approx(2 * recall / (1.5 + recall))
    assert scores[6:10] == pytest.approx((1, 0.5, 1 / 3, 0))
    assert scores[10:] == (16, 8, 8, 0)


def test_always_saying_yes_scores_two_thirds_and_always_no_nothing() -> None:
    yes = judged_scores(STRATA, PLACES, [True] * 32)
    assert yes[:4] == pytest.approx((2 / 3,) * 4)
    no = judged_scores(STRATA, PLACES, [False] * 32)
    assert no[:6] == (0, 0, 0, 0, 0, 0)


def test_what_is_unanswered_enters_no_score() -> None:
    given = answers({0: 6, 1: 4, 2: 3, 3: 3})
    some = [None if stratum in (2, HARD_SILENT) else answer for stratum, answer in zip(PLACES, given, strict=True)]
    scores = judged_scores(STRATA, PLACES, some)
    assert (scores.f1, scores.recall, scores.f1_uniform) == pytest.approx((1, 1, 1))
    assert np.isnan(scores.f1_hard)
    assert np.isnan(scores.recall_30_60)
    assert scores[10:] == (13, 8, 0, 11)
    assert np.isnan(judged_scores(STRATA, PLACES, [None] * 32).f1)
