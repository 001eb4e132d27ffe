"""What the page remembers in one browser session, and what all views share.

Everything is in Streamlit's session state: in memory, visible to this session alone, and gone with it. The analyst's
text never reaches a cache, a log, a file or the address bar.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import streamlit as st

if TYPE_CHECKING:  # these import torch, which takes seconds; the inputs are drawn before that
    import numpy as np
    import pandas as pd

    from feature_tracker.feature import Feature
    from feature_tracker.tracing.rank import Aggregation, RankBy
    from feature_tracker.tracing.themes import Theme
    from feature_tracker.tracing.trace import Trace
    from feature_tracker.tracker import Tracker

TEXT = "text"
SAMPLE = "sample"
OWN_TEXT = "own_text"
FILE_ERROR = "file_error"
FILE_NOTES = "file_notes"
ONE_TEXT, MANY_DOCUMENTS = "One text", "Many documents"
PAGE = "look_at"
"""Key of the switch between one text and many documents."""
LAYERS = "layers"
PENDING_TEXT = "pending_text"
CIRCUIT = "session_circuit"
VIEW = "view"
CIRCUIT_QUESTION = "circuit_question"
WHAT_FEEDS = "What feeds this feature?"
CORRELATIONS = "session_correlations"
_ANALYSIS = "analysis"
THEMES = "session_themes"
COMPARISON = "session_comparison"
STEERING = "session_steering"
FOUND = "session_found"
_FEATURE = "feature"
_LINK = "feature"
_IS_THEME = "is_theme"
_POSITIONS = "chosen_positions"
_HEATMAP_VERSION = "heatmap_version"
_HAD_TEXT = "had_text"
_OPENED_AGAIN = "opened_again"
_KEYS_OF_ONE_TEXT = (_FEATURE, _IS_THEME, CIRCUIT, CORRELATIONS, THEMES, COMPARISON, PENDING_TEXT)


_NAME = re.compile(r"L(\d{1,4})/F(\d{1,9})")


@dataclass(frozen=True)
class Settings:
    """The sidebar's settings.

    Attributes:
        threshold: smallest |r| of a correlation that is shown.
        top: features per layer.
        layers: 0-based, ascending.
        aggregation: how a feature's activations over the tokens become one number.
        by: what features are ranked by.
        hide_always_on: leave out features that fire nearly everywhere.
        min_f1: leave out features whose label scores less.
        hide_form: leave out features of numbers, punctuation, grammar and position.
    """

    threshold: float
    top: int
    layers: tuple[int, ...]
    aggregation: Aggregation
    by: RankBy
    hide_always_on: bool
    min_f1: float
    hide_form: bool

    def rank(self, tracker: Tracker, trace: Trace, positions: np.ndarray | None) -> pd.DataFrame:
        """Rank a trace's features under these settings; see `rank_features`.

        Args:
            positions: tokens that count; `None` for all.
        """
        return tracker.rank(
            trace,
            layers=self.layers,
            top=self.top,
            aggregation=self.aggregation,
            by=self.by,
            hide_always_on=self.hide_always_on,
            min_f1=self.min_f1,
            hide_form=self.hide_form,
            positions=positions,
        )


@dataclass(frozen=True)
class Analysis:
    """A traced text.

    Attributes:
        trace: the text's activations.
        seconds: how long tracing took.
    """

    trace: Trace
    seconds: float


@dataclass(frozen=True)
class Scene:
    """Everything that a view draws from: a trace, the settings, and what is chosen.

    Attributes:
        analysis: the traced text.
        tracker: the opened bundle.
        settings: the sidebar's.
        ranked: rows of `rank_features` under these settings and chosen positions.
        colours: one per layer.
        feature: the chosen feature, which all views highlight.
        themes: of the whole text, the most unusual first.
        theme: the one that was chosen, of which `feature` is the first; `None` where a feature was chosen.
        chosen_positions: tokens that rank the features, ascending; `None` for the whole text.
    """

    analysis: Analysis
    tracker: Tracker
    settings: Settings
    ranked: pd.DataFrame
    colours: dict[int, str]
    feature: Feature
    themes: list[Theme]
    theme: Theme | None
    chosen_positions: np.ndarray | None


def current_analysis() -> Analysis | None:
    """The text that was analyzed last."""
    return st.session_state.get(_ANALYSIS)


def set_analysis(analysis: Analysis) -> None:
    """Replace the analyzed text, and forget the choices made in the old one."""
    _forget(*_KEYS_OF_ONE_TEXT)
    st.session_state[_ANALYSIS] = analysis


def forget_analysis() -> None:
    """Forget everything that belongs to a bundle, because another one was chosen: trace, circuit, layers."""
    _forget(_ANALYSIS, LAYERS, STEERING, FOUND, *_KEYS_OF_ONE_TEXT)


@contextlib.contextmanager
def clear_when_finished(key: str) -> Generator[None]:
    """Remove a key that marks work as pending once the work in the block is done or has failed.

    A click on another control ends Streamlit's run in the middle of the work. The key then stays, and the next run
    starts the work again.
    """
    try:
        yield
    except Exception:  # not `finally`: Streamlit ends a run with a BaseException
        st.session_state.pop(key, None)
        raise
    st.session_state.pop(key, None)


def loss_after_reload() -> str:
    """What was lost, if this session was opened at the address of one that had a text, and has no result yet.

    The address tells that there was a text, never which.
    """
    opened_again = st.session_state.setdefault(_OPENED_AGAIN, _HAD_TEXT in st.query_params)
    if st.session_state.get(TEXT):
        st.query_params[_HAD_TEXT] = "yes"
    if not opened_again or current_analysis() is not None:
        return ""
    if st.session_state.get(TEXT):
        return "The results are gone, because the session ended. Your text is still in the box: press Analyze."
    return (
        "Your settings are back, but the text and its results are gone. They are never stored, and end with the "
        "session: when the page is reloaded, or its connection was lost for minutes. Paste the text again and press "
        "Analyze."
    )


def keep_widget_values(*keys: str) -> None:
    """Keep the values of widgets while they are not on the page; Streamlit would forget them."""
    for key in keys:
        if key in st.session_state:
            st.session_state[key] = st.session_state[key]


def _forget(*keys: str) -> None:
    if _FEATURE in keys and _FEATURE in st.session_state:
        st.query_params.pop(_LINK, None)  # a link that was opened lasts until a feature is chosen
    for key in keys:
        st.session_state.pop(key, None)
    choose_positions(None)


def analyze_next(text: str) -> None:
    """Put a text into the box and analyze it in the next run, as if it had been pasted."""
    for key in (SAMPLE, FILE_ERROR, FILE_NOTES):
        st.session_state.pop(key, None)
    st.session_state[TEXT] = st.session_state[OWN_TEXT] = st.session_state[PENDING_TEXT] = text
    st.session_state[PAGE] = ONE_TEXT


def chosen_feature() -> tuple[int, int] | None:
    """(layer, index) of the chosen feature, or of the one that the page's address names."""
    linked = _NAME.fullmatch(st.query_params.get(_LINK, ""))
    return st.session_state.get(_FEATURE) or (linked and (int(linked[1]), int(linked[2])))


