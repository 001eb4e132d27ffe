"""Find rows of a label table whose numbers contradict each other."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from feature_tracker.labels.columns import MEASURED, QUANTILES, UNVERIFIED
from feature_tracker.labels.scores import CONTRADICTORY, GOOD, NO_NEGATIVES, NOT_SCORED
from feature_tracker.labels.table import LabelTable, always_yes_by_counts

_CLOSE = 1e-5  # of the larger number: a table keeps six digits
_SCORE_CLOSE = 0.005  # other tools report scores with two decimals or more


def contradictions(table: LabelTable) -> list[str]:
    """Every contradiction as a line that begins with its feature, in the order of rows; empty for a sound table."""
    messages: list[tuple[int, str]] = []
    for broken, message in _rules(table):
        messages += [(int(row), message) for row in np.flatnonzero(broken.to_numpy(dtype=bool))]
    lines = []
    for row, message in sorted(messages):
        layer, index = table.frame.index[row]
        lines.append(f"L{layer}/F{index}: {message}")
    return lines


def _rules(table: LabelTable) -> Iterator[tuple[pd.Series, str]]:
    """(which rows break a rule, what is wrong with them) for every rule."""
    frame = table.frame
    yield from _score_rules(table)
    measured = ~table.unverified
    f, g = frame["finance_mean"], frame["general_mean"]
    gap = (frame["specialization"] - (f - g)).abs()
    yield (
        measured & (gap > _CLOSE * pd.concat([f, g], axis=1).abs().max(axis=1)),
        "specialization is not finance_mean less general_mean",
    )
    yield measured & ((f < 0) | (g < 0)), "a mean of top-k activations is negative"
    knots = frame[QUANTILES]
    falls = (knots.diff(axis=1).iloc[:, 1:].lt(-_CLOSE * knots.iloc[:, 1:].abs())).any(axis=1)
    yield falls, "q50, q90, q99 and max_activation must not fall"
    if "specialization_source" in frame:
        source = frame["specialization_source"]
        yield (source == "") & frame["specialization"].notna(), "specialization has no specialization_source"
        yield (source == MEASURED) & frame["density"].isna(), "specialization is called measured, but nothing else is"
        yield (
            (source == UNVERIFIED) & frame["specialization_index"].notna(),
            "specialization_index can't be known of unverified means",
        )


def _score_rules(table: LabelTable) -> Iterator[tuple[pd.Series, str]]:
    frame = table.frame
    f1, precision, recall = frame["f1"], frame["precision"], frame["recall"]
    marks = frame["mark"] if "mark" in frame else pd.Series(GOOD, index=frame.index)
    harmonic = 2 * precision * recall / (precision + recall).where(lambda total: total > 0)
    gap = (f1 - harmonic).abs()
    yield (marks != CONTRADICTORY) & (gap > _SCORE_CLOSE), "f1 is not the harmonic mean of precision and recall"
    if "mark" not in frame:
        return
    yield f1.isna() & (marks != NOT_SCORED), "there is no f1, but mark does not say so"
    yield f1.notna() & (marks == NOT_SCORED), "there is an f1, but mark says that there is none"
    yield (marks == GOOD) & f1.notna() & ~table.reliable, "mark is empty, but f1 does not beat f1_always_yes"
    yield (marks == GOOD) & table.f1_always_yes.isna() & f1.notna(), "mark is empty, but f1_always_yes is not known"
    positive, negative = frame["n_positive"], frame["n_negative"]
    yield (
        (positive > 0) & (negative == 0) & f1.notna() & (marks != NO_NEGATIVES),
        "no negatives, but mark doesn't say so",
    )
    gap = (always_yes_by_counts(frame) - table.f1_always_yes).abs()
    yield gap > _CLOSE, "f1_always_yes does not follow from n_positive and n_negative"
