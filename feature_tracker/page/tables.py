"""Settings of `st.dataframe` that follow from the columns' records."""

from __future__ import annotations

from collections.abc import Iterable

import streamlit as st
from streamlit.elements.lib.column_types import ColumnConfig

from feature_tracker.labels.columns import Column


def column_settings(columns: Iterable[Column]) -> dict[str, ColumnConfig]:
    """Help and number format of columns that are shown under their titles."""
    return {column.title: _setting(column) for column in columns}


def _setting(column: Column) -> ColumnConfig:
    if column.is_number:
        return st.column_config.NumberColumn(help=column.help, format=_streamlit_format(column.format))
    return st.column_config.TextColumn(help=column.help, width="large" if column.name == "label" else None)


def _streamlit_format(form: str) -> str | None:
    """A format of Python's language in Streamlit's."""
    if form.endswith("%"):
        return "percent"
    if form.startswith(","):
        return "localized"
    return f"%{form}" if form else None
