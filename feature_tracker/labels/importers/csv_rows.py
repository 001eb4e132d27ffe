"""Read CSV files with one row per feature, one row at a time, so that a file of any length takes the same memory."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from feature_tracker.errors import TrackerError
from feature_tracker.feature import Feature
from feature_tracker.labels.importers.imported import Tally
from feature_tracker.labels.importers.target import Target

_ROW_BEGINS = re.compile(r"\n(\d+),(0|[1-9]\d*),")

Numbers = TypeVar("Numbers")


class BadCell(Exception):
    """A row can't be taken.

    Args:
        reason: what was expected.
        content: what was found.
    """

    def __init__(self, reason: str, content: str) -> None:
        super().__init__(reason)
        self.reason, self.content = reason, content


class FeatureRow(NamedTuple, Generic[Numbers]):
    """A row that is about one feature.

    Attributes:
        feature: from the columns `layer` and `feature`.
        where: file and line, for a message.
        cells: texts by column.
        numbers: what the format's own parser made of the cells.
    """

    feature: Feature
    where: str
    cells: dict[str, str]
    numbers: Numbers


def read_header(path: Path) -> list[str]:
    """The names of the columns; empty where the file is empty or not text.

    Raises:
        TrackerError: the file can't be opened.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            return [name.strip() for name in next(csv.reader(lines), [])]
    except (UnicodeDecodeError, csv.Error):
        return []
    except OSError as error:
        raise TrackerError(f"{path} can't be read ({error.strerror}).") from None


def read_feature_rows(
    path: Path, target: Target, tally: Tally, parse: Callable[[dict[str, str]], Numbers]
) -> Iterator[FeatureRow[Numbers]]:
    """Yield the first sound row of each feature of the bundle; the tally counts the others as rejected or left out.

    Args:
        parse: makes numbers of a row's cells, or raises `BadCell`.

    Raises:
        TrackerError: a row is about a feature that the bundle doesn't have, the file is no CSV, or a quote that was
            left open makes one row of several.
    """
    header = read_header(path)
    first_rows: dict[Feature, str] = {}
    for line, cells in _read_rows(path):
        tally.read += 1
        where = f"{path.name}, line {line}"
        _check_span(where, line, cells, len(header), target)
        if len(cells) != len(header):
            tally.reject(where, f"a row must have {len(header)} cells", f"{len(cells)} cells")
            continue
        named = dict(zip(header, cells, strict=True))
        layer, index = named["layer"], named["feature"]
        try:
            feature = target.feature(layer, index, where)
        except ValueError:
            tally.reject(where, "layer and feature must be whole numbers", f"{layer},{index}")
            continue
        if feature is None:
            tally.left_out += 1
            continue
        if feature in first_rows:
            tally.reject(f"{where}, first in {first_rows[feature]}", "the feature has a row already")
            continue
        try:
            numbers = parse(named)
        except BadCell as bad:
            tally.reject(where, bad.reason, bad.content)
            continue
        first_rows[feature] = where
        yield FeatureRow(feature, where, named, numbers)


def _read_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield (line on which the row begins, its cells) for every row below the header that isn't blank.

    Raises:
        TrackerError: not UTF-8, or a quote that never closes; with the line.
    """
    line = 1
    with path.open(encoding="utf-8-sig", newline="") as lines:
        rows = csv.reader(lines, strict=True)
        try:
            next(rows, None)
            line = rows.line_num + 1
            for cells in rows:
                if cells:
                    yield line, cells
                line = rows.line_num + 1
        except UnicodeDecodeError:
            raise TrackerError(f"{path}, after line {line}: not UTF-8 text. Save the file as UTF-8.") from None
        except csv.Error as error:
            raise TrackerError(f"{path}, line {line}: not a row of CSV ({error}). Is a quote left open?") from None


def _check_span(where: str, line: int, cells: list[str], n_cells: int, target: Target) -> None:
    """Refuse a row that has swallowed rows below it; a label may have several lines as well.

    Raises:
        TrackerError: a cell with line breaks stands in a row of another width, or holds the beginning of a row.
    """
    breaks = sum(cell.count("\n") for cell in cells)
    if not breaks:
        return
    wrong = ""
    if len(cells) != n_cells:
        wrong = f"has {len(cells)} cells instead of {n_cells}"
    elif any(
        int(index) < target.n_latents.get(int(layer), 0) for cell in cells for layer, index in _ROW_BEGINS.findall(cell)
    ):
        wrong = "holds what begins like another row"
    if wrong:
        raise TrackerError(
            f"{where}: the row goes on to line {line + breaks} and {wrong}. A quote is left open: close it, or double "
            "a quote that belongs to the text. Nothing was written."
        )
