"""Choose documents of an archive by group, date or name, and tell which of them belong to one voice."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

import numpy as np
import pandas as pd

from feature_tracker.errors import TrackerError

FEWEST = 5
"""Documents of a group of which anything can be told, and in which a feature must fire for a statement about it."""
_CONDITION = re.compile(r"(group|date|name)=(.+)", re.DOTALL)
_DAY_OR_PERIOD = re.compile(r"\d{4}(?:-\d\d(?:-\d\d)?|Q[1-4])?")
_NAMED_IN_ERRORS = 8


def choose_documents(documents: pd.DataFrame, conditions: Sequence[str]) -> np.ndarray:
    """(n_documents,) bool, the documents that meet every condition.

    A condition is one of

    - `group=banks`: what the column `group` says;
    - `date=2023`, `date=2023Q2`, `date=2023-05`, `date=2023-05-17`, or from and to, both included, of which one may be
      missing: `date=2022..2023Q2`, `date=..2022`. Documents without a date meet none;
    - `name=*10-K*`: the name, in which `*` stands for any characters.

    Several groups or names are divided by `|`.

    Args:
        documents: `Archive.documents`.

    Raises:
        TrackerError: a condition can't be read, or no document meets it.
    """
    chosen = np.ones(len(documents), bool)
    for condition in conditions:
        match = _CONDITION.fullmatch(condition)
        if not match:
            raise TrackerError(
                f"{condition!r} chooses no documents. Write group=GROUP, date=2023 or date=2022-05..2023, or "
                "name=*10-K*."
            )
        key, value = match.groups()
        meets = _in_dates(documents["date"], value) if key == "date" else _matches(documents[key], value)
        if not meets.any():
            raise TrackerError(f"No document has {condition}. {_known(documents, key)}")
        chosen &= meets
    if not chosen.any():
        raise TrackerError(f"No document meets {' and '.join(conditions)} at once. Leave one of them out.")
    return chosen


class Days(NamedTuple):
    """Two days, both included; `None` where there is no limit."""

    first: pd.Timestamp | None
    last: pd.Timestamp | None


def read_dates(text: str) -> Days:
    """The days of `2023`, `2023Q2`, `2023-05`, `2023-05-17`, or from one of these to another: `2022..2023-05`.

    Raises:
        TrackerError: the text is none of them.
    """
    first, dots, last = text.partition("..")
    ends = [first, last if dots else first]
    if not any(ends) or not all(_DAY_OR_PERIOD.fullmatch(end) for end in ends if end):
        raise _no_date(text)
    try:
        start, end = (pd.Period(end) if end else None for end in ends)
        days = Days(start.start_time if start is not None else None, end.end_time if end is not None else None)
    except ValueError:  # there is no 13th month, and no time stamp of the year 1
        raise _no_date(text) from None
    if days.first is not None and days.last is not None and days.first > days.last:
        raise TrackerError(f"{text} ends before it begins. Exchange the two dates.")
    return days


def units_of(documents: pd.DataFrame, pattern: str | None) -> np.ndarray:
    """(n_documents,) int, equal for documents that count as one voice, such as all filings of one company.

    Args:
        pattern: a regular expression; documents are of one unit if their names agree in what its first group matches,
            or in all that it matches if it has no group. A name without a match is a unit of its own. `None`: every
            document is.

    Raises:
        TrackerError: it is no regular expression, or no name matches it.
    """
    if pattern is None:
        return np.arange(len(documents))
    try:
        matches = [re.search(pattern, name) for name in documents["name"]]
    except re.error as error:
        raise TrackerError(f"{pattern!r} is no regular expression ({error}).") from None
    if not any(matches):
        raise TrackerError(f"No document's name matches {pattern!r}. {_known(documents, 'name')}")
    keys = [
        (match[match.re.groups and 1] if match else None) or f"\0{row}"  # NUL is in no name
        for row, match in enumerate(matches)
    ]
    return pd.factorize(np.array(keys, dtype=object))[0]


def _in_dates(dates: pd.Series, text: str) -> np.ndarray:
    days = pd.to_datetime(dates)
    first, last = read_dates(text)
    within = days.notna()
    if first is not None:
        within &= days >= first
    if last is not None:
        within &= days <= last
    return within.to_numpy()


def _matches(column: pd.Series, text: str) -> np.ndarray:
    patterns = text.split("|")
    whole = column.isin([text, *patterns])  # a name may hold a bracket or a bar
    return (
        whole | column.map(lambda cell: isinstance(cell, str) and any(fnmatchcase(cell, p) for p in patterns))
    ).to_numpy(dtype=bool)


def _known(documents: pd.DataFrame, key: str) -> str:
    known = documents[key].dropna()
    if known.empty:
        return f"No document of this archive has a {key}."
    if key == "date":
        return f"The documents' dates go from {known.min()} to {known.max()}."
    distinct = sorted(known.unique())
    more = f" and {len(distinct) - _NAMED_IN_ERRORS:,} more" if len(distinct) > _NAMED_IN_ERRORS else ""
    return f"The archive has {', '.join(distinct[:_NAMED_IN_ERRORS])}{more}."


def _no_date(text: str) -> TrackerError:
    return TrackerError(f"{text!r} is no date. Write 2023, 2023Q2, 2023-05, 2023-05-17, or two of them: 2022..2023-05.")
