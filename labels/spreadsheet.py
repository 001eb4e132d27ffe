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
