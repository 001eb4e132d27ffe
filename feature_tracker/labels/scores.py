"""Scores of a label, and whether its F1 beats always saying yes on the same sample.

A judge who always says yes on a sample with a share p of positives has precision p and recall 1, so F1 = 2p / (1 + p):
0.667 where half is positive, 0.95 where nine in ten are. A label that doesn't beat that says nothing.
"""

from __future__ import annotations

import math
from itertools import product
from typing import NamedTuple

NAN = float("nan")
ROUNDING = 0.0005
"""Half a unit of the last digit of a reported score: tools write three decimals."""
_CLOSE = ROUNDING + 1e-9
_LARGEST_SAMPLE = 400  # judges are asked some tens of questions a label
_COARSE_ROUNDING = 0.005  # half a unit of two decimals, so that coarser rounding isn't taken for a contradiction

TOP_WORDS, JUDGED = "top words", "blind judge"
"""How labels are scored here: top words as a rule, written labels by a judge who knows nothing else. In both F1, firing
and silent places weigh alike, whatever their number; see `labels.judged`."""

GOOD = ""
NOT_SCORED = "not scored"
NO_NEGATIVES = "no negatives"
NO_BETTER = "no better than always yes"
GUESS_UNKNOWN = "guess unknown"
CONTRADICTORY = "contradictory"
MARKS = {
    GOOD: "its F1 beats always saying yes on the same sample",
    NOT_SCORED: "it has no F1",
    NO_NEGATIVES: "scored on positives alone, where every yes is right",
    NO_BETTER: "its F1 does not beat always saying yes on the same sample",
    GUESS_UNKNOWN: "what always saying yes scores can't be told from the numbers given",
    CONTRADICTORY: "its F1, accuracy, precision and recall can't belong together",
}
"""What can speak against a label's F1, with its meaning. Only a label without a mark is reliable."""


class Scores(NamedTuple):
    """Scores of one label; NaN where unknown. The fields are columns of the label table, see `labels.columns`."""

    f1: float = NAN
    precision: float = NAN
    recall: float = NAN
    accuracy: float = NAN
    balanced_accuracy: float = NAN
    n_positive: float = NAN
    n_negative: float = NAN
    n_unanswered: float = NAN
    f1_always_yes: float = NAN
    mark: str = NOT_SCORED


UNSCORED = Scores()


def always_yes_f1(share: float) -> float:
    """F1 of always saying yes where a share p of the sample is positive: 2p / (1 + p)."""
    return 2 * share / (1 + share)


def counted_scores(
    *, true_positive: int, false_positive: int, false_negative: int, true_negative: int, unanswered: int = 0
) -> Scores:
    """Scores from the counts of a judge's answers. Without positives there is no F1; without a yes, precision is 0."""
    positive, negative = true_positive + false_negative, false_positive + true_negative
    n = positive + negative
    yes = true_positive + false_positive
    counts = Scores(n_positive=positive, n_negative=negative, n_unanswered=unanswered)
    if not positive:
        return counts
    f1 = 2 * true_positive / (yes + positive)
    guess = 2 * positive / (n + positive)
    mark = NO_NEGATIVES if not negative else GOOD if f1 > guess else NO_BETTER
    recall = true_positive / positive
    return counts._replace(
        f1=f1,
        precision=true_positive / yes if yes else 0.0,
        recall=recall,
        accuracy=(true_positive + true_negative) / n,
        balanced_accuracy=(recall + true_negative / negative) / 2 if negative else NAN,
        f1_always_yes=guess,
        mark=mark,
    )


