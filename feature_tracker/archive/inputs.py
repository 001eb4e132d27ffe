"""The documents that a run is given: files, folders of files, and files with a document a row.

They are listed in a stable order and read one at a time. What can't be read is listed with its reason, and the rest
goes on. What a user named on the command line must be right, and is refused before any model is loaded.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from feature_tracker.archive.metadata import (
    DATE_COLUMNS,
    GROUP_COLUMNS,
    NAME_COLUMNS,
    Metadata,
    NamePattern,
    SideTable,
    metadata_of,
)
from feature_tracker.archive.rows import ROW_SUFFIXES, Row, find_column, is_row_file, place, read_rows, shown
from feature_tracker.errors import TrackerError
from feature_tracker.reading import MAX_BYTES, SUFFIXES, read_document

TEXT_COLUMNS = ("text", "content", "body")
_ROWS_CHECKED = 100  # of a file that is named: its lines of JSON need not all have all columns
_KINDS = ", ".join((*SUFFIXES, *ROW_SUFFIXES))


class Item(NamedTuple):
    """A document that is to be read.

    Attributes:
        source: its file, with the line or row where the file holds several; absolute, and unique.
        metadata: its name is not unique yet.
        size: bytes that it takes of its file, about.
        path: the file, where it is the document.
        text: a row's text.
        reason: why it can't be read; empty where nothing is known against it.
    """

    source: str
    metadata: Metadata
    size: float
    path: Path | None = None
    text: str | None = None
    reason: str = ""


class ReadText(NamedTuple):
    """A document's text, and sentences about how it was read."""

    text: str
    notes: tuple[str, ...]


