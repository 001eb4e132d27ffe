"""Pearson correlation between features of different layers over the tokens of a text, compared with chance.

Tokens are not independent (features stay on for a while), activations are skewed (mostly 0), and there are many pairs.
Every pair therefore has an effective sample size, a p-value that allows for skew, and a Benjamini-Hochberg q. The whole
table has a null distribution: correlations of the same features with their layers shifted against each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.fft import next_fast_len
from scipy.special import gammainc, gammaincc, ndtr
from scipy.stats import false_discovery_control

from feature_tracker.feature import Feature
from feature_tracker.tracing.trace import Trace

PAIR_COLUMNS = ["source_layer", "source_feature", "target_layer", "target_feature"]
"""What identifies a pair of features of different layers, in every table of pairs; the source is shallower."""

COLUMNS = [*PAIR_COLUMNS, "r", "n_either", "n_effective", "p", "q"]

SIGNIFICANT = 0.05
"""Largest q of a link that counts as more than chance."""

MIN_TOKENS = 8
"""Shorter texts leave no room to shift layers against each other."""

_LONGEST_LAG = 200  # tokens, about one long paragraph; slower variation than that is a trend of the text


@dataclass(frozen=True)
class Correlations:
    """Correlations of a set of features over one text.

    Attributes:
        pairs: one row per pair of features of different layers, columns as `COLUMNS`: Pearson's `r`; tokens on which
            either fires; effective sample size; two-sided p-value; Benjamini-Hochberg q over all pairs of the table.
        n_rare: features left out because they fire on too few tokens to be judged.
        null_r: |r| of all pairs in all shifted copies, ascending.
        n_shifts: number of shifted copies.
    """

    pairs: pd.DataFrame
    n_rare: int
    null_r: np.ndarray
    n_shifts: int

    def links(self, threshold: float) -> pd.DataFrame:
        """Pairs with |r| at the threshold or above, strongest first."""
        linked = self.pairs[self.pairs["r"].abs() >= threshold]
        return linked.sort_values("r", key=np.abs, ascending=False, kind="stable", ignore_index=True)

    def chance(self, threshold: float) -> float:
        """Number of links that chance alone would give at a threshold: the mean over the shifted copies."""
        n_beyond = len(self.null_r) - np.searchsorted(self.null_r, threshold, side="left")
        return float(n_beyond) / max(self.n_shifts, 1)

    def false_discovery_rate(self, threshold: float) -> float:
        """Share of the links at a threshold that chance alone would give, at most 1; NaN if there are no links."""
        n_links = int((self.pairs["r"].abs() >= threshold).sum())
        return min(1.0, self.chance(threshold) / n_links) if n_links else float("nan")


def correlate(
    trace: Trace, features: Sequence[Feature], *, min_fires: int = 5, n_shifts: int | None = None, seed: int = 0
) -> Correlations:
    """Pearson's r over the tokens that count (`Trace.counted`) for every pair of features of different layers.

    Args:
        features: each feature once.
        min_fires: a feature that fires on fewer tokens, or whose activation is constant, is left out and counted.
        n_shifts: number of copies with the layers' tokens shifted against each other, from which chance is counted. If
            `None`, 200, or fewer (but at least 40) in texts of more than 2,000 tokens.
        seed: for the random shifts.
    """
    if n_shifts is None:  # 400,000 shifted tokens bound the time on long texts
        n_shifts = max(40, min(200, 400_000 // max(trace.n_tokens, 1)))
    columns = activation_columns(trace, features)
    judged = ((columns > 0).sum(axis=0) >= min_fires) & (np.ptp(columns, axis=0) > 0)
    if len(columns) < MIN_TOKENS:
        judged[:] = False
    by_layer = _by_layer([feature for feature, keep in zip(features, judged, strict=True) if keep])
    activations = {layer: activation_columns(trace, layer_features) for layer, layer_features in by_layer.items()}
    fires = {layer: (layer_columns > 0).astype(np.float32) for layer, layer_columns in activations.items()}
    scaled = {layer: standardize(layer_columns) for layer, layer_columns in activations.items()}
    pairs = [_layer_pairs(by_layer, fires, scaled, a, b) for a, b in combinations(by_layer, 2)]
    table = pd.concat(pairs, ignore_index=True) if pairs else pd.DataFrame(columns=COLUMNS, dtype=float)
    table["q"] = false_discovery_control(table["p"]) if len(table) else []
    integers = dict.fromkeys([*PAIR_COLUMNS, "n_either"], int)
    null_r = _null_r(scaled, n_shifts, seed) if len(table) else np.zeros(0)
    return Correlations(table.astype(integers), int((~judged).sum()), null_r, n_shifts)


def activation_columns(trace: Trace, features: Sequence[Feature]) -> np.ndarray:
    """(n_counted, n_features) float64 activations on the tokens that count (`Trace.counted`).

    A feature that is not among its layer's top k on a token has activation 0 there.
    """
    counted = trace.counted
    columns = np.zeros((len(counted), len(features)))
    for layer in {feature.layer for feature in features}:
        numbers = [number for number, feature in enumerate(features) if feature.layer == layer]
        latents = [features[number].index for number in numbers]
        columns[:, numbers] = trace.layers[layer].dense()[counted][:, latents]
    return columns


def standardize(columns: np.ndarray) -> np.ndarray:
    """Columns with mean 0 and sum of squares 1, so that the dot product of two is their r; constant ones become NaN."""
    centred = columns - columns.mean(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return centred / np.linalg.norm(centred, axis=0)


def pearson(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """(n_left, n_right) Pearson's r between columns of (n_tokens, n_left) and (n_tokens, n_right).

    NaN where a column is constant.
    """
    scaled = standardize(left)
    # NumPy computes only half of a product of a matrix with its own transpose, but only if both are the same array.
    return np.clip(scaled.T @ (scaled if right is left else standardize(right)), -1, 1)


def effective_size(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """(n_left, n_right) effective sample size of r: how many independent tokens two autocorrelated columns are worth.

    n / (1 + 2 sum_lag (1 - lag/n) rho_left(lag) rho_right(lag)), never above n. Source: Bartlett 1935; Bretherton et
    al. 1999, eq. 31. Lags run up to a quarter of the text and at most 200 tokens.

    Args:
        left, right: standardized columns, (n_tokens, n_left) and (n_tokens, n_right).
    """
    n_tokens = len(left)
    lags = np.arange(1, 1 + min(n_tokens // 4, _LONGEST_LAG))
    weights = 2 * (1 - lags / n_tokens)
    excess = (_autocorrelation(left, len(lags)) * weights[:, None]).T @ _autocorrelation(right, len(lags))
    return n_tokens / np.maximum(1 + excess, 1)


def p_value(r: np.ndarray, n_effective: np.ndarray, skewness: np.ndarray) -> np.ndarray:
    """Two-sided p-value of r under the null hypothesis of no correlation.

    The null distribution of r has variance 1 / (n - 1) and, for skewed columns, skewness g_left g_right / sqrt(n): two
    features that rarely fire have almost no correlation in most alignments and a large one in a few. It is modelled as
    a Pearson type III (shifted gamma) distribution with these moments, as Josse, Pagès and Husson 2008 do for
    permutations.

    Args:
        skewness: product of the skewnesses of the two columns.
    """
    spread = np.sqrt(np.maximum(n_effective - 1, 1))
    z = r * spread
    skew = np.maximum(skewness / np.sqrt(n_effective), 1e-3)  # below that, gamma and normal agree to three digits
    shape = 4 / skew**2
    x = np.maximum(shape + z * np.sqrt(shape), 0)  # z on the scale of a gamma variable of unit scale
    upper = gammaincc(shape, x)
    # A gamma distribution is bounded on the left and r is not, so the longer tail of the normal is used there.
    lower = np.maximum(gammainc(shape, x), ndtr(z))
    return np.minimum(1, 2 * np.where(z > 0, upper, lower))


def _by_layer(features: Sequence[Feature]) -> dict[int, list[Feature]]:
    return {layer: [f for f in features if f.layer == layer] for layer in sorted({f.layer for f in features})}


def _layer_pairs(
    features: dict[int, list[Feature]], fires: dict[int, np.ndarray], scaled: dict[int, np.ndarray], a: int, b: int
) -> pd.DataFrame:
    """All pairs of a feature of layer `a` and one of layer `b`.

    Args:
        fires: (n_tokens, n_features) float32 by layer, 1 where a feature fires.
        scaled: (n_tokens, n_features) standardized activations by layer.
    """
    left, right = scaled[a], scaled[b]
    n_left, n_right = (fires[layer].sum(axis=0) for layer in (a, b))
    n_either = n_left[:, None] + n_right[None, :] - fires[a].T @ fires[b]
    r = np.clip(left.T @ right, -1, 1)
    n_effective = effective_size(left, right)
    skew_left, skew_right = (np.sqrt(len(columns)) * (columns**3).sum(axis=0) for columns in (left, right))
    p = p_value(r, n_effective, np.outer(skew_left, skew_right))
    source, target = (ends.ravel() for ends in np.indices(r.shape))
    return pd.DataFrame(
        {
            "source_layer": a,
            "source_feature": np.array([feature.index for feature in features[a]])[source],
            "target_layer": b,
            "target_feature": np.array([feature.index for feature in features[b]])[target],
            "r": r.ravel(),
            "n_either": n_either.ravel(),
            "n_effective": n_effective.ravel(),
            "p": p.ravel(),
        }
    )


def _autocorrelation(scaled: np.ndarray, n_lags: int) -> np.ndarray:
    """(n_lags, n_columns) autocorrelation of standardized columns at lags 1 to n_lags."""
    length = next_fast_len(len(scaled) + n_lags, real=True)
    spectrum = np.fft.rfft(scaled, length, axis=0)
    return np.fft.irfft(np.abs(spectrum) ** 2, length, axis=0)[1 : n_lags + 1]


def _null_r(scaled: dict[int, np.ndarray], n_shifts: int, seed: int) -> np.ndarray:
    """|r| of all pairs, ascending, in copies whose layers are shifted circularly against each other.

    A shift keeps each feature's own rhythm and breaks what it shares with other layers. The layers' offsets are spread
    evenly over the text and jittered by up to a quarter of their spacing, so that no two layers end up nearly aligned.
    """
    generator = np.random.default_rng(seed)
    n_tokens, n_layers = len(next(iter(scaled.values()))), len(scaled)
    null_r = []
    for _ in range(n_shifts):
        slots = generator.permutation(n_layers) + generator.uniform(-0.25, 0.25, n_layers)
        shifts = np.rint(slots * n_tokens / n_layers).astype(int)
        shifted = [np.roll(columns, shift, axis=0) for columns, shift in zip(scaled.values(), shifts, strict=True)]
        null_r += [np.abs(left.T @ right).ravel() for left, right in combinations(shifted, 2)]
    return np.sort(np.concatenate(null_r))
