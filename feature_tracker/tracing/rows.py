"""Access to the rows of a table of features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import pandas as pd

from feature_tracker.feature import Feature

Row = dict[str, Any]
"""One row of `rank_features`, or of another table with `layer` and `feature`, by column."""


def rows_of(table: pd.DataFrame) -> list[Row]:
    """All rows, in order."""
    return cast("list[Row]", table.to_dict("records"))


def feature_of(row: Mapping[str, Any], end: str = "") -> Feature:
    """The feature that a row describes.

    Args:
        end: `source_` or `target_` if the row describes a pair.
    """
    return Feature(int(row[f"{end}layer"]), int(row[f"{end}feature"]))


def features_of(table: pd.DataFrame, end: str = "") -> list[Feature]:
    """The features that a table's rows describe, in order; see `feature_of`."""
    pairs = zip(table[f"{end}layer"], table[f"{end}feature"], strict=True)
    return [Feature(int(layer), int(index)) for layer, index in pairs]


def marked_labels(ranked: pd.DataFrame) -> pd.Series:
    """The labels of rows of `rank_features`, with ` ?` after unreliable ones."""
    labels = ranked["label"].astype(str)
    return labels.where(ranked["reliable"], labels + " ?")
