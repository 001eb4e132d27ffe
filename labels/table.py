"""The label table: one row a feature, joined by (layer, index) and never by row order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd

from bundles.errors import TrackerError
from sae.feature import Feature

ALWAYS_YES_F1 = 2 / 3
"""F1 of a judge who always says yes on a sample half firing, half silent; a label must beat it to be reliable."""

KEYS = ["layer", "feature"]
_TEXT = ["label", "f1_method", "rule"]
_SHARES = ["f1", "precision", "recall", "balanced_accuracy", "density"]
_COUNTS = ["n_positive", "n_negative", "finance_tokens", "general_tokens"]
_MEASURES = [
    "specialization",
    "specialization_index",
    "finance_mean",
    "general_mean",
    "mean_activation",
    "max_activation",
    "q50",
    "q90",
    "q99",
]
COLUMNS = [
    "label", "f1", "precision", "recall", "balanced_accuracy", "n_positive", "n_negative", "f1_method",
    "specialization", "specialization_index", "finance_mean", "general_mean", "finance_tokens", "general_tokens",
    "density", "mean_activation", "max_activation", "q50", "q90", "q99", "rule",
]  # fmt: skip


@dataclass(frozen=True)
class LabelTable:
    """Labels and measures of a bundle's features.

    Attributes:
        frame: indexed by (layer, feature), columns `COLUMNS`. `f1`, `precision`, `recall` and `balanced_accuracy` are
            measured on held-out text, on `n_positive` firing and `n_negative` silent tokens, by `f1_method`; they are
            NaN where the feature fires too rarely there. Activations are in the units of the residual stream, means
            are over all tokens, `q50, q90, q99` are quantiles over the tokens on which the feature fires, `density` is
            the share of those tokens. `rule` is what `label` says, as JSON that can be checked by a program.
    """

    frame: pd.DataFrame

    def get(self, feature: Feature) -> pd.Series:
        """A feature's row.

        Raises:
            TrackerError: the table has none.
        """
        if feature not in self.frame.index:
            raise TrackerError(f"The label table has no row for {feature}.")
        return cast(pd.Series, self.frame.xs(feature))

    def name(self, feature: Feature) -> str:
        """A feature's label, or `unlabelled`."""
        key = tuple(feature)
        return str(self.frame.at[key, "label"]) if key in self.frame.index else "unlabelled"


def load_labels(path: Path, *, layers: Sequence[int], n_latents: int) -> LabelTable:
    """Read a label table and check it against the SAEs it belongs to.

    Raises:
        TrackerError: no such file, a column missing, a value out of its range, a feature twice, or a layer or index
            that the SAEs don't have; each is named with its line.
    """
    try:
        frame = pd.read_csv(path, dtype=dict.fromkeys(_TEXT, str), keep_default_na=False, na_values={
            name: [""] for name in [*_SHARES, *_COUNTS, *_MEASURES]
        })  # fmt: skip
    except FileNotFoundError:
        raise TrackerError(f"No label table at {path}. Make one with: python -m labels make --help") from None
    except (ValueError, UnicodeDecodeError) as error:
        raise TrackerError(f"{path} is not a CSV table in UTF-8 ({error}).") from None
    check_table(frame, str(path), layers=layers, n_latents=n_latents)
    return LabelTable(frame.set_index(KEYS)[COLUMNS].sort_index())


def save_labels(table: LabelTable, path: Path) -> None:
    """Write a label table as CSV."""
    table.frame.sort_index()[COLUMNS].reset_index().to_csv(path, index=False, float_format="%.6g", lineterminator="\n")


def check_table(frame: pd.DataFrame, where: str, *, layers: Sequence[int], n_latents: int) -> None:
    """Check a table as it was read; see `load_labels`."""
    missing = [name for name in [*KEYS, *COLUMNS] if name not in frame.columns]
    if missing:
        raise TrackerError(f"{where}: column {', '.join(missing)} is missing. A label table has {', '.join(COLUMNS)}.")
    for name in [*KEYS, *_SHARES, *_COUNTS, *_MEASURES]:
        if not pd.api.types.is_numeric_dtype(frame[name]):
            bad = pd.to_numeric(frame[name], errors="coerce").isna() & frame[name].notna()
            raise _refused(where, frame, bad, name, "a number")
    for name in KEYS:
        _require(where, frame, frame[name].notna() & (frame[name] % 1 == 0), name, "a whole number")
    _require(where, frame, frame["layer"].isin(list(layers)), "layer", f"one of {', '.join(map(str, layers))}")
    in_range = (frame["feature"] >= 0) & (frame["feature"] < n_latents)
    _require(where, frame, in_range, "feature", f"0 to {n_latents - 1}")
    twice = frame.duplicated(KEYS)
    if twice.any():
        row = frame[twice].iloc[0]
        raise TrackerError(
            f"{where}, line {_line(twice)}: layer {row['layer']}, feature {row['feature']} stands there a second time. "
            "Keep one row a feature."
        )
    for name in _SHARES:
        _require(where, frame, frame[name].isna() | frame[name].between(0, 1), name, "between 0 and 1")
    for name in [*_COUNTS, *_MEASURES]:
        _require(where, frame, frame[name].isna() | np.isfinite(frame[name].astype(float)), name, "a finite number")
    _require(where, frame, frame["label"].str.strip() != "", "label", "not empty")


def _require(where: str, frame: pd.DataFrame, good: pd.Series, name: str, expected: str) -> None:
    if not good.all():
        raise _refused(where, frame, ~good, name, expected)


def _refused(where: str, frame: pd.DataFrame, bad: pd.Series, name: str, expected: str) -> TrackerError:
    found = frame.loc[bad, name].iloc[0]
    return TrackerError(f"{where}, line {_line(bad)}: {name} must be {expected}, found {found!r}. Correct that line.")


def _line(bad: pd.Series) -> int:
    """Line of the first bad row in the file; the header is line 1."""
    return int(np.flatnonzero(bad.to_numpy())[0]) + 2
