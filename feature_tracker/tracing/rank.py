"""Rank the features of a trace by activation, or by how unusual the activation is for the feature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import pandas as pd

from feature_tracker.errors import TrackerError
from feature_tracker.feature import ALWAYS_ON
from feature_tracker.labels.columns import FORM_KINDS, QUANTILES
from feature_tracker.labels.table import LabelTable
from feature_tracker.tracing.trace import LayerTrace, Trace

Aggregation = Literal["max", "mean", "sum", "share"]
RankBy = Literal["activation", "percentile"]

UNMEASURED = (
    "Ranked by activation. This label table does not know how often and how strongly each feature fires on a "
    "large body of text, so there are no percentiles, and always-on features can't be hidden. "
    "`feature-tracker labels measure` measures both on your own text."
)
"""Message for users if `LabelTable.has_quantiles` is False."""


def aggregate(dense: np.ndarray, how: Aggregation) -> np.ndarray:
    """(n_latents,) one number per latent from activations (n_tokens, n_latents).

    `max`, `mean` and `sum` are over the tokens; `share` is the share of tokens on which the latent fires.
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
    hide_form: bool = False,
    positions: np.ndarray | None = None,
) -> pd.DataFrame:
    """The `top` features of each layer, highest first; every feature that fires if `top` is `None`.

    Args:
        aggregation: how a feature's activations over the tokens become one number.
        by: `activation` ranks by that number. `percentile` ranks by where the feature's largest activation here lies
            among its own activations in the corpus, so that neither the larger norms of late layers nor dense features
            crowd out the telling ones. Features without quantiles in the table come last, ordered by activation.
        hide_always_on: leave out features whose corpus density is above `ALWAYS_ON`. A feature of unknown density
            stays.
        min_f1: leave out features whose label has a lower F1; at 0, features without a score stay.
        hide_form: leave out features whose label is about the form of a text: numbers, punctuation, grammar, position.
            A label of unknown kind stays.
        positions: token positions to rank over; all that count (`Trace.counted`) if `None`.

    Returns:
        One row per feature that fires: the columns `labels.columns.SHOWN`, then `reliable, activation, percentile,
        peak_position, peak_word`. The peak word is a whole word even if the peak token is only a part of it. See
        `LabelTable.describe` for the numbers that the table can't vouch for.

    Raises:
        TrackerError: no layer, no position, or an unknown way to rank.
    """
    if aggregation not in get_args(Aggregation) or by not in get_args(RankBy):
        raise TrackerError(
            f"Expected `by` to be one of {', '.join(get_args(RankBy))} and `aggregation` one of "
            f"{', '.join(get_args(Aggregation))}; found {by} and {aggregation}."
        )
    ranked_positions = trace.counted if positions is None else np.asarray(positions, dtype=np.int64)
    if len(ranked_positions) == 0:
        raise TrackerError("No words are chosen. Choose at least one, or clear the choice to rank the whole text.")
    if not layers:
        raise TrackerError("No layer is chosen. Choose at least one.")
    per_layer = [_describe_layer(trace.layers[layer], ranked_positions, table, aggregation) for layer in layers]
    firing = pd.concat(per_layer, ignore_index=True)
    passes = _passes_filters(firing, hide_always_on=hide_always_on, min_f1=min_f1, hide_form=hide_form)
    shown = firing[passes]
    order = ["percentile", "activation"] if by == "percentile" else ["activation"]
    ranked = shown.sort_values(["layer", *order], ascending=[True, *[False] * len(order)], kind="stable")
    if top is not None:
        ranked = ranked.groupby("layer", sort=False).head(top)
    ranked = ranked.reset_index(drop=True)
    return ranked.assign(peak_word=[trace.tokens.word_at(position) for position in ranked["peak_position"]])


def _passes_filters(frame: pd.DataFrame, *, hide_always_on: bool, min_f1: float, hide_form: bool) -> pd.Series:
    passes = pd.Series(True, index=frame.index)
    if hide_always_on:
        passes &= ~(frame["density"] > ALWAYS_ON)  # not `<=`, which an unknown density (NaN) would fail
    if min_f1 > 0:
        passes &= frame["f1"] >= min_f1
    if hide_form:
        passes &= ~frame["kind"].isin(FORM_KINDS)
    return passes


def _describe_layer(layer: LayerTrace, positions: np.ndarray, table: LabelTable, how: Aggregation) -> pd.DataFrame:
    """One layer's firing features, unordered, without `peak_word`; see `rank_features`."""
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
    """(n,) position of each activation in the feature's own corpus distribution over all tokens, 0 to 100.

    Tokens on which the feature is silent rank lowest. Above them, the quantiles of its firing activations in the table
    (q50, q90, q99, maximum) are interpolated linearly. An activation above the corpus maximum counts as one in as many
    tokens as the corpus has, so 1 / (1 - percentile / 100) is the N in "1 in N tokens is this strong". NaN where a
    quantile is missing.

    Args:
        activation: (n,) one activation per row of `labels`.
        labels: rows with `density, q50, q90, q99, max_activation, finance_tokens, general_tokens`.
    """
    knots = labels[QUANTILES].to_numpy(dtype=float)
    levels = np.array([0.0, 0.5, 0.9, 0.99, 1.0])
    among_firing = np.full(len(labels), np.nan)
    for row, (value, knot) in enumerate(zip(activation, knots, strict=True)):
        if np.isfinite(knot).all():
            among_firing[row] = np.interp(value, np.concatenate([[0.0], knot]), levels)
    density = labels["density"].to_numpy(dtype=float)
    share = 1 - density + density * among_firing
    n_tokens = labels["finance_tokens"].to_numpy(dtype=float) + labels["general_tokens"].to_numpy(dtype=float)
    return 100 * np.where(n_tokens > 0, np.minimum(share, 1 - 1 / np.maximum(n_tokens, 1)), share)
