"""View: how themes move over the dates of the documents."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from feature_tracker.archive.trends import SIGNIFICANT, Period, by_period, periods_of, trend_table
from feature_tracker.charts.documents import plot_over_time
from feature_tracker.charts.theme import shorten
from feature_tracker.errors import TrackerError
from feature_tracker.page.clicks import show_chart
from feature_tracker.page.documents.cabinet import Cabinet
from feature_tracker.page.documents.subject import Subject
from feature_tracker.page.errors import plain
from feature_tracker.tracing.rows import Row, rows_of

_BY: dict[Period, str] = {"month": "Months", "quarter": "Quarters", "year": "Years"}
_MOST_LINES = 4
_ENOUGH_PERIODS = 6


def show(cabinet: Cabinet, topic: Subject | None) -> None:
    """Draw the topic, or the themes that move most, over dates."""
    try:
        periods_of(cabinet.documents, "year")
    except TrackerError as error:
        st.info(plain(str(error)))
        return
    by: Period = st.segmented_control(
        "By",
        list(_BY),
        default=_by_at_first(cabinet.documents),
        required=True,
        format_func=_BY.__getitem__,
        key="documents_period",
        persist_state="page",
        label_visibility="collapsed",
    )
    period = periods_of(cabinet.documents, by)
    rows = period.index.to_numpy()
    if topic is not None:
        name = shorten(topic.name, 80)
        values = cabinet.measured(topic.features)[rows]
        trend = rows_of(trend_table(values[:, None], period))[0]
        series = {name: by_period(values, period)}
        st.markdown(_told(plain(name), trend, alone=True))
    else:
        if not cabinet.themes:
            st.info("Nothing stands out in these documents, so no theme can be followed. Search for one above.")
            return
        trends = trend_table(cabinet.values[rows], period)
        moving = trends[trends["q"] <= SIGNIFICANT].sort_values("tau", key=abs, ascending=False)
        chosen = [int(number) for number in (moving if len(moving) else trends).head(_MOST_LINES).index]
        names, told = [theme.name for theme in cabinet.themes], rows_of(trends)
        st.markdown(
            "  \n".join(_told(plain(names[number]), told[number], alone=False) for number in chosen)
            if len(moving)
            else "**No theme rises or falls steadily.** Choose one above to follow it alone."
        )
        series = {names[number]: by_period(cabinet.values[rows, number], period) for number in chosen}
    show_chart(
        plot_over_time(series, against=cabinet.against),
        key="documents_over_time",
        name="over-time",
        alt="How much the documents of each period have of it",
    )
    undated = len(cabinet.documents) - len(rows)
    missing = f" {undated:,} document{' has' if undated == 1 else 's have'} no date or no words." if undated else ""
    st.caption(
        "The mean over the documents of a period, with its 95 % interval. Which documents there are changes over the "
        f"years, too: where a company comes or goes, its themes do.{missing}"
    )


def _told(name: str, trend: Row, *, alone: bool) -> str:
    if pd.isna(trend["tau"]):
        return f"**{name}**: there are too few periods to tell a trend."
    moves = "rises" if trend["tau"] > 0 else "falls"
    sure = trend["p" if alone else "q"] <= SIGNIFICANT
    if not sure:
        return f"**{name}** neither rises nor falls steadily (p = {trend['p']:.2g})."
    return f"**{name}** {moves}: {trend['first']:.1f} in the first third of the time, {trend['last']:.1f} in the last."


def _by_at_first(documents: pd.DataFrame) -> Period:
    """The longest period of which there are enough."""
    counts = {by: periods_of(documents, by).nunique() for by in _BY}
    if counts["year"] >= _ENOUGH_PERIODS:
        return "year"
    return "quarter" if counts["quarter"] >= _ENOUGH_PERIODS else "month"
