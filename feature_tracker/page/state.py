"""What the page remembers in one browser session, and what all views share.

Everything lives in Streamlit's session state: in memory, seen by this session alone, gone with it. Nothing of the
analyst's text reaches a cache, a log, a file or the address bar.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import streamlit as st

if TYPE_CHECKING:  # these import torch, which takes seconds; the inputs are painted before it
    import numpy as np
    import pandas as pd

    from feature_tracker.feature import Feature
    from feature_tracker.tracing.trace import Trace
    from feature_tracker.tracker import Tracker

Aggregation = Literal["max", "mean", "sum", "share"]
RankBy = Literal["activation", "percentile"]

TEXT = "text"
_ANALYSIS = "analysis"
_FEATURE = "feature"
_POSITIONS = "chosen_positions"
_ROUND = "positions_round"
CIRCUIT = "circuit_kept"
CORRELATIONS = "correlations_kept"
ASKED = "text_asked"
CIRCUIT_ASKED = "circuit_asked"
_OF_ONE_TEXT = (_FEATURE, CIRCUIT, CORRELATIONS, ASKED, CIRCUIT_ASKED)
LAYERS = "layers"


@dataclass(frozen=True)
class Settings:
    """What the sidebar is set to.

    Attributes:
        threshold: |r| from which a correlation is shown.
        top: features a layer.
        layers: 0-based, ascending.
        aggregation: how a feature's activations over the words become one number.
        by: what features are ranked by.
        hide_always_on: leave out features that fire nearly everywhere.
        min_f1: leave out features whose label scores less.
    """

    threshold: float
    top: int
    layers: tuple[int, ...]
    aggregation: Aggregation
    by: RankBy
    hide_always_on: bool
    min_f1: float


@dataclass(frozen=True)
class Analysis:
    """A traced text.

    Attributes:
        trace: what the SAEs found in it.
        seconds: time the tracing took.
    """

    trace: Trace
    seconds: float


@dataclass(frozen=True)
class Scene:
    """What a view draws: a trace, a selection and the settings; where they came from is not its business.

    Attributes:
        analysis: the traced text.
        tracker: the opened bundle.
        settings: the sidebar's.
        ranked: rows of `rank_features` under these settings and this selection.
        colours: one a layer.
        feature: the one feature all views point at.
        chosen_positions: tokens that rank the features, ascending; None for the whole text.
    """

    analysis: Analysis
    tracker: Tracker
    settings: Settings
    ranked: pd.DataFrame
    colours: dict[int, str]
    feature: Feature
    chosen_positions: np.ndarray | None


def analysis() -> Analysis | None:
    """The last text that was analyzed."""
    return st.session_state.get(_ANALYSIS)


def keep_analysis(done: Analysis) -> None:
    """Take a new text's trace; choices made in the old one lose their meaning."""
    _forget(*_OF_ONE_TEXT)
    st.session_state[_ANALYSIS] = done


def forget_analysis() -> None:
    """Another bundle was chosen: a trace, a circuit and the choice of layers belong to the one that made them."""
    _forget(_ANALYSIS, LAYERS, *_OF_ONE_TEXT)


@contextlib.contextmanager
def asked_until_done(key: str) -> Generator[None]:
    """Work that was asked for under a key, and is so no longer once it is done or fails.

    A click on another control ends Streamlit's run amid the work: then `key` stays, and the next run does it again.
    """
    try:
        yield
    except Exception:
        st.session_state.pop(key, None)
        raise
    st.session_state.pop(key, None)


def keep_undrawn(*keys: str) -> None:
    """Keep what widgets are set to while they are not on the page; Streamlit would forget it."""
    for key in keys:
        if key in st.session_state:
            st.session_state[key] = st.session_state[key]


def _forget(*keys: str) -> None:
    for key in keys:
        st.session_state.pop(key, None)
    choose_positions(None)


def chosen_feature() -> tuple[int, int] | None:
    """(layer, index) of the feature all views point at."""
    return st.session_state.get(_FEATURE)


def choose_feature(layer: int, index: int) -> None:
    """Point all views at a feature."""
    st.session_state[_FEATURE] = (layer, index)


def chosen_positions() -> tuple[int, ...] | None:
    """Chosen token positions, ascending; None for the whole text."""
    return st.session_state.get(_POSITIONS)


def choose_positions(positions: tuple[int, ...] | None, *, by_chart: bool = False) -> None:
    """Rank the features by some tokens only, or by the whole text.

    Args:
        by_chart: chosen in the heatmap, which then shows its own frame around them.
    """
    st.session_state[_POSITIONS] = positions or None
    if not by_chart:
        # The heatmap would go on framing what was clicked there before; a new key gives it a clean start.
        st.session_state[_ROUND] = positions_round() + 1


def positions_round() -> int:
    """How often the choice of positions has changed outside the heatmap."""
    return st.session_state.get(_ROUND, 0)