def is_theme() -> bool:
    """Whether the chosen feature was chosen as the name of a theme."""
    return st.session_state.get(_IS_THEME, False)


def choose_feature(layer: int, index: int, *, as_theme: bool = False) -> None:
    """Make all views highlight this feature.

    Args:
        as_theme: and the theme that it names.
    """
    st.session_state[_FEATURE] = (layer, index)
    st.session_state[_IS_THEME] = as_theme
    st.query_params[_LINK] = f"L{layer}/F{index}"


def ask_what_feeds() -> None:
    """Open the view that answers what feeds the chosen feature."""
    st.session_state[VIEW] = "Circuit"
    st.session_state[CIRCUIT_QUESTION] = WHAT_FEEDS


def chosen_positions() -> tuple[int, ...] | None:
    """Chosen token positions, ascending; `None` for the whole text."""
    return st.session_state.get(_POSITIONS)


def choose_positions(positions: tuple[int, ...] | None, *, in_heatmap: bool = False) -> None:
    """Rank the features by these tokens only, or by the whole text.

    Args:
        in_heatmap: they were chosen there, and the heatmap already frames them.
    """
    st.session_state[_POSITIONS] = positions or None
    if not in_heatmap:
        # The heatmap would go on framing an earlier click; a new key draws it without a frame.
        st.session_state[_HEATMAP_VERSION] = heatmap_version() + 1


def heatmap_version() -> int:
    """Part of the heatmap's key: how often positions were chosen elsewhere."""
    return st.session_state.get(_HEATMAP_VERSION, 0)
