"""Refuse a label table that is damaged, or about another bundle, with the line at fault and what to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from feature_tracker.bundles.bundle import Bundle, load_bundle
from feature_tracker.bundles.choice import bundle_names
from feature_tracker.errors import TrackerError
from feature_tracker.labels.columns import COLUMNS, KEYS, REQUIRED, Column


def check_bundle(frame: pd.DataFrame, where: str, bundle: Bundle) -> None:
    """Check that a table is about a bundle's features.

    A table that names no bundle is taken, and so is one of a bundle with the same SAE folder.

    Args:
        frame: as read.
        where: the file, for the message.

    Raises:
        TrackerError: the table names another bundle.
    """
    named = frame["bundle"].unique() if "bundle" in frame else []
    for name in named:
        if name not in ("", bundle.name) and not _has_same_saes(name, bundle):
            raise TrackerError(
                f"{where} holds labels of bundle {name}, not of {bundle.name}, and features of different SAEs have "
                f"nothing in common. Name the table of {bundle.name} by FEATURE_TRACKER_LABELS, --labels or `labels` "
                "in the bundle's TOML file, or make one with: "
                f"feature-tracker labels import PATH… --bundle {bundle.name}. Where both bundles have the same model "
                "and SAEs, take the column `bundle` out of the table."
            )


def _has_same_saes(name: str, bundle: Bundle) -> bool:
    """Whether a bundle of this name is installed and reads the same SAE folder, such as a copy with another window."""
    try:
        listed = {Path(path).name.removesuffix(".toml"): path for path in bundle_names()}
        return name in listed and load_bundle(listed[name]).sae_folder.resolve() == bundle.sae_folder.resolve()
    except TrackerError:
        return False


def check_table(frame: pd.DataFrame, where: str, n_latents: Mapping[int, int]) -> None:
    """Check every column and every row of a table.

    Args:
        frame: as read: indexed from 0 in the file's order, `KEYS` among the columns.
        where: the file, for the message.
        n_latents: latents of each layer's SAE.

    Raises:
        TrackerError: a column is missing, there is no row, a cell breaks its column's record, a feature stands there
            twice, or the SAEs don't have it.
    """
    missing = [name for name in [*KEYS, *REQUIRED] if name not in frame.columns]
    if missing:
        raise TrackerError(
            f"{where}: column {', '.join(missing)} is missing. A label table has {', '.join(REQUIRED)}. If another "
            f'tool wrote this file, import it: feature-tracker labels import "{where}" --bundle NAME --out TABLE'
        )
    if frame.empty:
        raise TrackerError(f"{where} holds no feature, only the names of its columns. Take it away, or make it anew.")
    columns = [column for column in COLUMNS if column.name in frame.columns]
    for column in columns:
        if f"{column.name}.1" in frame.columns:  # so pandas names the second
            raise TrackerError(f"{where} has two columns {column.name}. Take the wrong one out.")
        cells = frame[column.name]
        if column.is_number and not pd.api.types.is_numeric_dtype(cells):
            numbers = pd.to_numeric(cells, errors="coerce").astype(float)
            _refuse(where, cells, numbers.isna() & cells.notna(), "be a number")
            frame[column.name] = numbers  # whole numbers that no computer's integers hold
    _check_features(frame, where, n_latents)
    for column in columns:
        for wrong, expected in _faults(column, frame[column.name]):
            _refuse(where, frame[column.name], wrong, expected)


def _check_features(frame: pd.DataFrame, where: str, n_latents: Mapping[int, int]) -> None:
    layer, index = frame["layer"], frame["feature"]
    for cells in (layer, index):
        _refuse(where, cells, cells.isna() | (cells % 1 != 0), "be a whole number")
    _refuse(where, layer, ~layer.isin(list(n_latents)), f"be one of {', '.join(map(str, n_latents))}")
    last = layer.map(dict(n_latents)) - 1
    outside = ~index.between(0, last)
    if outside.any():
        _refuse(where, index, outside, f"be 0 to {last[outside].iloc[0]}")
    again = frame.duplicated(KEYS)
    if again.any():
        row = frame[again].iloc[0]
        raise TrackerError(
            f"{where}, line {_line(again)}: layer {row['layer']}, feature {row['feature']} stands there a second time. "
            f"Keep one row per feature; the bundle has {sum(n_latents.values()):,} features."
        )


def _faults(column: Column, cells: pd.Series) -> Iterator[tuple[pd.Series, str]]:
    """Which cells break a rule of the column's record, and what that rule says, one rule after the other."""
    if column.kind == "choice":
        yield ~cells.isin(list(column.values)), f"be {column.limits}"
    elif column.kind == "text":
        if column.filled:
            yield cells.str.strip() == "", "not be empty"
    else:
        stated = cells.notna()
        yield stated & ~np.isfinite(cells.astype(float)), "be a finite number"
        if column.kind == "count":
            yield stated & (cells % 1 != 0), "be a whole number"
        yield stated & ~cells.between(column.low, column.high), f"be {column.limits}"


def _refuse(where: str, cells: pd.Series, wrong: pd.Series, expected: str) -> None:
    """Raise an error about the first cell that is wrong, if one is."""
    if not wrong.any():
        return
    cell = cells[wrong].iloc[0]
    shown = repr(cell.item() if isinstance(cell, np.generic) else cell)
    shown = shown if len(shown) <= 80 else f"{shown[:79]}…"
    raise TrackerError(f"{where}, line {_line(wrong)}: {cells.name} must {expected}, found {shown}. Correct that line.")


def _line(wrong: pd.Series) -> int:
    """Line of the first wrong row in the file, whose header is line 1."""
    return int(wrong.index[wrong.to_numpy(dtype=bool)][0]) + 2
