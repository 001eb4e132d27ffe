"""Rows of a table of features, one at a time."""

from __future__ import annotations

from typing import Any, cast

import pandas as pd

from sae.feature import Feature

Row = dict[str, Any]
"""One row of `rank_features` by column, or of another table with `layer` and `feature`."""


def rows_of(table: pd.DataFrame) -> list[Row]:
    """The rows in order."""
    return cast("list[Row]", table.to_dict("records"))


def feature_of(row: Row) -> Feature:
    """Which feature a row is about."""
    return Feature(int(row["layer"]), int(row["feature"]))


def features_of(table: pd.DataFrame) -> list[Feature]:
    """The features of a table's rows, in order."""
    return [Feature(int(layer), int(index)) for layer, index in zip(table["layer"], table["feature"], strict=True)]
