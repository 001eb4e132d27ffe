"""Label tables as CSV files, and any table as CSV that a spreadsheet opens without calculating."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from feature_tracker.bundles.bundle import Bundle
from feature_tracker.errors import TrackerError
from feature_tracker.files import replacing
from feature_tracker.labels.checks import check_bundle, check_table
from feature_tracker.labels.columns import COLUMNS, KEYS, columns_of
from feature_tracker.labels.table import LabelTable, unlabelled_table

_ROWS_AT_ONCE = 10_000  # a table of any length takes little memory before it is refused
# Where a cell begins: at its start, and for a program that takes another sign for the delimiter, or a line break within
# quotes for the end of a row, also there. White space, quotes and what nobody sees count for nothing.
_BEGINS = r"(?:\A|(?<=[\n\t;|]))"
_UNSEEN = r"\x00-\x08\x0b-\x20\x7f-\xa0\xad\u1680\u180e\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufeff"
# With the full-width and small forms, which Excel takes for the same where a language writes them.
_SIGNS = r"=+\-@\uff1d\uff0b\uff0d\uff20\ufe66\ufe62\ufe63\ufe6b\u2212"
_CALCULATED = rf"(?=['{_UNSEEN}]*[{_SIGNS}]\s*\S)"  # a sign alone is text
_FORMULA = re.compile(_BEGINS + _CALCULATED)
_GUARDED_FORMULA = re.compile(f"{_BEGINS}'{_CALCULATED}")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")


def open_labels(bundle: Bundle, n_latents: Mapping[int, int]) -> LabelTable:
    """A bundle's label table; while there is none, every feature is unlabelled.

    Args:
        n_latents: latents of each layer's SAE.

    Raises:
        TrackerError: see `load_labels`.
    """
    if bundle.labels.exists():
        return load_labels(bundle.labels, n_latents, bundle)
    return unlabelled_table(n_latents)


def load_labels(path: Path, n_latents: Mapping[int, int], bundle: Bundle | None = None) -> LabelTable:
    """Read a label table and check it.

    Args:
        n_latents: latents of each layer's SAE.
        bundle: whose table it should be. Where the user chose some of its layers, rows of the others are left out.

    Raises:
        TrackerError: there is no such file, it is about another bundle, or `labels.checks.check_table` refuses it.
    """
    return _load(path, str(path), n_latents, bundle)


def _load(path: Path, where: str, n_latents: Mapping[int, int], bundle: Bundle | None = None) -> LabelTable:
    try:
        frame, left_out = _read(path, n_latents, layers_chosen=bundle is not None and bundle.layers_chosen)
    except FileNotFoundError:
        raise TrackerError(
            f"No label table at {where}. Make one from other tools' files with: feature-tracker labels import --help, "
            "or one without labels with: feature-tracker labels measure --help"
        ) from None
    except (ValueError, UnicodeDecodeError) as error:
        raise TrackerError(
            f"{where} is not a CSV table in UTF-8 ({error}). Save it as one, or import another tool's file with: "
            "feature-tracker labels import --help"
        ) from None
    except IsADirectoryError:
        raise TrackerError(
            f"{where} is a folder, and a label table is one CSV file. If the folder holds another tool's labels, "
            f'import it: feature-tracker labels import "{where}" --bundle NAME --out TABLE'
        ) from None
    except OSError as error:
        raise TrackerError(f"{where} can't be read ({error.strerror}).") from None
    for column in COLUMNS:
        if column.kind == "text" and column.name in frame:
            frame[column.name] = unguard(frame[column.name])
    if bundle is not None:
        check_bundle(frame, where, bundle)
    if left_out and frame.empty:
        raise TrackerError(
            f"{where} has rows of other layers only, none of {', '.join(map(str, n_latents))}. Choose layers that it "
            "has."
        )
    check_table(frame, where, n_latents)
    frame[KEYS] = frame[KEYS].astype("int64")
    return LabelTable(frame.set_index(KEYS)[columns_of(frame)].sort_index(), left_out)


def _read(path: Path, n_latents: Mapping[int, int], *, layers_chosen: bool) -> tuple[pd.DataFrame, int]:
    """A table's rows, indexed by their place in the file, and how many rows of layers not chosen were left out.

    Reading stops one row above the number of features: one of these rows is a second one, or about no feature, and
    `check_table` names it.
    """
    parts, left_out = [], 0
    with pd.read_csv(
        path,
        dtype={column.name: str for column in COLUMNS if not column.is_number},
        keep_default_na=False,
        na_values={column.name: [""] for column in COLUMNS if column.is_number and column.name not in KEYS},
        chunksize=_ROWS_AT_ONCE,
    ) as chunks:
        wanted = sum(n_latents.values()) + 1
        for chunk in chunks:
            if not isinstance(chunk.index, pd.RangeIndex):
                # pandas takes the first cells for names of rows, and moves the others under the wrong columns.
                raise ValueError("its rows have more cells than its first line names")
            elsewhere = pd.Series(False, index=chunk.index)
            if layers_chosen and "layer" in chunk:
                layers = pd.to_numeric(chunk["layer"], errors="coerce")
                elsewhere = layers.notna() & ~layers.isin(list(n_latents))
            parts.append(chunk[~elsewhere].iloc[:wanted])
            left_out += int(elsewhere.sum())
            wanted -= len(parts[-1])
            if not wanted:
                break
    return pd.concat(parts), left_out


def save_labels(table: LabelTable, path: Path) -> None:
    """Write a label table as CSV: numbers with six digits, the scores of an imported table with all of theirs.

    Raises:
        TrackerError: it can't be written.
    """
    with replacing(path) as beside:
        _write(table, beside)


def replace_table(table: LabelTable, path: Path, n_latents: Mapping[int, int]) -> None:
    """Write a label table as `save_labels` does, unless `load_labels` would refuse what was written.

    Raises:
        TrackerError: it can't be written, or doesn't pass the check; `path` stays as it was.
    """
    with replacing(path) as beside:
        _write(table, beside)
        _load(beside, f"The new table for {path}", n_latents)


def _write(table: LabelTable, path: Path) -> None:
    frame = table.frame.sort_index()[columns_of(table.frame)].reset_index()
    is_imported = "mark" in frame
    for column in COLUMNS:
        if column.name not in frame:
            continue
        cells = frame[column.name]
        if column.kind == "text":
            frame[column.name] = guard(cells.astype(str))
        elif column.kind == "number" and column.group == "score" and is_imported:
            frame[column.name] = ["" if pd.isna(cell) else repr(float(cell)) for cell in cells]
    frame.to_csv(path, index=False, float_format="%.6g", lineterminator="\n")


def storable(text: str) -> str:
    """A text as a CSV file in UTF-8 can hold it.

    Halves of a surrogate pair are joined; lone ones and control characters are left out. A carriage return becomes a
    space, or with the line feed after it a line feed.
    """
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", " ")
    if not text.isascii():
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "ignore")
    return _CONTROL.sub("", text)


def guard(cells: pd.Series) -> pd.Series:
    """Texts, `storable`, with `'` before each part that a spreadsheet would calculate; what is no text stays."""
    return cells.map(lambda cell: _FORMULA.sub("'", storable(cell)) if isinstance(cell, str) else cell)


def unguard(cells: pd.Series) -> pd.Series:
    """The texts that `guard` was given, as far as they are storable."""
    return cells.map(lambda cell: _GUARDED_FORMULA.sub("", cell) if isinstance(cell, str) else cell)


def guarded(table: pd.DataFrame) -> pd.DataFrame:
    """Any table, with `guard` on every text."""
    safe = table.copy()
    for name in safe.select_dtypes(exclude=["number", "bool"]).columns:
        safe[name] = guard(safe[name])
    return safe.infer_objects()


def to_csv(table: pd.DataFrame) -> bytes:
    """Any table as CSV that a spreadsheet opens as text: UTF-8 with a byte order mark, and no formula."""
    return guarded(table).to_csv(index=False).encode("utf-8-sig")
