"""Import `features_layerN.csv`: a label and mean activations on finance and on general text.

Scripts of many kinds write such files. Specialization is taken as finance minus general, whatever the sign in the file.
A file whose sign is the other way round, or whose means can't be means of top-k activations (which are never negative),
is imported as it stands and marked unverified as a whole.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

from feature_tracker.labels.columns import UNVERIFIED
from feature_tracker.labels.importers.csv_rows import BadCell, ToNumber, read_feature_rows
from feature_tracker.labels.importers.imported import Imported, ImportedSpecialization, Tally
from feature_tracker.labels.importers.target import Target

KIND = "CSV of specialization"
COLUMNS = ("layer", "feature", "llm_label", "domain_activation", "general_activation", "specialization")
_CLOSE = 1e-4  # of the larger mean; such files carry float32


class _Means(NamedTuple):
    finance: float
    general: float
    specialization: float

    def agrees(self, a: float, b: float) -> bool:
        """Whether two numbers made of these are equal, as far as the file's digits go."""
        return abs(a - b) <= _CLOSE * max(abs(self.finance), abs(self.general))

    @property
    def sign(self) -> int:
        """1 where specialization is finance minus general, -1 where it is the reverse, 0 where it is neither."""
        if self.agrees(self.specialization, self.finance - self.general):
            return 1
        return -1 if self.agrees(self.specialization, self.general - self.finance) else 0

    @property
    def lost_sign(self) -> bool:
        """Whether specialization follows from the means only if one of them was negative."""
        return not self.sign and self.agrees(abs(self.specialization), abs(self.finance) + abs(self.general))


def is_csv_specialization(header: list[str]) -> bool:
    """Whether a file with these columns is in this format."""
    return all(name in header for name in COLUMNS)


def read_csv_specialization(path: Path, target: Target, tally: Tally) -> Imported:
    """Yield the labels and means of a file, which holds the few most telling features of a layer.

    Raises:
        TrackerError: a row is about a feature that the bundle doesn't have, or the file is no CSV.
    """
    rows = list(read_feature_rows(path, target, tally, COLUMNS, _means))
    doubts = _doubts([row.numbers for row in rows])
    if doubts:
        tally.notes += [*doubts, f"all {len(rows)} specializations are marked {UNVERIFIED}"]
    signs = [row.numbers.sign for row in rows]
    usual = -1 if signs.count(-1) > signs.count(1) else 1
    for row, sign in zip(rows, signs, strict=True):
        yield from tally.label(row.feature, row.cells["llm_label"], row.where)
        means = row.numbers
        specialization = (sign or usual) * means.specialization
        yield ImportedSpecialization(row.feature, means.finance, means.general, specialization, not doubts, tally.name)


def _means(cells: dict[str, str], number: ToNumber) -> _Means:
    names = ("domain_activation", "general_activation", "specialization")
    texts = [cells[name] for name in names]
    try:
        means = _Means(*map(number, texts))
    except ValueError:
        raise BadCell(f"{', '.join(names)} must be numbers", ",".join(texts)) from None
    if not all(map(math.isfinite, means)):
        raise BadCell(f"{', '.join(names)} must be finite", ",".join(texts))
    return means


def _doubts(rows: list[_Means]) -> list[str]:
    """What speaks against a file's means being means of top-k activations; empty where nothing does."""
    n = len(rows)
    turned = sum(row.sign == -1 for row in rows)
    negative = sum(row.finance < 0 or row.general < 0 for row in rows)
    lost = sum(row.lost_sign for row in rows)
    unrelated = sum(not row.sign and not row.lost_sign for row in rows)
    notes = [
        (
            turned,
            f"specialization is general minus finance in {turned} of {n} rows; taken as finance minus general",
        ),
        (negative, f"a mean activation is negative in {negative} of {n} rows, which no mean of top-k activations is"),
        (
            lost,
            f"specialization follows from the means in {lost} of {n} rows only if one of them was negative and lost "
            "its sign, and no mean of top-k activations is negative",
        ),
        (unrelated, f"specialization does not follow from the means in {unrelated} of {n} rows"),
    ]
    return [note for count, note in notes if count]
