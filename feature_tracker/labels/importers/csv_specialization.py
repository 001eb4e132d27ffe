"""Import `features_layerN.csv`: a label and mean activations on the domain's and on general text.

Such files come from scripts of many kinds. Specialization is taken as finance minus general, whatever the sign in the
file; a file whose sign is the other way round, or whose means can't be means of top-k activations (which are never
negative), is imported as it says and marked unverified as a whole.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

from feature_tracker.feature import Feature
from feature_tracker.labels.importers.csv_rows import read_feature_rows
from feature_tracker.labels.importers.imported import Imported, ImportedSpecialization, Tally, Target
from feature_tracker.labels.table import UNVERIFIED

KIND = "CSV of specialization"
COLUMNS = ("layer", "feature", "llm_label", "domain_activation", "general_activation", "specialization")
_NUMBERS = COLUMNS[3:]
_CLOSE = 1e-4  # of the larger mean; such files carry float32


class _Row(NamedTuple):
    feature: Feature
    label: str
    where: str
    finance: float
    general: float
    specialization: float


def is_csv_specialization(header: list[str]) -> bool:
    """Whether a file with these columns is one."""
    return all(name in header for name in COLUMNS)


def read_csv_specialization(path: Path, target: Target, tally: Tally) -> Imported:
    """Labels and means of a file, which holds the few most telling features of a layer.

    Raises:
        TrackerError: a row is for a feature that the bundle doesn't have, or the file is no CSV.
    """
    rows = list(_read(path, target, tally).values())
    signs = [_sign(row) for row in rows]
    verified = _judge(rows, signs, tally)
    usual = -1 if signs.count(-1) > signs.count(1) else 1
    for row, sign in zip(rows, signs, strict=True):
        yield from tally.label(row.feature, row.label, row.where)
        specialization = (sign or usual) * row.specialization
        yield ImportedSpecialization(row.feature, row.finance, row.general, specialization, verified, tally.name)


def _sign(row: _Row) -> int:
    """1 where specialization is finance minus general, -1 where it is general minus finance, 0 where it is neither."""
    if _equal(row.specialization, row.finance - row.general, row):
        return 1
    return -1 if _equal(row.specialization, row.general - row.finance, row) else 0


def _equal(a: float, b: float, row: _Row) -> bool:
    return abs(a - b) <= _CLOSE * max(abs(row.finance), abs(row.general))


def _judge(rows: list[_Row], signs: list[int], tally: Tally) -> bool:
    """Whether the means can be means of top-k activations; what speaks against it goes into the tally's notes."""
    n = len(rows)
    flipped = signs.count(-1)
    negative = sum(row.finance < 0 or row.general < 0 for row in rows)
    neither = [row for row, sign in zip(rows, signs, strict=True) if not sign]
    lost = sum(_equal(abs(row.specialization), abs(row.finance) + abs(row.general), row) for row in neither)
    notes = [
        (flipped, f"specialization is general minus finance in {flipped} of {n} rows; taken as finance minus general"),
        (negative, f"a mean activation is negative in {negative} of {n} rows, which no mean of top-k activations is"),
        (
            lost,
            f"specialization follows from the means in {lost} of {n} rows only if one of them was negative and lost "
            "its sign, and no mean of top-k activations is negative",
        ),
        (len(neither) - lost, f"specialization does not follow from the means in {len(neither) - lost} of {n} rows"),
    ]
    found = [note for count, note in notes if count]
    if found:
        tally.notes += [*found, f"all {n} specializations are marked {UNVERIFIED}"]
    return not found


def _read(path: Path, target: Target, tally: Tally) -> dict[Feature, _Row]:
    rows: dict[Feature, _Row] = {}
    for feature, where, cells in read_feature_rows(path, target, tally):
        if feature in rows:
            tally.reject(f"{where}, first in {rows[feature].where}", "the feature has a row already")
            continue
        numbers = [cells[name] for name in _NUMBERS]
        try:
            finance, general, specialization = map(float, numbers)
        except ValueError:
            tally.reject(where, f"{', '.join(_NUMBERS)} must be numbers", ",".join(numbers))
            continue
        if not all(map(math.isfinite, (finance, general, specialization))):
            tally.reject(where, f"{', '.join(_NUMBERS)} must be finite", ",".join(numbers))
            continue
        rows[feature] = _Row(feature, cells["llm_label"], where, finance, general, specialization)
    return rows
