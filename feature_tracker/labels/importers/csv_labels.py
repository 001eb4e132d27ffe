"""Import `layer,feature,label,f1_score[,accuracy,precision,recall]`, the summary that label scripts write."""

from __future__ import annotations

import math
from pathlib import Path

from feature_tracker.labels.importers.csv_rows import BadCell, ToNumber, read_feature_rows
from feature_tracker.labels.importers.imported import Evidence, Imported, Tally
from feature_tracker.labels.importers.target import Target
from feature_tracker.labels.scores import NAN, UNSCORED, Scores, reported_scores

KIND = "CSV of labels and F1"
COLUMNS = ("layer", "feature", "label", "f1_score")
_RATES = ("f1_score", "accuracy", "precision", "recall")
_NO_NUMBER = ("", "nan", "na", "none", "null")


def is_csv_labels(header: list[str]) -> bool:
    """Whether a file with these columns is in this format."""
    return all(name in header for name in COLUMNS)


def read_csv_labels(path: Path, target: Target, tally: Tally) -> Imported:
    """Yield the labels of a file, row by row; of several rows about one feature the first counts.

    Raises:
        TrackerError: a row is about a feature that the bundle doesn't have, or the file is no CSV.
    """
    for row in read_feature_rows(path, target, tally, {*COLUMNS, *_RATES}, _scores):
        scores = row.numbers
        rates = (scores.accuracy, scores.precision, scores.recall)
        yield from tally.label(
            row.feature,
            row.cells["label"],
            row.where,
            scores=scores,
            method="" if math.isnan(scores.f1) else "reported",
            evidence=Evidence.F1_ALONE if any(map(math.isnan, rates)) else Evidence.RATES,
        )


def _scores(cells: dict[str, str], number: ToNumber) -> Scores:
    f1, accuracy, precision, recall = (_rate(name, cells.get(name, ""), number) for name in _RATES)
    return UNSCORED if math.isnan(f1) else reported_scores(f1, accuracy, precision, recall)


def _rate(name: str, cell: str, number: ToNumber) -> float:
    """A number between 0 and 1; NaN where the cell holds none."""
    if cell.strip().lower() in _NO_NUMBER:
        return NAN
    try:
        rate = number(cell)
    except ValueError:
        rate = NAN
    if not 0 <= rate <= 1:
        raise BadCell(f"{name} must be a number between 0 and 1", cell)
    return rate
