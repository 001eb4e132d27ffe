"""Rows of a table of features, one at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import pandas as pd

from feature_tracker.feature import Feature

Row = dict[str, Any]
"""One row of `rank_features` by column, or of another table with `layer` and `feature`."""


def rows_of(table: pd.DataFrame) -> list[Row]:
    """The rows in order."""
    return cast("list[Row]", table.to_dict("records"))


def feature_of(row: Mapping[str, Any], end: str = "") -> Feature:
    """Which feature a row is about.

    Args:
        end: `source_` or `target_` where a row is about a pair.
    """
    return Feature(int(row[f"{end}layer"]), int(row[f"{end}feature"]))


def features_of(table: pd.DataFrame, end: str = "") -> list[Feature]:
    """The features of a table's rows, in order; see `feature_of`."""
    ids = zip(table[f"{end}layer"], table[f"{end}feature"], strict=True)
    return [Feature(int(layer), int(index)) for layer, index in ids]


def marked_labels(ranked: pd.DataFrame) -> pd.Series:
    """The labels of rows of `rank_features`, ` ?` after the unreliable ones."""
    labels = ranked["label"].astype(str)
    return labels.where(ranked["reliable"], labels + " ?")
