"""A document's name, date and group: from its file's name, from columns, or from a table beside the documents."""

from __future__ import annotations

import csv
import datetime as dt
import math
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from feature_tracker.archive.rows import csv_rows, find_column
from feature_tracker.errors import TrackerError

NAME_COLUMNS = ("name", "id", "title")
DATE_COLUMNS = ("date",)
GROUP_COLUMNS = ("group", "source")
"""Columns that are looked for where none is named, the first that is there."""

_DATES = ("%Y-%m", "%Y", "%d.%m.%Y", "%B %d, %Y", "%b %d, %Y", "%d %B %Y", "%d %b %Y")  # beside ISO's
_GROUPS = {"name", "date", "group"}
_MOST_ROWS = 5_000_000


class Metadata(NamedTuple):
    """What is known of a document besides its text; each empty or `None` where unknown.

    Attributes:
        name: as it was given; it may be another document's, too.
        date: day.
        group: what it is compared by.
        notes: sentences about what was not understood.
    """

    name: str = ""
    date: dt.date | None = None
    group: str | None = None
    notes: tuple[str, ...] = ()

    def over(self, other: Metadata) -> Metadata:
        """What this says, and where it says nothing, what the other says."""
        return Metadata(
            self.name or other.name, self.date or other.date, self.group or other.group, other.notes + self.notes
        )


def metadata_of(fields: Mapping[str, object]) -> Metadata:
    """Metadata from values of any type, by `name`, `date` and `group`; missing ones are unknown.

    A date is ISO's (`2024-05-31`, also with a time, or `20240531`), a month (`2024-05`) or a year, which stand for
    their first day, `31.05.2024`, or one with the month's English name. Others are ambiguous: a note says so.
    """
    date, notes = fields.get("date"), ()
    if isinstance(date, dt.datetime):
        day = date.date()
    elif isinstance(date, dt.date):
        day = date
    else:
        written = _text(date)
        day = _day(written)
        if written and day is None:
            notes = (f"Its date, {written[:40]!r}, is not understood; write it as 2024-05-31.",)
    return Metadata(_text(fields.get("name")), day, _text(fields.get("group")) or None, notes)


def _text(value: object) -> str:
    missing = value is None or (isinstance(value, float) and math.isnan(value))
    return "" if missing else str(value).strip()


def _day(written: str) -> dt.date | None:
    with suppress(ValueError):
        return dt.datetime.fromisoformat(written).date()
    for form in _DATES:
        with suppress(ValueError):
            return dt.datetime.strptime(written, form).date()
    return None


@dataclass(frozen=True)
class NamePattern:
    """A regular expression for files' names.

    Attributes:
        expression: searched for in the path below the input folder; its groups `name`, `date` and `group` are metadata.

    Raises:
        TrackerError: it is no regular expression, or has none of these groups, or another.
    """

    expression: str

    def __post_init__(self) -> None:
        try:
            groups = re.compile(self.expression).groupindex.keys()
        except re.error as error:
            raise TrackerError(f"{self.expression!r} is no regular expression ({error}).") from None
        if not groups or groups - _GROUPS:
            raise TrackerError(
                f"The pattern {self.expression!r} has the named groups {', '.join(sorted(groups)) or 'none'}; expected "
                "some of name, date and group, as in (?P<group>[A-Z]+)_(?P<date>\\d{4}-\\d{2}-\\d{2})."
            )

    def read(self, path: str) -> Metadata:
        """The metadata in a path; a note where it doesn't match."""
        match = re.search(self.expression, path)
        return metadata_of(match.groupdict()) if match else Metadata(notes=("Its path doesn't match the pattern.",))


class SideTable:
    """A CSV file with metadata of documents, by the document's name; held in memory.

    Its column `name` (or `file`, `filename`, `id`) has a document's name, its path below the input folder, its file's
    name, or that without the suffix. `date` and `group` say the rest.

    Args:
        path: the file.

    Raises:
        TrackerError: it can't be read, lacks such columns, or has a name twice.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self._by_name: dict[str, Metadata] = {}
        try:
            for row in csv_rows(path):
                name = find_column(row.fields, None, ("name", "file", "filename", "id"))
                date = find_column(row.fields, None, DATE_COLUMNS)
                group = find_column(row.fields, None, GROUP_COLUMNS)
                if name is None or (date is None and group is None):
                    raise TrackerError(
                        f"{path} has the columns {', '.join(row.fields)}; expected name, and date or group or both."
                    )
                given = metadata_of({"date": row.fields.get(date or ""), "group": row.fields.get(group or "")})
                key = _text(row.fields[name])
                if key in self._by_name:
                    raise TrackerError(f"{path}, line {row.number}: {key} is there twice. Leave one of them out.")
                self._by_name[key] = given
                if len(self._by_name) > _MOST_ROWS:
                    raise TrackerError(f"{path} has more than {_MOST_ROWS:,} rows. Put the metadata beside the texts.")
        except (csv.Error, UnicodeDecodeError, OSError) as error:
            raise TrackerError(f"{path} can't be read as CSV in UTF-8 ({error}).") from None
        if not self._by_name:
            raise TrackerError(f"{path} has no rows below its header; expected the columns name, date and group.")

    def read(self, name: str, path: str = "") -> Metadata:
        """The metadata of a document of this name, in a file of this path; a note where the table has none."""
        file = PurePosixPath(path)
        for key in dict.fromkeys((name, path, file.name, file.stem)):
            if key in self._by_name:
                return self._by_name[key]
        return Metadata(notes=(f"{self.path.name} has no row for it.",))
