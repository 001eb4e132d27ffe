"""Rank the features of a trace by how far they set it apart from ordinary text, by rarity, or by activation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
import pandas as pd

from feature_tracker.errors import TrackerError
from feature_tracker.feature import ALWAYS_ON
from feature_tracker.labels.columns import FORM_KINDS, QUANTILES
from feature_tracker.labels.table import LabelTable
from feature_tracker.tracing.distinctive import distinctiveness, expected_by_chance, share_above
from feature_tracker.tracing.trace import LayerTrace, Trace

_TAIL = (0.5, 0.1, 0.01)
"""Shares of a feature's firing tokens above `q50`, `q90` and `q99`."""
_UNKNOWN_CORPUS = 1e6  # tokens, where the table doesn't say how many

Aggregation = Literal["max", "mean", "sum", "share"]
RankBy = Literal["distinctiveness", "rarity", "activation"]

_UNMEASURED: dict[RankBy, str] = {
    "distinctiveness": "Ranked by {instead}. This label table does not know how much each feature fires on ordinary "
    "passages, so what sets your text apart is not known. `feature-tracker labels measure` measures it on your own "
    "text.",
    "rarity": "Ranked by {instead}. This label table does not know how strongly each feature fires on a large body of "
    "text, so rarity is not known. `feature-tracker labels measure` measures it on your own text.",
}


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


def possible_ranking(by: RankBy, table: LabelTable) -> tuple[RankBy, str]:
    """The ranking that a label table allows: the one asked for, else rarity, else activation.

    Returns:
        The ranking, and a sentence for users where it is not the one asked for, else an empty text.
    """
    instead = by
    if instead == "distinctiveness" and not table.has_passages:
        instead = "rarity"
    if instead == "rarity" and not table.has_quantiles:
        instead = "activation"
    return instead, "" if instead == by else _UNMEASURED[by].format(instead=instead)


def rank_features(
    trace: Trace,
    table: LabelTable,
    *,
    layers: Sequence[int],
    top: int | None,
    aggregation: Aggregation = "max",
    by: RankBy = "distinctiveness",
    hide_always_on: bool = True,
    min_f1: float = 0.0,
    hide_form: bool = False,
    positions: np.ndarray | None = None,
) -> pd.DataFrame:
    """The `top` features of each layer, highest first; every feature that fires if `top` is `None`.

    Args:
        aggregation: how a feature's activations over the tokens become one number.
        by: `distinctiveness` ranks by how far the text makes a feature fire beyond what ordinary passages do: what the
            text is about. `rarity` ranks by how seldom the feature peaks this high in passages of this length.
            `activation` ranks by the aggregated activation. Features whose measure is not in the table come last,
            ordered by activation.
        hide_always_on: leave out features whose corpus density is above `ALWAYS_ON`. A feature of unknown density
            stays.
        min_f1: leave out features whose label has a lower F1; at 0, features without a score stay. The user's own
            labels always stay.
        hide_form: leave out features whose label is about the form of a text: numbers, punctuation, grammar, position.
            A label of unknown kind stays.
        positions: token positions to rank over; all that count (`Trace.counted`) if `None`.

    Returns:
        One row per feature that fires: the columns `labels.columns.SHOWN`, then

        - `reliable`: whether the label's F1 beats guessing;
        - `activation`, aggregated;
        - `distinctiveness`, in standard deviations;
        - `chance_alone`: the share of ordinary passages of this length that put the feature as high;
        - `chance`: how many features of its layer they put as high on average;
        - `rarity`: the N in "one passage in N of this length peaks as high";
        - `is_rarest`: whether N is a lower limit;
        - `peak_position`; `peak_word`, a whole word even if the token is only a part of it; and `peak_excerpt`, the
          word among its neighbours.

        What the table can't vouch for is NaN.

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
    ranked = []
    for layer in layers:
        features = table.describe(pd.MultiIndex.from_product([[layer], range(trace.layers[layer].n_latents)]))
        passes = passes_filters(features, hide_always_on=hide_always_on, min_f1=min_f1, hide_form=hide_form)
        features = features[passes]
        firing = _measure(trace.layers[layer], ranked_positions, features, table, aggregation)
        order = [by, "activation"] if by != "activation" else ["activation"]
        first = firing.sort_values(order, ascending=False, kind="stable").head(len(firing) if top is None else top)
        measures = table.frame.reindex(features.index)
        chance = expected_by_chance(first["distinctiveness"].to_numpy(), measures, len(ranked_positions))
        ranked.append(first.assign(chance=chance))
    rows = pd.concat(ranked).reset_index()
    return rows.assign(
        peak_word=[trace.tokens.word_at(position) for position in rows["peak_position"]],
        peak_excerpt=[trace.tokens.excerpt_at(position) for position in rows["peak_position"]],
    )


def passes_filters(features: pd.DataFrame, *, hide_always_on: bool, min_f1: float, hide_form: bool) -> pd.Series:
    """Which rows of `LabelTable.describe` pass the filters of `rank_features`."""
    passes = pd.Series(True, index=features.index)
    if hide_always_on:
        passes &= ~(features["density"] > ALWAYS_ON)  # not `<=`, which an unknown density (NaN) would fail
    if min_f1 > 0:
        passes &= (features["f1"] >= min_f1) | (features["f1"].isna() & features["reliable"])
    if hide_form:
        passes &= ~features["kind"].isin(FORM_KINDS)
    return passes


def _measure(
    layer: LayerTrace, positions: np.ndarray, features: pd.DataFrame, table: LabelTable, how: Aggregation
) -> pd.DataFrame:
    """Those of one layer's features that fire at these positions, unordered; see `rank_features`."""
    dense = LayerTrace(layer.layer, layer.values[positions], layer.indices[positions], layer.n_latents).dense()
    dense = dense[:, features.index.get_level_values("feature")]
    fires = dense.any(axis=0)
    firing, dense = features[fires], dense[:, fires]
    measured = table.frame.reindex(firing.index)
    z = distinctiveness(dense, measured)
    unusual = rarity(dense.max(axis=0), measured, len(positions)) if len(firing) else Rarity(*np.zeros((2, 0)))
    return firing.assign(
        activation=aggregate(dense, how) if len(firing) else np.zeros(0),
        distinctiveness=z,
        chance_alone=share_above(z, measured, len(positions)),
        rarity=unusual.one_in,
        is_rarest=unusual.at_least,
        peak_position=positions[dense.argmax(axis=0)] if len(firing) else np.zeros(0, np.int64),
    )


