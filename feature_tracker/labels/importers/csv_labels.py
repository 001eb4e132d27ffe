"""Import `layer,feature,label,f1_score[,accuracy,precision,recall]`, the summary that label scripts write."""

from __future__ import annotations

from pathlib import Path

from feature_tracker.feature import Feature
from feature_tracker.labels.importers.csv_rows import read_feature_rows
from feature_tracker.labels.importers.imported import FROM_F1, FROM_RATES, Imported, Tally, Target
from feature_tracker.labels.scores import NAN, UNSCORED, reported_scores

KIND = "CSV of labels and F1"
COLUMNS = ("layer", "feature", "label", "f1_score")
_RATES = ("f1_score", "accuracy", "precision", "recall")


def is_csv_labels(header: list[str]) -> bool:
    """Whether a file with these columns is one."""
    return all(name in header for name in COLUMNS)


def read_csv_labels(path: Path, target: Target, tally: Tally) -> Imported:
    """Labels of a file, row by row; of several rows for one feature the first counts.

    Raises:
        TrackerError: a row is for a feature that the bundle doesn't have, or the file is no CSV.
    """
    first: dict[Feature, str] = {}
    for feature, where, cells in read_feature_rows(path, target, tally):
        if feature in first:
            tally.reject(f"{where}, first in {first[feature]}", "the feature has a row already")
            continue
        rates = [_rate(cells.get(name, "")) for name in _RATES]
        bad = [name for name, rate in zip(_RATES, rates, strict=True) if rate is None]
        if bad:
            tally.reject(where, f"{bad[0]} must be a number between 0 and 1", cells[bad[0]])
            continue
        first[feature] = where
        f1, accuracy, precision, recall = (NAN if rate is None else rate for rate in rates)
        scores = reported_scores(f1, accuracy, precision, recall) if f1 == f1 else UNSCORED
        complete = accuracy == accuracy and precision == precision and recall == recall
        yield from tally.label(
            feature,
            cells["label"],
            where,
            scores=scores,
            method="reported" if f1 == f1 else "",
            rank=FROM_RATES if complete else FROM_F1,
        )


def _rate(cell: str) -> float | None:
    """A number between 0 and 1, NaN where the cell is empty, None where it is neither."""
    if not cell.strip() or cell.strip().lower() in ("nan", "na", "none", "null"):
        return NAN
    try:
        rate = float(cell)
    except ValueError:
        return None
    return rate if 0 <= rate <= 1 else None
