"""The label table: one row a feature, joined by (layer, index) and never by row order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import pandas as pd

from feature_tracker.bundles.bundle import Bundle
from feature_tracker.errors import TrackerError
from feature_tracker.feature import Feature
from feature_tracker.files import replacing
from feature_tracker.labels.ownership import BUNDLE, check_bundle
from feature_tracker.labels.scores import GOOD, MARKS, NO_BETTER, NOT_SCORED
from feature_tracker.labels.spreadsheet import guard, unguard

if TYPE_CHECKING:
    from feature_tracker.sae.topk import Sae

ALWAYS_YES_F1 = 2 / 3
"""F1 of a judge who always says yes on a sample half firing, half silent, as the built-in labels' samples are."""
UNLABELLED = "unlabelled"
"""Stands for the label of a feature that has none."""
WRITTEN = 1e-6
"""A table keeps six digits: 0.666667 is 2/3, which beats nothing."""

KEYS = ["layer", "feature"]
_TEXT = ["label", "f1_method", "rule"]
_SHARES = ["f1", "precision", "recall", "balanced_accuracy", "density", "accuracy", "f1_always_yes"]
_COUNTS = ["n_positive", "n_negative", "finance_tokens", "general_tokens", "n_unanswered"]
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


IMPORTED = [
    "accuracy", "f1_always_yes", "mark", "n_unanswered", "specialization_source", "label_source", "original_label",
]  # fmt: skip
"""Columns that only a table from other tools' files has."""
MEASURED, REPORTED, UNVERIFIED = "measured", "reported", "reported-unverified"
SPECIALIZATION_SOURCES = ("", MEASURED, REPORTED, UNVERIFIED)
"""Where a specialization comes from: nowhere; measured on text by this project's definition; a file whose numbers can
be means of top-k activations; a file whose numbers can't."""
_IMPORTED_TEXT = ["mark", "specialization_source", "label_source", "original_label"]
_EXACT = ["f1", "precision", "recall", "balanced_accuracy", "accuracy", "f1_always_yes"]
_CHUNK = 10_000  # rows read at once: a table of any length takes little memory before it is refused
_FOREIGN = ["label", "label_source", "original_label", BUNDLE]


@dataclass(frozen=True)
class LabelTable:
    """Labels and measures of a bundle's features.

    Attributes:
        frame: indexed by (layer, feature), columns `COLUMNS`. `f1`, `precision`, `recall` and `balanced_accuracy` are
            measured on held-out text, on `n_positive` firing and `n_negative` silent tokens, by `f1_method`; they are
            NaN where the feature fires too rarely there. Activations are in the units of the residual stream, means
            are over all tokens, `q50, q90, q99` are quantiles over the tokens on which the feature fires, `density` is
            the share of those tokens. `rule` is what `label` says, as JSON that can be checked by a program. A table
            of imported labels has the columns `IMPORTED` besides: `f1_always_yes` is what always saying yes scores on
            the label's own sample, `mark` says why a label is not reliable (see `labels.scores.MARKS`),
            `specialization_source` is one of `SPECIALIZATION_SOURCES`. What isn't known is NaN or empty. `bundle`,
            where there is such a column, names the bundle whose features the rows are about.
        left_out: rows of the file that are of layers which an option or variable leaves out of the bundle.
    """

    frame: pd.DataFrame
    left_out: int = 0

    @cached_property
    def f1_always_yes(self) -> pd.Series:
        """What always saying yes scores on each label's sample, NaN where it isn't known.

        It is the table's own column; else it follows from the counts of firing and silent tokens, and is
        `ALWAYS_YES_F1` in a table without them.
        """
        if "f1_always_yes" in self.frame:
            return self.frame["f1_always_yes"].astype(float)
        if "n_positive" not in self.frame:
            return pd.Series(ALWAYS_YES_F1, index=self.frame.index)
        positive, negative = (self.frame[name].astype(float) for name in ("n_positive", "n_negative"))
        return 2 * positive / (2 * positive + negative).where(lambda n: n > 0)

    @cached_property
    def reliable(self) -> pd.Series:
        """Whether each label's F1 beats always saying yes on its own sample, and nothing else speaks against it."""
        beats = self.frame["f1"].astype(float) > self.f1_always_yes + WRITTEN
        return beats & (self.frame["mark"] == GOOD) if "mark" in self.frame else beats

    @cached_property
    def marks(self) -> pd.Series:
        """Why each label isn't reliable, one of `labels.scores.MARKS`."""
        if "mark" in self.frame:
            return self.frame["mark"]
        marks = pd.Series(NO_BETTER, index=self.frame.index).where(self.frame["f1"].notna(), NOT_SCORED)
        return marks.where(~self.reliable, GOOD)

    @cached_property
    def unverified(self) -> pd.Series:
        """Whether each specialization was reported by a file whose numbers can't be means of top-k activations."""
        if "specialization_source" not in self.frame:
            return pd.Series(False, index=self.frame.index)
        return self.frame["specialization_source"] == UNVERIFIED

    @property
    def bundles(self) -> list[str]:
        """The bundles that the rows name: one, or none in a table without such a column."""
        return [name for name in self.frame[BUNDLE].unique() if name] if BUNDLE in self.frame else []

    @property
    def has_quantiles(self) -> bool:
        """Whether any feature's activations can be ranked by percentile."""
        return bool(self.frame[["density", "q50", "q90", "q99", "max_activation"]].notna().all(axis=1).any())

    def is_reliable(self, feature: Feature) -> bool:
        """`reliable` of one feature; False where the table has no row for it."""
        key = tuple(feature)
        return bool(self.reliable[key]) if key in self.frame.index else False

    def find(self, feature: Feature) -> pd.Series:
        """A feature's row, or one that says `unlabelled` and knows no number."""
        if tuple(feature) in self.frame.index:
            return cast(pd.Series, self.frame.xs(feature))
        texts = self.frame.select_dtypes(exclude=["number", "bool"]).columns
        blank = {name: "" if name in texts else np.nan for name in self.frame.columns}
        return pd.Series(blank | {"label": UNLABELLED}, name=tuple(feature), dtype=object)

    def name(self, feature: Feature) -> str:
        """A feature's label, or `unlabelled`."""
        key = tuple(feature)
        return str(self.frame.at[key, "label"]) if key in self.frame.index else UNLABELLED


