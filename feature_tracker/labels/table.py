"""The label table: one row per feature, joined by (layer, index) and never by row order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
import pandas as pd

from feature_tracker.feature import SLOW, Feature
from feature_tracker.labels.columns import (
    BY_NAME,
    COLUMNS,
    KEYS,
    QUANTILES,
    REQUIRED,
    SHOWN,
    UNLABELLED,
    UNVERIFIED,
    columns_of,
    names,
)
from feature_tracker.labels.scores import GOOD, JUDGED, NO_BETTER, NOT_SCORED, TOP_WORDS

ALWAYS_YES_F1 = 2 / 3
"""F1 of always saying yes where half the sample fires, as in the samples of the built-in labels."""
TABLE_ROUNDING = 1e-6
"""By so much an F1 must beat another: a table keeps six digits, and 0.666667 is 2/3."""


class HasLatents(Protocol):
    """An SAE, as far as a label table cares."""

    @property
    def n_latents(self) -> int:
        """How many latents it has."""
        ...


@dataclass(frozen=True)
class LabelTable:
    """Labels and measures of a bundle's features.

    Attributes:
        frame: indexed by (layer, feature); see `labels.columns` for its columns. It has all that are required, and of
            the others those of its file.
        left_out: rows of the file that belong to layers which the user left out of the bundle.
        replaced: the file's labels of those features that the user gave a label of their own.
    """

    frame: pd.DataFrame
    left_out: int = 0
    replaced: Mapping[Feature, str] = field(default_factory=dict)

    @cached_property
    def f1_always_yes(self) -> pd.Series:
        """F1 of always saying yes on each label's own sample; NaN where it isn't known.

        Read from the table's own column, else computed from the counts of firing and silent tokens. Without either it
        is `ALWAYS_YES_F1`.
        """
        if "f1_always_yes" in self.frame:
            return self.frame["f1_always_yes"].astype(float)
        if "n_positive" not in self.frame:
            return pd.Series(ALWAYS_YES_F1, index=self.frame.index)
        return always_yes_by_counts(self.frame)

    @cached_property
    def reliable(self) -> pd.Series:
        """Whether each label's F1 beats always saying yes on its own sample, and no mark speaks against it.

        The user's own labels have no F1, and the user relies on them.
        """
        beats = self.frame["f1"].astype(float) > self.f1_always_yes + TABLE_ROUNDING
        if "mark" in self.frame:
            beats &= self.frame["mark"] == GOOD
        return beats | self.frame.index.isin([tuple(feature) for feature in self.replaced])

    @cached_property
    def marks(self) -> pd.Series:
        """Why each label isn't reliable, one of `labels.scores.MARKS`."""
        if "mark" in self.frame:
            return self.frame["mark"]
        marks = pd.Series(NO_BETTER, index=self.frame.index).where(self.frame["f1"].notna(), NOT_SCORED)
        return marks.where(~self.reliable, GOOD)

    @cached_property
    def unverified(self) -> pd.Series:
        """Whether each specialization comes from a file whose numbers can't be means of top-k activations."""
        if "specialization_source" not in self.frame:
            return pd.Series(False, index=self.frame.index)
        return self.frame["specialization_source"] == UNVERIFIED

    @property
    def bundles(self) -> list[str]:
        """The bundles that the rows name: one, or none in a table without such a column."""
        return [name for name in self.frame["bundle"].unique() if name] if "bundle" in self.frame else []

    @property
    def has_quantiles(self) -> bool:
        """Whether it is known of any feature how seldom it fires how strongly."""
        return bool(self.frame[["density", *QUANTILES]].notna().all(axis=1).any())

    @property
    def has_passages(self) -> bool:
        """Whether it is known of any feature how much it fires in ordinary passages."""
        return "window_sd" in self.frame and bool((self.frame["window_sd"] > 0).any())

    def slow(self, layer: int) -> frozenset[int]:
        """The latents of a layer that fire on what a passage is about; none where nobody measured it."""
        if "autocorrelation" not in self.frame:
            return frozenset()
        layers, features = (self.frame.index.get_level_values(key) for key in KEYS)
        return frozenset(features[(layers == layer) & (self.frame["autocorrelation"] > SLOW)].tolist())

    @cached_property
    def _shown(self) -> pd.DataFrame:
        frame = self.frame.reindex(columns=names(SHOWN)).drop(columns=KEYS)
        frame = frame.assign(f1_always_yes=self.f1_always_yes, mark=self.marks)
        numbers = [column for column in SHOWN if column.is_number and column.name not in KEYS]
        frame[names(numbers)] = frame[names(numbers)].astype(float)
        frame.loc[self.unverified, [column.name for column in numbers if column.group == "specialization"]] = np.nan
        return frame

    def describe(self, features: pd.MultiIndex) -> pd.DataFrame:
        """What rankings and the page say of features, in the order asked for; unlabelled where there is no row.

        Unverified specialization is NaN: it is no measure to set beside others.

        Args:
            features: (layer, index) pairs.

        Returns:
            The columns `labels.columns.SHOWN` without `KEYS`, which are the index, and `reliable`.
        """
        rows = fill_blanks(self._shown.reindex(features))
        return rows.assign(reliable=self.reliable.reindex(features, fill_value=False)).rename_axis(KEYS)

    def is_reliable(self, feature: Feature) -> bool:
        """`reliable` for one feature; False where the table has no row for it."""
        key = tuple(feature)
        return bool(self.reliable[key]) if key in self.frame.index else False

    def name(self, feature: Feature) -> str:
        """A feature's label, or `unlabelled`."""
        key = tuple(feature)
        return str(self.frame.at[key, "label"]) if key in self.frame.index else UNLABELLED


