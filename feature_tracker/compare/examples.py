"""Find the features that tell sentences with something in them from sentences without it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from feature_tracker.compare.strengths import Span, SpanReader
from feature_tracker.errors import TrackerError
from feature_tracker.feature import Feature
from feature_tracker.labels.columns import KEYS
from feature_tracker.labels.table import LabelTable
from feature_tracker.progress import Progress, silent
from feature_tracker.tracing.trace import Trace

FEWEST = 4
"""Examples of either side. With four of each, no separation of theirs is rarer than 1 in 35 by chance."""
SIGNIFICANT = 0.05
"""Largest p of what counts as found."""
_LEAST_SPREAD = 0.3  # of strengths, which go to 1; finds more in ten examples than 0.15, 0.6 or a rank statistic does
_PERMUTATIONS = 1000
_SEED = 0
_SHOWN_WORDS = 6


class Found(NamedTuple):
    """What tells examples with something from examples without.

    Attributes:
        features: one row a feature that fires in any example, the best first: `layer, feature, label, kind, f1, auc,
            low, high, with_it, without_it, p, words`. AUC is how often an example with it makes the feature fire more
            strongly than one without, ties counting half, and below 0.5 where it fires more without; low and high are
            its 95 % interval. With and without are mean strengths. p is the share of shuffles of the sides in which any
            feature separates them as well. Words are those on which it fires most.
        n_with, n_without: examples of either side.
    """

    features: pd.DataFrame
    n_with: int
    n_without: int

    @property
    def significant(self) -> pd.DataFrame:
        """The features that separate the sides better than chance would let any."""
        return self.features[self.features["p"] <= SIGNIFICANT]


def find_features(
    with_it: Sequence[str],
    without_it: Sequence[str],
    reader: SpanReader,
    labels: LabelTable,
    *,
    progress: Progress = silent,
) -> Found:
    """Rank features by how well they tell the two sides apart, and test the best against chance.

    A feature's value on an example is its largest strength, read alone. The test is a permutation test of the largest
    statistic over all features (Westfall & Young 1993, Resampling-based multiple testing), so that p holds for the
    whole list: with shuffled sides, no feature has p of 0.05 or less in 19 of 20 lists.

    Args:
        reader: with a scale for every feature.

    Raises:
        TrackerError: too few examples, or the same example on both sides.
    """
    sides = [list(dict.fromkeys(text.strip() for text in side if text.strip())) for side in (with_it, without_it)]
    _check(*sides)
    texts = [*sides[0], *sides[1]]
    traces = reader.trace(texts, progress)
    values = reader.strengths(traces, [Span(text, 0, len(text)) for text in texts])
    fires = np.flatnonzero(values.max(axis=0) > 0)
    is_with = np.arange(len(texts)) < len(sides[0])
    auc, statistic, p = separation(values[:, fires], is_with)
    low, high = interval(auc, len(sides[0]), len(sides[1]))
    features = [reader.features[row] for row in fires]
    known = labels.describe(pd.MultiIndex.from_tuples([tuple(feature) for feature in features], names=KEYS))
    frame = pd.DataFrame(features, columns=KEYS).assign(
        label=known["label"].to_numpy(), kind=known["kind"].to_numpy(), f1=known["f1"].to_numpy(),
        auc=auc, low=low, high=high,
        with_it=values[is_with][:, fires].mean(axis=0), without_it=values[~is_with][:, fires].mean(axis=0), p=p,
    )  # fmt: skip
    order = np.argsort(-np.abs(statistic), kind="stable")
    frame = frame.iloc[order].reset_index(drop=True)
    ranked = [features[row] for row in order]
    shown = [
        _words(feature, sides[0 if better else 1], traces) if p <= SIGNIFICANT or place < _SHOWN_WORDS else ""
        for place, (feature, better, p) in enumerate(zip(ranked, statistic[order] >= 0, frame["p"], strict=True))
    ]
    return Found(frame.assign(words=shown), len(sides[0]), len(sides[1]))


def _check(with_it: Sequence[str], without_it: Sequence[str]) -> None:
    for side, name in ((with_it, "with"), (without_it, "without")):
        if len(side) < FEWEST:
            raise TrackerError(
                f"{len(side)} examples {name} it are too few; at least {FEWEST} of either side are needed, and ten or "
                "more tell better. Repeated examples count once."
            )
    both = set(with_it) & set(without_it)
    if both:
        raise TrackerError(
            f"{len(both)} of the examples stand on both sides, such as “{min(both)[:60]}”. Decide on one."
        )


class Separation(NamedTuple):
    """How well each feature tells two sides apart; all (n_features,).

    Attributes:
        auc: how often an example with it has the larger value, ties counting half.
        statistic: difference of the sides' means over the root of their summed variances and a constant, which keeps
            features that hardly vary from coming first (Tusher et al. 2001, Significance analysis of microarrays).
        p: share of shuffles of the sides in which any feature's statistic is as far from 0.
    """

    auc: np.ndarray
    statistic: np.ndarray
    p: np.ndarray


def separation(values: np.ndarray, is_with: np.ndarray) -> Separation:
    """Compare the sides by each feature.

    Args:
        values: (n_examples, n_features).
        is_with: (n_examples,) bool.
    """
    rng = np.random.default_rng(_SEED)
    shuffles = np.array([rng.permutation(is_with) for _ in range(_PERMUTATIONS)], dtype=float)
    statistic = _statistic(values, is_with[None].astype(float))[0]
    largest = np.abs(_statistic(values, shuffles)).max(axis=1)
    as_large = (largest[:, None] >= np.abs(statistic) - 1e-9).sum(axis=0)
    n_with, n_without = int(is_with.sum()), int((~is_with).sum())
    ranks = rankdata(values, axis=0)[is_with].sum(axis=0)
    auc = (ranks - n_with * (n_with + 1) / 2) / (n_with * n_without)
    return Separation(auc, statistic, (1 + as_large) / (1 + _PERMUTATIONS))


def _statistic(values: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """(n_sides, n_features) `Separation.statistic` for each row of sides (n_sides, n_examples), 1 for with it."""
    means, variances = [], []
    for side in (sides, 1 - sides):
        n = side.sum(axis=1, keepdims=True)
        means.append(side @ values / n)
        variances.append(side @ values**2 / n - means[-1] ** 2)
    return (means[0] - means[1]) / (np.sqrt(np.maximum(variances[0] + variances[1], 0)) + _LEAST_SPREAD)


def interval(auc: np.ndarray, n_with: int, n_without: int) -> tuple[np.ndarray, np.ndarray]:
    """The 95 % interval of AUC (Hanley & McNeil 1982, The meaning and use of the area under a ROC curve, eq. 1)."""
    best = np.maximum(auc, 1 - auc)
    both_with, both_without = best / (2 - best), 2 * best**2 / (1 + best)
    variance = (
        best * (1 - best) + (n_with - 1) * (both_with - best**2) + (n_without - 1) * (both_without - best**2)
    ) / (n_with * n_without)
    reach = 1.96 * np.sqrt(np.maximum(variance, 0))
    return np.clip(auc - reach, 0, 1), np.clip(auc + reach, 0, 1)


def _words(feature: Feature, examples: Sequence[str], traces: Mapping[str, Trace]) -> str:
    """The words of some examples on which a feature fires most, each once."""
    strongest: dict[str, float] = {}
    for text in examples:
        trace = traces[text]
        column = trace.column(feature)
        position = trace.peak(feature)
        word = trace.tokens.word_at(position).casefold()
        strongest[word] = max(strongest.get(word, 0.0), float(column[position]))
    words = sorted((word for word in strongest if strongest[word] > 0), key=lambda word: -strongest[word])
    return ", ".join(words[:_SHOWN_WORDS])