def reported_scores(f1: float, accuracy: float = NAN, precision: float = NAN, recall: float = NAN) -> Scores:
    """Scores from the rounded numbers that a file reports.

    Precision P, recall R and accuracy A fix the share p of positives: of the sample, R p are right yeses and
    R p (1 - P) / P wrong ones, so A = 1 - p (1 - 2 R + R / P) and p = (1 - A) / (1 - 2 R + R / P), unless everything or
    nothing was right. Rounding shifts p. The smallest sample of whole counts that gives all four numbers therefore
    stands for the true one. Where there is none, a label must beat always saying yes by more than rounding can.
    """
    given = Scores(f1=f1, precision=precision, recall=recall, accuracy=accuracy)
    if math.isnan(f1):
        return given
    rates = (accuracy, precision, recall)
    if any(map(math.isnan, rates)):
        return given._replace(mark=GUESS_UNKNOWN)
    if not _agree(f1, *rates):
        return given._replace(mark=CONTRADICTORY)
    share = _share(*rates)
    if math.isnan(share):
        # On any sample, an F1 of 0 is no better than always saying yes.
        return given._replace(mark=NO_BETTER if f1 == 0 else GUESS_UNKNOWN)
    if precision == 1 and accuracy == recall:
        # Without a wrong yes, accuracy equals recall only in a sample without negatives.
        return given._replace(f1_always_yes=1.0, mark=NO_NEGATIVES)
    counted = _smallest_counts(f1, *rates, share)
    if counted is not None:
        return given._replace(
            balanced_accuracy=counted.balanced_accuracy, f1_always_yes=counted.f1_always_yes, mark=counted.mark
        )
    share = min(share, 1.0)
    wrong_yes = recall * share * (1 - precision) / precision
    specificity = min(max(1 - wrong_yes / (1 - share), 0.0), 1.0) if share < 1 else NAN
    largest = min(max(_share(*corner) for corner in _corners(rates, ROUNDING)), 1.0)
    return given._replace(
        balanced_accuracy=(recall + specificity) / 2,
        f1_always_yes=always_yes_f1(share),
        mark=GOOD if f1 - ROUNDING > always_yes_f1(largest) else NO_BETTER,
    )


def _smallest_counts(f1: float, accuracy: float, precision: float, recall: float, share: float) -> Scores | None:
    """Scores of the smallest sample that gives these numbers at three decimals; `None` where no small one does."""
    for n in range(2, _LARGEST_SAMPLE + 1):
        for positive in {int(share * n), int(share * n) + 1}:
            right_yes = round(recall * positive)
            wrong_yes = round(right_yes / precision) - right_yes
            right_no = round(accuracy * n) - right_yes
            if not (0 < positive <= n and right_yes and right_no >= 0 and wrong_yes + right_no == n - positive):
                continue
            scores = counted_scores(
                true_positive=right_yes,
                false_positive=wrong_yes,
                false_negative=positive - right_yes,
                true_negative=right_no,
            )
            counted = (scores.f1, scores.accuracy, scores.precision, scores.recall)
            if all(abs(a - b) <= _CLOSE for a, b in zip(counted, (f1, accuracy, precision, recall), strict=True)):
                return scores
    return None


def _share(accuracy: float, precision: float, recall: float) -> float:
    """Share of positives in the sample: NaN where the three don't fix it, above 1 where they contradict each other."""
    if precision <= 0 or recall <= 0:
        return NAN
    scale = 1 - 2 * recall + recall / precision
    return (1 - accuracy) / scale if scale > 1e-9 else NAN


def _corners(rates: tuple[float, float, float], half: float) -> list[tuple[float, float, float]]:
    """Every combination of the rates moved down and up by half a unit, within 0 and 1."""
    accuracy, precision, recall = ((max(rate - half, 0.0), min(rate + half, 1.0)) for rate in rates)
    return list(product(accuracy, precision, recall))


def _agree(f1: float, accuracy: float, precision: float, recall: float) -> bool:
    """Whether one sample can give all four numbers, each rounded to two decimals or more."""
    corners = _corners((accuracy, precision, recall), _COARSE_ROUNDING)
    harmonic = [2 * p * r / (p + r) if p + r else 0.0 for _, p, r in corners]
    if not min(harmonic) - _COARSE_ROUNDING <= f1 <= max(harmonic) + _COARSE_ROUNDING:
        return False
    if precision <= 0 or recall <= 0:
        return True
    # The share of right noes, A - R p, can't be negative.
    shares = [(share, a, r) for a, p, r in corners if not math.isnan(share := _share(a, p, r))]
    return not shares or any(share <= 1 and a >= r * share for share, a, r in shares)