class File(NamedTuple):
    """A file of an input.

    Attributes:
        path: absolute.
        below: its path below the input folder, with slashes; its name where it was named itself.
    """

    path: Path
    below: str


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What a run reads, and where a document's metadata comes from.

    A file's document is called by its path below the input folder, a row's by its column `name`, `id` or `title`, or by
    file and line. Metadata of the side table goes before that of columns and of the pattern.

    Attributes:
        paths: files and folders, in the order in which they are read; a folder's files by name, those of its folders
            where the folder's name comes. Hidden files are left out. A file that is met twice is read once.
        text_column, name_column, date_column, group_column: columns of row files; where `None`, `TEXT_COLUMNS` and
            those of `archive.metadata`.
        pattern: reads metadata out of files' names.
        side_table: metadata by document.
        leave_out: a folder that is not looked into, as the archive itself.
    """

    paths: tuple[Path, ...]
    text_column: str | None = None
    name_column: str | None = None
    date_column: str | None = None
    group_column: str | None = None
    pattern: NamePattern | None = None
    side_table: SideTable | None = None
    leave_out: Path | None = None

    def check(self) -> None:
        """Refuse what was named and can't be: a path, an empty folder, a column.

        Raises:
            TrackerError: what is wrong with which.
        """
        for path in self.paths:
            if path.is_dir():
                if next(self._files_in(path), None) is None:
                    raise TrackerError(f"{path} holds no file to read. Name a folder with some of {_KINDS}.")
            elif not path.is_file():
                raise TrackerError(f"There is no file or folder {path}. Correct the path.")
            elif is_row_file(path):
                self._check_rows(path)
            elif not path.name.lower().endswith(SUFFIXES):
                raise TrackerError(f"{path} is of no kind that is read. Expected one of {_KINDS}.")

    def _check_rows(self, path: Path) -> None:
        rows = list(islice(read_rows(path), _ROWS_CHECKED))
        fields = {name: value for row in rows for name, value in row.fields.items()}
        if not rows:
            raise TrackerError(f"{path} holds no rows, so there is nothing to read.")
        if not fields:
            raise TrackerError(f"{place(path, rows[0].number)}: {rows[0].fault}")
        fault = self._missing_column(fields)
        if fault:
            raise TrackerError(f"{path}: {fault}")

    @property
    def size(self) -> float:
        """Bytes of all files, unpacked; an estimate, for the time that is left."""
        return sum(_size(file.path) for file in self.files())

    def files(self) -> Iterator[File]:
        """List all files, in order."""
        for path in self.paths:
            if path.is_dir():
                for file in self._files_in(path):
                    yield File(file.resolve(), shown(file.relative_to(path)))
            else:
                yield File(path.resolve(), shown(Path(path.name)))

    def items(self) -> Iterator[Item]:
        """List all documents, in order, without reading those that are files of their own."""
        for file in self.files():
            if is_row_file(file.path):
                yield from self._row_items(file)
            else:
                yield self._file_item(file)

    def _files_in(self, folder: Path) -> Iterator[Path]:
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError:
            yield folder  # which is then told as a file that can't be read
            return
        left_out = {path.resolve() for path in (self.leave_out, self.side_table and self.side_table.path) if path}
        for entry in entries:
            path = folder / entry.name
            if entry.name.startswith((".", "~$")) or path.resolve() in left_out:  # ~$: Word's mark of an open document
                continue
            if entry.is_dir():
                if not entry.is_symlink():  # a link may lead back up
                    yield from self._files_in(path)
            elif entry.is_file():
                yield path

    def _file_item(self, file: File) -> Item:
        size, reason = _size(file.path), ""
        if file.path.is_dir():
            reason = "The folder can't be opened."
        elif not file.path.name.lower().endswith(SUFFIXES):
            reason = f"Files of this kind aren't read. Those that are: {_KINDS}."
        elif size > MAX_BYTES:
            reason = f"The file is larger than {MAX_BYTES // 1_000_000} MB, the most that one document may have."
        metadata = self.pattern.read(file.below) if self.pattern else Metadata()
        metadata = self._with_side_table(metadata.over(Metadata(file.below)), file.below)
        return Item(shown(file.path), metadata, size, path=file.path, reason=reason)

    def _row_items(self, file: File) -> Iterator[Item]:
        try:
            for row in read_rows(file.path):
                fault = row.fault or self._missing_column(row.fields, only_text=True)
                if fault and not row.fault and file.path.suffix.lower() in (".csv", ".parquet"):
                    # All rows lack it, as in a table that lies among documents. A line of JSON may lack its own.
                    yield Item(shown(file.path), Metadata(file.below), _size(file.path), reason=fault)
                    return
                yield self._row_item(row, file, fault)
        except TrackerError as error:
            yield Item(shown(file.path), Metadata(file.below), 0, reason=str(error))

    def _row_item(self, row: Row, file: File, fault: str) -> Item:
        columns = {
            "name": find_column(row.fields, self.name_column, NAME_COLUMNS),
            "date": find_column(row.fields, self.date_column, DATE_COLUMNS),
            "group": find_column(row.fields, self.group_column, GROUP_COLUMNS),
        }
        given = metadata_of({what: row.fields[column] for what, column in columns.items() if column is not None})
        metadata = self._with_side_table(given.over(Metadata(place(Path(file.below), row.number))))
        text = None if fault else row.fields[str(find_column(row.fields, self.text_column, TEXT_COLUMNS))]
        if not fault and not isinstance(text, str):
            fault = "It has no text." if text is None else f"Its text is of type {type(text).__name__}, not text."
        text = text if isinstance(text, str) else None
        return Item(place(file.path, row.number), metadata, row.size, text=text, reason=fault)

    def _missing_column(self, fields: Mapping[str, object], *, only_text: bool = False) -> str:
        """Which of the columns that are asked for isn't there; empty where all are."""
        missing = {"text": self.text_column or TEXT_COLUMNS[0]}
        if find_column(fields, self.text_column, TEXT_COLUMNS) is not None:
            named = {"name": self.name_column, "date": self.date_column, "group": self.group_column}
            missing = {what: column for what, column in named.items() if column is not None and column not in fields}
            missing = {} if only_text else missing
        for what, column in missing.items():
            shown_columns = ", ".join(list(fields)[:12]) or "none"
            return f"There is no column {column}; its columns are {shown_columns}. Name one with --{what}-column."
        return ""

    def _with_side_table(self, metadata: Metadata, path: str = "") -> Metadata:
        return self.side_table.read(metadata.name, path).over(metadata) if self.side_table else metadata


def read_text(item: Item) -> ReadText:
    """Read a document.

    Raises:
        TrackerError: it can't be; the message names neither the file nor anything in it.
    """
    if item.reason:
        raise TrackerError(item.reason)
    if item.path is None:
        return ReadText(item.text or "", item.metadata.notes)
    try:
        with item.path.open("rb") as file:
            document = read_document(item.path.name, file.read(MAX_BYTES + 1))
    except OSError as error:
        raise TrackerError(f"The file can't be read ({error.strerror}).") from None
    return ReadText(document.text, item.metadata.notes + document.notes)


def _size(path: Path) -> float:
    try:
        size = path.stat().st_size
        if path.suffix.lower() != ".gz" or size < 18:
            return size
        with path.open("rb") as file:  # the last four bytes say how large the file is unpacked, below 4 GB
            file.seek(-4, os.SEEK_END)
            return max(int.from_bytes(file.read(4), "little"), size)
    except OSError:
        return 0
