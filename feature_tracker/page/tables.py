"""Tables on the page: settings that follow from the column records, and texts that a spreadsheet doesn't calculate."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd
import streamlit as st
from streamlit.elements.lib.column_types import ColumnConfig

from feature_tracker.labels.columns import Column
from feature_tracker.labels.csv_files import guarded


def show_table(table: pd.DataFrame, *, key: str, **settings: Any) -> None:
    """`st.dataframe` without its index and with every text guarded: its own toolbar saves a table as CSV as it stands.

    Args:
        key: of the widget.
        settings: what else `st.dataframe` takes.
    """
    st.dataframe(guarded(table), hide_index=True, key=key, **settings)


def column_settings(columns: Iterable[Column]) -> dict[str, ColumnConfig]:
    """Help and number format of each column, by its title."""
    return {column.title: _setting(column) for column in columns}


def _setting(column: Column) -> ColumnConfig:
    if column.is_number:
        return st.column_config.NumberColumn(help=column.help, format=_streamlit_format(column.format))
    return st.column_config.TextColumn(help=column.help, width="large" if column.name == "label" else None)


def _streamlit_format(spec: str) -> str | None:
    """Translate a Python format specification into Streamlit's."""
    if spec.endswith("%"):
        return "percent"
    if spec.startswith(","):
        return "localized"
    return f"%{spec}" if spec else None
