"""Scores of a label from a judge's answers on a sample of held-out text, drawn by strength of firing.

With k active latents of a few hundred, the weak half of a feature's firings is noise that no label can explain. So
firings are sampled by strength, and F1 is read in three ways: `f1` weighs the recall of each stratum by its share of
the feature's activation, `f1_uniform` by its share of firings, and `f1_strong` looks at the strongest stratum alone.
With r this recall and q the share of silent places judged to fire, F1 = 2 r / (1 + r + q): the F1 of a sample of which
half fires, on which always saying yes scores 2/3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from feature_tracker.labels.scores import NAN

RANDOM_SILENT, HARD_SILENT = -1, -2
"""Strata of silent places: drawn at random, and easily taken for firings."""


class Stratum(NamedTuple):
    """The firings of a feature between two ranks of strength, in held-out text.

    Attributes:
        firings: share of all firings.
        activation: share of the activation of all firings.
    """

    firings: float
    activation: float


class JudgedScores(NamedTuple):
    """Scores of one label; NaN where the answers don't tell. The fields are columns of the label table."""

    f1: float = NAN
    f1_strong: float = NAN
    f1_uniform: float = NAN
    f1_hard: float = NAN
    precision: float = NAN
    recall: float = NAN
    recall_0_10: float = NAN
    recall_10_30: float = NAN
    recall_30_60: float = NAN
    recall_60_100: float = NAN
    n_positive: int = 0
    n_negative: int = 0
    n_hard: int = 0
    n_unanswered: int = 0


def judged_scores(strata: Sequence[Stratum], stratum: Sequence[int], answers: Sequence[bool | None]) -> JudgedScores:
    """Score a judge's answers.

    Args:
        strata: four, from the strongest on.
        stratum: of each place asked about, an index into `strata`, `RANDOM_SILENT` or `HARD_SILENT`.
        answers: whether the judge says that the feature fires there; `None` without an answer, which enters no score.
    """
    at, is_answered = np.array(stratum), np.array([answer is not None for answer in answers], bool)
    yes = np.array([bool(answer) for answer in answers], bool)

    def share(of: int) -> float:
        asked = is_answered & (at == of)
        return float(yes[asked].mean()) if asked.any() else NAN

    recalls = np.array([share(index) for index in range(len(strata))])
    by_activation = _weighed(recalls, [part.activation for part in strata])
    by_firing = _weighed(recalls, [part.firings for part in strata])
    silent, hard = share(RANDOM_SILENT), share(HARD_SILENT)
    return JudgedScores(
        _f1(by_activation, silent),
        _f1(float(recalls[0]), silent),
        _f1(by_firing, silent),
        _f1(by_activation, hard),
        0.0 if by_activation + silent == 0 else by_activation / (by_activation + silent),
        by_activation,
        *map(float, recalls),
        n_positive=int((is_answered & (at >= 0)).sum()),
        n_negative=int((is_answered & (at == RANDOM_SILENT)).sum()),
        n_hard=int((is_answered & (at == HARD_SILENT)).sum()),
        n_unanswered=int((~is_answered).sum()),
    )


def _weighed(recalls: np.ndarray, weights: Sequence[float]) -> float:
    """Mean recall over the strata that have answers."""
    known = ~np.isnan(recalls)
    total = float(np.array(weights)[known].sum())
    return float(recalls[known] @ np.array(weights)[known]) / total if total else NAN


def _f1(recall: float, silent: float) -> float:
    return 2 * recall / (1 + recall + silent)
