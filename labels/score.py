"""How well a rule predicts where a feature fires, on a balanced sample of held-out tokens."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from labels.firings import Firings

N_QUANTILES = 10


class Sample(NamedTuple):
    """Positions, half firing and half silent.

    Attributes:
        positions: (n,) int, firing ones first.
        fires: (n,) bool.
    """

    positions: np.ndarray
    fires: np.ndarray


class Score(NamedTuple):
    """A judge's success on a balanced sample; one who always says yes has F1 2/3 and balanced accuracy 1/2."""

    f1: float
    precision: float
    recall: float
    balanced_accuracy: float
    n_positive: int
    n_negative: int


NOT_SCORED = Score(*[float("nan")] * 4, n_positive=0, n_negative=0)
"""Of a feature that fires too rarely."""


def balanced_sample(firings: Firings, latent: int, n: int, rng: np.random.Generator) -> Sample:
    """At most n firing positions, as many from each tenth of the latent's activations, and as many silent ones."""
    positions, values = firings.of(latent)
    n = min(n, len(positions), firings.n_tokens - len(positions))
    tenths = np.array_split(positions[np.argsort(values, kind="stable")], N_QUANTILES)
    shares = np.array_split(np.arange(n), N_QUANTILES)
    # Where n is nearly all of them a tenth can be short by one; the rest of the sample makes up for it.
    firing = np.concatenate(
        [
            rng.choice(tenth, min(len(share), len(tenth)), replace=False)
            for tenth, share in zip(tenths, shares, strict=True)
        ]
    )
    silent = _silent(positions, firings.n_tokens, len(firing), rng)
    return Sample(np.concatenate([firing, silent]), np.arange(2 * len(firing)) < len(firing))


def score(predicted: np.ndarray, fires: np.ndarray) -> Score:
    """Score predictions (n,) bool against what is so (n,) bool."""
    yes, right = int(predicted.sum()), int((predicted & fires).sum())
    n_positive, n_negative = int(fires.sum()), int((~fires).sum())
    recall = right / n_positive if n_positive else float("nan")
    specificity = 1 - (yes - right) / n_negative if n_negative else float("nan")
    return Score(
        f1=2 * right / (yes + n_positive) if n_positive else float("nan"),
        precision=right / yes if yes else 0.0,
        recall=recall,
        balanced_accuracy=(recall + specificity) / 2,
        n_positive=n_positive,
        n_negative=n_negative,
    )


def _silent(firing: np.ndarray, n_tokens: int, n: int, rng: np.random.Generator) -> np.ndarray:
    """Random positions, n of them, that are not among `firing` (ascending)."""
    # The i-th silent position lies as much further on as there are firing ones before it.
    ranks = np.sort(rng.choice(n_tokens - len(firing), n, replace=False))
    return ranks + np.searchsorted(firing - np.arange(len(firing)), ranks, side="right")
