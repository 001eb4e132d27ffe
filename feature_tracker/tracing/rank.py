"""Rank the features of a trace: by activation, or by how unusual the activation is for the feature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import pandas as pd

from feature_tracker.errors import TrackerError
from feature_tracker.feature import ALWAYS_ON
from feature_tracker.labels.columns import QUANTILES
from feature_tracker.labels.table import LabelTable
from feature_tracker.tracing.trace import LayerTrace, Trace

Aggregation = Literal["max", "mean", "sum", "share"]
RankBy = Literal["activation", "percentile"]

UNMEASURED = (
    "Ranked by activation. This label table does not know how often and how strongly each feature fires on a "
    "large body of text, so there are no percentiles, and always-on features can't be hidden. "
    "`feature-tracker labels measure` measures both on your own text."
)
"""What users are told where `LabelTable.has_quantiles` is False."""


def aggregate(dense: np.ndarray, how: Aggregation) -> np.ndarray:
    """One number a latent from activations (n_tokens, n_latents): largest, mean or summed activation, or the share of
    tokens on which it fires.
    """
    if how == "max":
        return dense.max(axis=0)
    if how == "mean":
        return dense.mean(axis=0)
    if how == "sum":
        return dense.sum(axis=0)
    return (dense > 0).mean(axis=0)


def rank_features(
    trace: Trace,
    table: LabelTable,
    *,
    layers: Sequence[int],
    top: int | None,
    aggregation: Aggregation = "max",
    by: RankBy = "activation",
    hide_always_on: bool = True,
    min_f1: float = 0.0,
    positions: np.ndarray | None = None,
) -> pd.DataFrame:
    """The `top` features of each layer, best first; every one that fires where it is None.

    Args:
        aggregation: how a feature's activations over the tokens become one number.
        by: `activation` ranks by that number; `percentile` by where the feature's largest activation here lies among
            its own activations in the corpus, so that neither late layers' larger norms nor dense features crowd out
            the telling ones. Features whose quantiles the table doesn't know come after the others, by activation.
        hide_always_on: leave out features whose corpus density is above `ALWAYS_ON`; one whose density isn't known
            stays.
        min_f1: leave out features whose label scores less; 0 keeps the unscored.
        positions: tokens to look at; where None, all that count, see `Trace.counted`.

    Returns:
        One row a feature that fires: the columns `labels.columns.SHOWN`, then `reliable, activation, percentile,
        peak_position, peak_word`. The peak word is whole, also where the token is a part of it. See
        `LabelTable.describe` for what the table can't vouch for.
    """
    if aggregation not in get_args(Aggregation) or by not in get_args(RankBy):
        raise TrackerError(f"Rank by one of {get_args(RankBy)} and one of {get_args(Aggregation)}.")
    chosen = trace.counted if positions is None else np.asarray(positions, dtype=np.int64)
    if len(chosen) == 0:
        raise TrackerError("No words are chosen. Choose at least one, or clear the choice to rank the whole text.")
    if not layers:
        raise TrackerError("No layer is chosen. Choose at least one.")
    ranked = [_rank_layer(trace.layers[layer], chosen, table, aggregation) for layer in layers]
    frame = pd.concat(ranked, ignore_index=True)
    kept = frame[_shown(frame, hide_always_on=hide_always_on, min_f1=min_f1)]
    order = ["percentile", "activation"] if by == "percentile" else ["activation"]
    kept = kept.sort_values(["layer", *order], ascending=[True, *[False] * len(order)], kind="stable")
    best = (kept if top is None else kept.groupby("layer", sort=False).head(top)).reset_index(drop=True)
    return best.assign(peak_word=[trace.tokens.word_at(place) for place in best["peak_position"]])


def _shown(frame: pd.DataFrame, *, hide_always_on: bool, min_f1: float) -> pd.Series:
    shown = pd.Series(True, index=frame.index)
    if hide_always_on:
        shown &= ~(frame["density"] > ALWAYS_ON)
    if min_f1 > 0:
        shown &= frame["f1"] >= min_f1
    return shown


def _rank_layer(layer: LayerTrace, positions: np.ndarray, table: LabelTable, how: Aggregation) -> pd.DataFrame:
    dense = LayerTrace(layer.layer, layer.values[positions], layer.indices[positions], layer.n_latents).dense()
    firing = np.flatnonzero(dense.any(axis=0))
    dense = dense[:, firing]
    features = pd.MultiIndex.from_product([[layer.layer], firing])
    peak = dense.argmax(axis=0) if len(firing) else np.zeros(0, np.int64)
    largest = dense.max(axis=0) if len(firing) else np.zeros(0, np.float32)
    frame = table.describe(features).reset_index()
    frame["activation"] = aggregate(dense, how) if len(firing) else np.zeros(0)
    frame["percentile"] = percentile(largest, table.frame.reindex(features))
    frame["peak_position"] = positions[peak]
    return frame


def percentile(activation: np.ndarray, labels: pd.DataFrame) -> np.ndarray:
    """Where an activation lies in the feature's own corpus distribution over all tokens, 0 to 100.

    Tokens on which the feature is silent lie below; above, the table's quantiles of its firing activations (q50, q90,
    q99, maximum) are joined by straight lines. What is stronger than anything in the corpus is one in as many tokens as
    the corpus has, so 1 / (1 - percentile / 100) says of how many tokens one is like it.

    Args:
        activation: (n,) one activation a row of `labels`.
        labels: rows with `density, q50, q90, q99, max_activation, finance_tokens, general_tokens`.
    """
    knots = labels[QUANTILES].to_numpy(dtype=float)
    heights = np.array([0.0, 0.5, 0.9, 0.99, 1.0])
    out = np.full(len(labels), np.nan)
    for row, (value, knot) in enumerate(zip(activation, knots, strict=True)):
        if np.isfinite(knot).all():
            out[row] = np.interp(value, np.concatenate([[0.0], knot]), heights)
    density = labels["density"].to_numpy(dtype=float)
    share = 1 - density + density * out
    n_tokens = labels["finance_tokens"].to_numpy(dtype=float) + labels["general_tokens"].to_numpy(dtype=float)
    return 100 * np.where(n_tokens > 0, np.minimum(share, 1 - 1 / np.maximum(n_tokens, 1)), share)