def always_yes_by_counts(frame: pd.DataFrame) -> pd.Series:
    """F1 of always saying yes on `n_positive` firing and `n_negative` silent tokens; NaN where there are none.

    Scores of the project's own methods don't depend on these numbers: both kinds of places weigh alike.
    """
    positive, negative = (frame[name].astype(float) for name in ("n_positive", "n_negative"))
    by_counts = 2 * positive / (2 * positive + negative).where(lambda n: n > 0)
    return (
        by_counts.where(~frame["f1_method"].isin((TOP_WORDS, JUDGED)), ALWAYS_YES_F1)
        if "f1_method" in frame
        else by_counts
    )


def latents_of(saes: Mapping[int, HasLatents]) -> dict[int, int]:
    """How many latents each layer's SAE has: what a label table is checked against."""
    return {layer: sae.n_latents for layer, sae in saes.items()}


def unlabelled_table(n_latents: Mapping[int, int]) -> LabelTable:
    """A table in which every feature is unlabelled and nothing is measured.

    Args:
        n_latents: latents of each layer's SAE.
    """
    features = [(layer, latent) for layer, n in n_latents.items() for latent in range(n)]
    index = pd.MultiIndex.from_tuples(features, names=KEYS)
    return LabelTable(fill_blanks(pd.DataFrame(np.nan, index=index, columns=REQUIRED)))


def with_columns(table: LabelTable | None, values: pd.DataFrame, bundle: str) -> LabelTable:
    """A label table with new values in some columns, and a row for every feature that they are of.

    Other columns stay as they were. Features without a row get one with the label `unlabelled`.

    Args:
        table: `None` where the bundle has none yet.
        values: the new columns, indexed by (layer, feature).
        bundle: name to write into a table that names no bundle.
    """
    before = pd.DataFrame(index=values.index, columns=REQUIRED) if table is None else table.frame
    frame = before.reindex(index=values.index, columns=columns_of([*before.columns, *values.columns]))
    frame["bundle"] = next(iter(table.bundles), bundle) if table else bundle
    frame[values.columns] = values
    return LabelTable(fill_blanks(frame))


def with_rows(table: LabelTable, values: pd.DataFrame) -> LabelTable:
    """A label table with new values in some columns of some features; everything else stays as it was.

    Args:
        values: the new cells, indexed by (layer, feature).
    """
    frame = table.frame.reindex(
        index=table.frame.index.union(values.index), columns=columns_of([*table.frame.columns, *values.columns])
    )
    for name in values.columns:
        cells = frame[name].astype(float if BY_NAME[name].is_number else object)
        cells.loc[values.index] = values[name].to_numpy()
        frame[name] = cells
    return LabelTable(fill_blanks(frame))


def without_scores(table: LabelTable, labels: pd.DataFrame) -> LabelTable:
    """A label table without the scores of those features whose label is about to change.

    Args:
        labels: the new labels, indexed by (layer, feature).
    """
    before = table.frame["label"].reindex(labels.index)
    changed = before.index[(before != labels["label"]) & before.index.isin(table.frame.index)]
    frame = table.frame.copy()
    for column in COLUMNS:
        if column.group == "score" and column.name in frame:
            frame.loc[changed, column.name] = column.missing
    return LabelTable(frame)


def fill_blanks(frame: pd.DataFrame) -> pd.DataFrame:
    """A table with missing texts replaced by those of an unlabelled feature; missing numbers stay NaN."""
    texts = [column for column in COLUMNS if column.name in frame.columns and not column.is_number]
    return frame.assign(**{column.name: frame[column.name].astype("str").fillna(column.blank) for column in texts})
