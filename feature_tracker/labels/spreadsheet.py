"""Keep a cell that begins a formula from being one: `=HYPERLINK(...)` in a label must stay letters in a spreadsheet."""

from __future__ import annotations

import pandas as pd

_FORMULA = r"'*\s*[=+\-@]\S"
_GUARDED = r"''*\s*[=+\-@]\S"


def guard(cells: pd.Series) -> pd.Series:
    """The texts with `'` before each that a spreadsheet would calculate."""
    return cells.where(~cells.str.match(_FORMULA), "'" + cells)


def unguard(cells: pd.Series) -> pd.Series:
    """What `guard` was given."""
    return cells.where(~cells.str.match(_GUARDED), cells.str[1:])


def guarded(table: pd.DataFrame) -> pd.DataFrame:
    """A table no cell of which begins a formula."""
    safe = table.infer_objects()  # numbers that lie in a column of objects are no text
    for column in safe.columns.intersection(safe.select_dtypes(exclude=["number", "bool"]).columns):
        safe[column] = guard(safe[column].astype(str))
    return safe


def to_csv(table: pd.DataFrame) -> bytes:
    """A table as CSV that a spreadsheet opens as text: UTF-8 with its mark, and no cell that begins a formula."""
    return guarded(table).to_csv(index=False).encode("utf-8-sig")
