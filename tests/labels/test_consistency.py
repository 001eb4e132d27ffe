"""Every rule of a sound label table, with one row that breaks it."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from feature_tracker.labels.columns import IMPORTED, KEYS, MEASURED, REPORTED, REQUIRED, UNVERIFIED
from feature_tracker.labels.consistency import contradictions
from feature_tracker.labels.scores import CONTRADICTORY, GOOD, NO_BETTER, NO_NEGATIVES, NOT_SCORED
from feature_tracker.labels.table import LabelTable

NAN = float("nan")
SOUND: dict[str, Any] = {
    "label": "oil prices", "f1": 0.8, "precision": 0.8, "recall": 0.8, "balanced_accuracy": 0.8, "n_positive": 50,
    "n_negative": 50, "f1_method": "detection", "specialization": 2.0, "specialization_index": 0.5, "finance_mean": 3.0,
    "general_mean": 1.0, "finance_tokens": 100, "general_tokens": 100, "density": 0.1, "mean_activation": 2.0,
    "max_activation": 9.0, "q50": 2.0, "q90": 5.0, "q99": 8.0, "accuracy": 0.8, "f1_always_yes": 2 / 3,
    "mark": GOOD, "n_unanswered": 0, "specialization_source": MEASURED, "label_source": "run", "original_label": "Oil",
}  # fmt: skip
UNSCORED = {"f1": NAN, "precision": NAN, "recall": NAN, "mark": NOT_SCORED}


def table_with(row: dict[str, Any], columns: list[str]) -> LabelTable:
    """Two sound rows, and this one between them."""
    index = pd.MultiIndex.from_tuples([(1, 0), (1, 7), (3, 0)], names=KEYS)
    return LabelTable(pd.DataFrame([SOUND, SOUND | row, SOUND], index=index)[columns])


@pytest.mark.parametrize("row", [{}, UNSCORED, {"specialization_source": UNVERIFIED, "specialization_index": NAN}])
def test_a_sound_table_has_no_contradictions(row: dict[str, Any]) -> None:
    assert contradictions(table_with(row, [*REQUIRED, *IMPORTED])) == []
    assert contradictions(table_with(row, REQUIRED)) == []


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"f1": 0.9}, "f1 is not the harmonic mean of precision and recall"),
        (UNSCORED | {"mark": NO_BETTER}, "there is no f1, but mark does not say so"),
        ({"mark": NOT_SCORED}, "there is an f1, but mark says that there is none"),
        ({"f1": 0.5, "precision": 0.5, "recall": 0.5}, "mark is empty, but f1 does not beat f1_always_yes"),
        ({"f1_always_yes": NAN}, "mark is empty, but f1_always_yes is not known"),
        ({"n_negative": 0, "f1_always_yes": 1, "mark": NO_BETTER}, "no negatives, but mark doesn't say so"),
        ({"f1_always_yes": 0.7}, "f1_always_yes does not follow from n_positive and n_negative"),
        ({"specialization": 2.1}, "specialization is not finance_mean less general_mean"),
        ({"finance_mean": 1.0, "general_mean": -1.0}, "a mean of top-k activations is negative"),
        ({"q90": 1.0}, "q50, q90, q99 and max_activation must not fall"),
        ({"specialization_source": ""}, "specialization has no specialization_source"),
        ({"density": NAN}, "specialization is called measured, but nothing else is"),
        ({"specialization_source": UNVERIFIED}, "specialization_index can't be known of unverified means"),
    ],
)
def test_a_row_that_breaks_a_rule_is_found_with_its_feature(row: dict[str, Any], message: str) -> None:
    found = contradictions(table_with(row, [*REQUIRED, *IMPORTED]))
    assert f"L1/F7: {message}" in found
    assert all(line.startswith("L1/F7: ") for line in found)


def test_what_a_mark_admits_is_no_contradiction() -> None:
    admitted = [
        {"f1": 0.9, "mark": CONTRADICTORY},
        {"n_negative": 0, "f1_always_yes": 1, "mark": NO_NEGATIVES},
        {"specialization": 5.0, "specialization_source": UNVERIFIED, "specialization_index": NAN},
    ]
    for row in admitted:
        assert contradictions(table_with(row, [*REQUIRED, *IMPORTED])) == []
    reported = {"specialization_source": REPORTED, "density": NAN}
    assert contradictions(table_with(reported, [*REQUIRED, *IMPORTED])) == []
