"""Find rows of a label table whose numbers contradict each other, or which a reader can't trust as they stand."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pandas as pd

from feature_tracker.labels.scores import CONTRADICTORY, GOOD, NO_NEGATIVES, NOT_SCORED
from feature_tracker.labels.table import MEASURED, UNVERIFIED, LabelTable

_CLOSE = 1e-5  # of the larger side: a table keeps six digits
_SCORE_CLOSE = 0.005  # scores reported by other tools are rounded to two decimals or more


def contradictions(table: LabelTable) -> list[str]:
    """One line a finding, in order of rows; empty where the table is sound."""
    frame = table.frame
    found: list[tuple[int, str]] = []
    for bad, message in _rules(table):
        found += [(int(row), message) for row in np.flatnonzero(bad.to_numpy(dtype=bool))]
    lines = []
    for row, message in sorted(found):
        layer, index = frame.index[row]
        lines.append(f"L{layer}/F{index}: {message}")
    return lines


def _rules(table: LabelTable) -> Iterator[tuple[pd.Series, str]]:
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
    yield frame["specialization_index"].abs() > 1, "specialization_index lies outside -1 and 1"
    knots = frame[["q50", "q90", "q99", "max_activation"]]
    falls = (knots.diff(axis=1).iloc[:, 1:].lt(-_CLOSE * knots.iloc[:, 1:].abs())).any(axis=1)
    yield falls, "q50, q90, q99 and max_activation must not fall"
    yield frame["max_activation"] < 0, "max_activation is negative"
    if "specialization_source" in frame:
        source = frame["specialization_source"]
        yield (source == "") & frame["specialization"].notna(), "specialization has no specialization_source"
        yield (source == MEASURED) & frame["density"].isna(), "specialization is called measured, but nothing else is"
        yield (
            (source == UNVERIFIED) & frame["specialization_index"].notna(),
            "specialization_index can't be known of unverified means",
        )
    yield frame["rule"].map(_is_no_json), "rule is not JSON"


def _score_rules(table: LabelTable) -> Iterator[tuple[pd.Series, str]]:
    frame = table.frame
    f1, precision, recall = frame["f1"], frame["precision"], frame["recall"]
    marks = frame["mark"] if "mark" in frame else pd.Series(GOOD, index=frame.index)
    harmonic = 2 * precision * recall / (precision + recall).where(lambda total: total > 0)
    known_bad = marks == CONTRADICTORY
    yield ~known_bad & ((f1 - harmonic).abs() > _SCORE_CLOSE), "f1 is not the harmonic mean of precision and recall"
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
    guess = 2 * positive / (2 * positive + negative).where(lambda n: n > 0)
    yield (guess - table.f1_always_yes).abs() > _CLOSE, "f1_always_yes does not follow from n_positive and n_negative"


def _is_no_json(rule: str) -> bool:
    if not rule:
        return False
    try:
        json.loads(rule)
    except ValueError:
        return True
    return False
