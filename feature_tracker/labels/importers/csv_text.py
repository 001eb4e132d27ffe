"""CSV as programs and people write it: any encoding, delimiter, decimal sign and line end, and headers in capitals.

What is not plain CSV in UTF-8 is told in notes, since a file may be read wrong.
"""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO

from feature_tracker.errors import TrackerError
from feature_tracker.reading.decoding import decode

_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_KEYS = ("layer", "feature")
_LONGEST_LINE = 4_000_000  # characters
_LARGEST_LEGACY = 16 * 2**20  # bytes of a file that isn't UTF-8: to tell its encoding it is read whole
_AT_ONCE = 2**17
_DECIMAL_COMMA = re.compile(r"\s*[+-]?\d*,\d+(?:[eE][+-]?\d+)?\s*", re.ASCII)
_THOUSANDS = re.compile(r"\s*[+-]?[1-9]\d{0,2}(?:,\d{3})+\s*", re.ASCII)


class CsvFile:
    """A CSV file's header, how it is written, and its rows, which are read one at a time.

    Attributes:
        header: names of the columns, in lower case, with `_` for spaces and hyphens; empty where the file is.
        delimiter: one of comma, semicolon, tab and vertical bar.
        notes: how the file was read.

    Raises:
        TrackerError: the file can't be read, is no text, or has a line that is too long.
        csv.Error: its first line is no CSV.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.notes: list[str] = []
        self._line_end = "\n"
        self._n_before = 0  # lines before the header
        self._decoded = _legacy_text(path, self.notes)
        with self._open() as file:
            head = file.read(_AT_ONCE)
        if "\r" in head and "\n" not in head:  # classic Mac OS; elsewhere a lone carriage return is dirt in a label
            self._line_end = "\r"
        with self._open() as file:
            lines = self._lines(file)
            first = next(lines, "")
            while first.isspace():
                self._n_before, first = self._n_before + 1, next(lines, "")
            # Excel's own way to say it. Such a line is no row.
            says_delimiter = re.fullmatch(r"sep=(.)\s*", first, re.IGNORECASE) is not None
            if says_delimiter:
                self._n_before, first = self._n_before + 1, next(lines, "")
        headers = {sign: _names(first, sign) for sign in _DELIMITERS}
        self.delimiter = next((sign for sign, names in headers.items() if set(_KEYS) <= set(names)), ",")
        self.header = headers[self.delimiter]
        if self.delimiter != ",":
            self.notes.append(f"its cells are separated by {_DELIMITERS[self.delimiter]}")

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yield (line on which the row begins, its cells) for every row below the header that isn't blank.

        Empty cells beyond the header are left out: a delimiter at the end of a line makes one.

        Raises:
            TrackerError: a quote that never closes, or a line that is too long; with the line.
        """
        line = 1
        with self._open() as file:
            lines = self._lines(file)
            skipped = sum(1 for _ in itertools.islice(lines, self._n_before))
            rows = csv.reader(lines, delimiter=self.delimiter, strict=True)
            try:
                next(rows, None)
                line = skipped + rows.line_num + 1
                width = len(self.header)
                for cells in rows:
                    if len(cells) > width and not any(map(str.strip, cells[width:])):
                        del cells[width:]
                    if cells:
                        yield line, cells
                    line = skipped + rows.line_num + 1
            except csv.Error as error:
                raise TrackerError(
                    f"{self._path}, line {line}: not a row of CSV ({error}). Is a quote left open?"
                ) from None

    def number(self, cell: str) -> float:
        """The number in a cell, also one with a decimal comma.

        Raises:
            ValueError: there is none, or it isn't clear whether its comma is a decimal one or separates thousands.
        """
        if "_" in cell:
            raise ValueError
        if not _DECIMAL_COMMA.fullmatch(cell) or (self.delimiter == "," and _THOUSANDS.fullmatch(cell)):
            return float(cell)
        if (note := "its numbers have decimal commas") not in self.notes:
            self.notes.append(note)
        return float(cell.replace(",", "."))

    def _open(self) -> TextIO:
        if self._decoded is not None:
            return io.StringIO(self._decoded, newline=self._line_end)
        return self._path.open(encoding="utf-8-sig", errors="surrogatepass", newline=self._line_end)

    def _lines(self, file: TextIO) -> Iterator[str]:
        """Yield lines that end with a line feed and hold no other control character that `csv` would stumble over."""
        number = 0
        while line := file.readline(_LONGEST_LINE + 1):
            number += 1
            if len(line) > _LONGEST_LINE:
                raise TrackerError(
                    f"{self._path}, line {number}: longer than {_LONGEST_LINE:,} characters, so it is no row of labels."
                )
            yield line.rstrip("\r\n").replace("\r", " ").replace("\0", "") + "\n"


def _names(line: str, delimiter: str) -> list[str]:
    names = next(csv.reader([line], delimiter=delimiter), [])
    plain = [re.sub(r"[\s-]+", "_", name.strip("\ufeff \t\r\n").casefold()) for name in names]
    while plain and not plain[-1]:
        plain.pop()
    return plain


def _legacy_text(path: Path, notes: list[str]) -> str | None:
    """The whole text of a file that isn't UTF-8, with a note how it was read; `None` for UTF-8."""
    try:
        with path.open("rb") as file:
            if _is_utf8(iter(lambda: file.read(_AT_ONCE), b"")):
                return None
            file.seek(0)
            raw = file.read(_LARGEST_LEGACY + 1)
    except OSError as error:
        raise TrackerError(f"{path} can't be read ({error.strerror}).") from None
    if len(raw) > _LARGEST_LEGACY:
        raise TrackerError(f"{path} is not UTF-8 text. Save the file as UTF-8.")
    try:
        decoded = decode(raw)
    except TrackerError as error:
        raise TrackerError(f"{path}: {error}") from None
    notes += [note.rstrip(".") for note in decoded.notes]
    return decoded.text


def _is_utf8(chunks: Iterable[bytes]) -> bool:
    """Whether bytes are UTF-8, lone surrogates allowed, and no UTF-16, in which every second byte is NUL."""
    decoder, n_bytes, n_nul = codecs.getincrementaldecoder("utf-8")("surrogatepass"), 0, 0
    try:
        for chunk in chunks:
            decoder.decode(chunk)
            n_bytes, n_nul = n_bytes + len(chunk), n_nul + chunk.count(0)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return n_nul < 0.1 * n_bytes or not n_bytes