def latents_of(saes: Mapping[int, Sae]) -> dict[int, int]:
    """How many latents each layer's SAE has: what a label table is checked against."""
    return {layer: sae.n_latents for layer, sae in saes.items()}


def load_labels(path: Path, n_latents: Mapping[int, int], bundle: Bundle | None = None) -> LabelTable:
    """Read a label table and check it against the SAEs it belongs to.

    Args:
        n_latents: of each layer's SAE, see `latents_of`.
        bundle: whose table it should be; where its layers were chosen, rows of others are left out and not refused.

    Raises:
        TrackerError: no such file, another bundle's, no row, a column missing, a value out of its range, a feature
            twice, or a layer or index that the SAEs don't have; each is named with its line.
    """
    try:
        frame, left_out = _read(path, n_latents, chosen=bundle is not None and bundle.layers_chosen)
    except FileNotFoundError:
        raise TrackerError(
            f"No label table at {path}. Make one with: feature-tracker labels make --help, or from other tools' files with: "
            "feature-tracker labels import --help"
        ) from None
    except (ValueError, UnicodeDecodeError) as error:
        raise TrackerError(
            f"{path} is not a CSV table in UTF-8 ({error}). Save it as one, or import another tool's file with: "
            "feature-tracker labels import --help"
        ) from None
    except OSError as error:
        raise TrackerError(f"{path} can't be read ({error.strerror}).") from None
    for name in frame.columns.intersection(_FOREIGN):
        frame[name] = unguard(frame[name])
    if bundle is not None:
        check_bundle(frame, str(path), bundle)
    if left_out and frame.empty:
        raise TrackerError(
            f"{path} has rows of other layers only, none of {', '.join(map(str, n_latents))}. Choose layers that it "
            "has."
        )
    check_table(frame, str(path), n_latents)
    return LabelTable(frame.set_index(KEYS)[columns_of(frame)].sort_index(), left_out)


def _read(path: Path, n_latents: Mapping[int, int], *, chosen: bool) -> tuple[pd.DataFrame, int]:
    """A table's rows, indexed by their order in the file, and how many of other layers were left out.

    It stops one row above the number of features: one of these rows is a second one, or of no feature, and
    `check_table` names it. Only where layers were `chosen` are rows of others left out.
    """
    kept, left_out = [], 0
    with pd.read_csv(
        path,
        dtype=dict.fromkeys([*_TEXT, *_IMPORTED_TEXT, BUNDLE], str),
        keep_default_na=False,
        na_values={name: [""] for name in [*_SHARES, *_COUNTS, *_MEASURES]},
        chunksize=_CHUNK,
    ) as chunks:
        left = sum(n_latents.values()) + 1
        for chunk in chunks:
            other = pd.Series(False, index=chunk.index)
            if chosen and "layer" in chunk:
                layers = pd.to_numeric(chunk["layer"], errors="coerce")
                other = layers.notna() & ~layers.isin(list(n_latents))
            kept.append(chunk[~other].iloc[:left])
            left_out += int(other.sum())
            left -= len(kept[-1])
            if not left:
                break
    return pd.concat(kept), left_out


