"""Settings of `st.dataframe`, derived from the column records."""

from __future__ import annotations

from collections.abc import Iterable

import streamlit as st
from streamlit.elements.lib.column_types import ColumnConfig

from feature_tracker.labels.columns import Column


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