class Rarity(NamedTuple):
    """How seldom features peak as high as here.

    Attributes:
        one_in: (n,) the N in "one passage in N of this length peaks as high"; NaN where it is unknown.
        at_least: (n,) bool, whether N is a lower limit, because the corpus holds no higher activation.
    """

    one_in: np.ndarray
    at_least: np.ndarray


def rarity(largest: np.ndarray, labels: pd.DataFrame, n_tokens: int) -> Rarity:
    """How seldom a passage of `n_tokens` tokens makes each feature peak as high as this.

    A share p of the corpus' tokens is as strong. It comes from the feature's density and the quantiles of its firing
    activations, between which the logarithm of p is interpolated; the maximum counts as one token. Tokens are treated
    as independent of each other, so that one passage in 1 / (1 - (1 - p)^n) has one as strong.

    Args:
        largest: (n,) the features' largest activations over these tokens.
        labels: (n,) rows with `density, q50, q90, q99, max_activation, finance_tokens, general_tokens`.
        n_tokens: tokens looked at.
    """
    knots = labels.reindex(columns=QUANTILES).to_numpy(dtype=float)
    density = labels["density"].to_numpy(dtype=float)
    n_corpus = labels["finance_tokens"].to_numpy(dtype=float) + labels["general_tokens"].to_numpy(dtype=float)
    n_corpus = np.where(n_corpus > 0, n_corpus, _UNKNOWN_CORPUS)
    share = np.full(len(labels), np.nan)
    for row, (value, knot) in enumerate(zip(largest, knots, strict=True)):
        if np.isfinite(knot).all() and density[row] > 0:
            n_firing = max(density[row] * n_corpus[row], 1 / _TAIL[-1])
            log_survival = np.log([1.0, *_TAIL, 1 / n_firing])
            among_firing = np.exp(np.interp(value, np.concatenate([[0.0], knot]), log_survival))
            share[row] = density[row] * among_firing
    any_token = -np.expm1(n_tokens * np.log1p(-np.minimum(share, 1 - 1e-12)))
    return Rarity(1 / any_token, largest >= knots[:, -1])
