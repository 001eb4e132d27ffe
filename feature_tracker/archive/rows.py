"""Files that hold many documents: .jsonl(.gz), .csv and .parquet, a row a document, never in memory as a whole."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from feature_tracker.errors import TrackerError
from feature_tracker.files import numbered_lines

ROW_SUFFIXES = (".jsonl", ".jsonl.gz", ".csv", ".parquet")
_LONGEST_CELL = 2**26  # characters, as `numbered_lines` has it of a line
_ROWS_AT_ONCE = 64
_BUFFER = 2**20  # bytes of a column that are read at once
_DELIMITERS = ",;\t|"


class Row(NamedTuple):
    """One row of a file.

    Attributes:
        number: of the line on which it begins, or of the row in a Parquet file, from 1.
        fields: its values by column; empty where the line is no object.
        size: of the row in the file, about, in bytes.
        fault: why it can't be read; empty where it can.
    """

    number: int
    fields: Mapping[str, object]
    size: float
    fault: str = ""


def is_row_file(path: Path) -> bool:
    """Whether a file of this name holds a document a row."""
    return path.name.lower().endswith(ROW_SUFFIXES)


def shown(path: Path) -> str:
    """A path as text with slashes; bytes of its name that are not UTF-8 become escapes."""
    return path.as_posix().encode(errors="surrogateescape").decode(errors="backslashreplace")


def place(path: Path, number: int) -> str:
    """Where a row is, in words."""
    return f"{shown(path)}, {'row' if path.suffix.lower() == '.parquet' else 'line'} {number}"


def read_rows(path: Path) -> Iterator[Row]:
    """Yield a file's rows, in order.

    Raises:
        TrackerError: the file, or the rest of it, can't be read. Its message names the file.
    """
    try:
        if path.suffix.lower() == ".parquet":
            yield from _parquet_rows(path)
        elif path.suffix.lower() == ".csv":
            yield from csv_rows(path)
        else:
            yield from _json_rows(path)
    except UnicodeDecodeError:
        raise TrackerError(f"{path} is not text in UTF-8. Save it as UTF-8.") from None
    except csv.Error as error:
        raise TrackerError(f"{path} is not CSV ({error}). Is a quote left open?") from None
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TrackerError(f"{path} can't be read, or is damaged ({reason}). Copy it again.") from None


def find_column(fields: Mapping[str, object], named: str | None, defaults: Sequence[str]) -> str | None:
    """The column that is named, or the first of the defaults that is there in any case; `None` where none is."""
    if named is not None:
        return named if named in fields else None
    lower = {field.strip().lower(): field for field in reversed(list(fields))}
    return next((lower[name] for name in defaults if name in lower), None)


def _json_rows(path: Path) -> Iterator[Row]:
    for number, line in numbered_lines(path):
        size = len(line.encode())
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield Row(number, {}, size, f"This line is no JSON ({error}).")
            continue
        fault = "" if isinstance(record, dict) else "This line is no JSON object."
        yield Row(number, {} if fault else record, size, fault)


def csv_rows(path: Path) -> Iterator[Row]:
    """The rows of a CSV file in UTF-8 whose first line names the columns.

    Raises:
        csv.Error, UnicodeDecodeError, OSError: it can't be read.
    """
    csv.field_size_limit(_LONGEST_CELL)
    with path.open(encoding="utf-8-sig", newline="") as file:
        first = file.readline(_LONGEST_CELL)
        delimiter = max(_DELIMITERS, key=first.count)
        file.seek(0)
        rows = csv.reader(file, delimiter=delimiter, strict=True)
        header = next(rows, [])
        number = rows.line_num + 1
        for cells in rows:
            if cells:
                wrong = len(cells) != len(header)
                fault = f"This row has {len(cells)} cells; its header has {len(header)}." if wrong else ""
                size = sum(map(len, cells)) + len(cells)
                yield Row(number, {} if wrong else dict(zip(header, cells, strict=True)), size, fault)
            number = rows.line_num + 1


def _parquet_rows(path: Path) -> Iterator[Row]:
    with pq.ParquetFile(path, buffer_size=_BUFFER, pre_buffer=False) as file:
        size = path.stat().st_size / max(file.metadata.num_rows, 1)
        number = 1
        for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE):
            for fields in batch.to_pylist():
                yield Row(number, fields, size)
                number += 1