def save_labels(table: LabelTable, path: Path) -> None:
    """Write a label table as CSV, numbers with six digits; imported scores with all of theirs.

    Raises:
        TrackerError: it can't be written.
    """
    with replacing(path) as beside:
        _write(table, beside)


def replace_table(table: LabelTable, path: Path, n_latents: Mapping[int, int]) -> LabelTable:
    """Write a label table as `save_labels` does, unless `load_labels` would refuse what was written.

    Returns:
        The table as it is read.

    Raises:
        TrackerError: it can't be written, or doesn't pass the check; `path` stays as it was.
    """
    with replacing(path) as beside:
        _write(table, beside)
        return load_labels(beside, n_latents)


def _write(table: LabelTable, path: Path) -> None:
    frame = table.frame.sort_index()[columns_of(table.frame)].reset_index()
    for name in frame.columns.intersection(_FOREIGN):
        frame[name] = guard(frame[name].astype(str))
    if "mark" in frame.columns:
        for name in _EXACT:
            frame[name] = [repr(float(value)) if value == value else "" for value in frame[name]]
    frame.to_csv(path, index=False, float_format="%.6g", lineterminator="\n")


def columns_of(frame: pd.DataFrame) -> list[str]:
    """The columns a table has, in their order: `COLUMNS`, then `BUNDLE` and those of `IMPORTED` that are there."""
    return [*COLUMNS, *(name for name in [BUNDLE, *IMPORTED] if name in frame.columns)]


def check_table(frame: pd.DataFrame, where: str, n_latents: Mapping[int, int]) -> None:
    """Check a table as it was read; see `load_labels`."""
    missing = [name for name in [*KEYS, *COLUMNS] if name not in frame.columns]
    if missing:
        raise TrackerError(f"{where}: column {', '.join(missing)} is missing. A label table has {', '.join(COLUMNS)}.")
    if frame.empty:
        raise TrackerError(f"{where} holds no feature, only the names of its columns. Take it away, or make it anew.")
    numbers = frame.columns.intersection([*_SHARES, *_COUNTS, *_MEASURES])
    for name in [*KEYS, *numbers]:
        if not pd.api.types.is_numeric_dtype(frame[name]):
            bad = pd.to_numeric(frame[name], errors="coerce").isna() & frame[name].notna()
            raise _refused(where, frame, bad, name, "be a number")
    for name in KEYS:
        _require(where, frame, frame[name].notna() & (frame[name] % 1 == 0), name, "be a whole number")
    layers = ", ".join(map(str, n_latents))
    _require(where, frame, frame["layer"].isin(list(n_latents)), "layer", f"be one of {layers}")
    last = frame["layer"].map(dict(n_latents)) - 1
    outside = ~frame["feature"].between(0, last)
    if outside.any():
        raise _refused(where, frame, outside, "feature", f"be 0 to {last[outside].iloc[0]}")
    twice = frame.duplicated(KEYS)
    if twice.any():
        row = frame[twice].iloc[0]
        raise TrackerError(
            f"{where}, line {_line(twice)}: layer {row['layer']}, feature {row['feature']} stands there a second time. "
            f"Keep one row a feature; the bundle has {sum(n_latents.values()):,} features."
        )
    for name in numbers.intersection(_SHARES):
        _require(where, frame, frame[name].isna() | frame[name].between(0, 1), name, "be between 0 and 1")
    for name in numbers.difference(_SHARES):
        _require(where, frame, frame[name].isna() | np.isfinite(frame[name].astype(float)), name, "be a finite number")
    for name in numbers.intersection(_COUNTS):
        _require(where, frame, frame[name].isna() | (frame[name] >= 0), name, "be 0 or more")
    for name, known in {"mark": tuple(MARKS), "specialization_source": SPECIALIZATION_SOURCES}.items():
        if name in frame:
            _require(
                where,
                frame,
                frame[name].isin(list(known)),
                name,
                f"be empty or one of {', '.join(filter(None, known))}",
            )
    _require(where, frame, frame["label"].str.strip() != "", "label", "not be empty")


def _require(where: str, frame: pd.DataFrame, good: pd.Series, name: str, expected: str) -> None:
    if not good.all():
        raise _refused(where, frame, ~good, name, expected)


def _refused(where: str, frame: pd.DataFrame, bad: pd.Series, name: str, expected: str) -> TrackerError:
    cell = frame.loc[bad, name].iloc[0]
    found = repr(cell.item() if isinstance(cell, np.generic) else cell)
    return TrackerError(f"{where}, line {_line(bad)}: {name} must {expected}, found {found}. Correct that line.")


def _line(bad: pd.Series) -> int:
    """Line of the first bad row in the file; the header is line 1."""
    return int(bad.index[bad.to_numpy(dtype=bool)][0]) + 2
