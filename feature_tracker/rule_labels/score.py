"""How well a rule predicts where a feature fires, on a balanced sample of held-out tokens."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from feature_tracker.labels.scores import Scores, counted_scores
from feature_tracker.rule_labels.firings import Firings

N_QUANTILES = 10


class Sample(NamedTuple):
    """Positions, half firing and half silent.

    Attributes:
        positions: (n,) int, firing ones first.
        fires: (n,) bool.
    """

    positions: np.ndarray
    fires: np.ndarray


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


def score(predicted: np.ndarray, fires: np.ndarray) -> Scores:
    """Score predictions (n,) bool against what is so (n,) bool."""
    return counted_scores(
        true_positive=int((predicted & fires).sum()),
        false_positive=int((predicted & ~fires).sum()),
        false_negative=int((~predicted & fires).sum()),
        true_negative=int((~predicted & ~fires).sum()),
    )


def _silent(firing: np.ndarray, n_tokens: int, n: int, rng: np.random.Generator) -> np.ndarray:
    """Random positions, n of them, that are not among `firing` (ascending)."""
    # The i-th silent position lies as much further on as there are firing ones before it.
    ranks = np.sort(rng.choice(n_tokens - len(firing), n, replace=False))
    return ranks + np.searchsorted(firing - np.arange(len(firing)), ranks, side="right")
