"""View: what stands out in the text, told as a few themes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import streamlit as st

from feature_tracker.charts.measure import one_in
from feature_tracker.charts.theme import shorten
from feature_tracker.page import state
from feature_tracker.page.errors import plain
from feature_tracker.page.state import Scene, Settings
from feature_tracker.tracing.themes import Theme, find_themes
from feature_tracker.tracing.trace import Trace
from feature_tracker.tracker import Tracker

_SHOWN_FIRST = 6
_MOST = 24
_CARD_WIDTH = 320  # pixels: four fit beside each other at 1,440 pixels, two at 800
_EXCERPT = 110  # characters


@dataclass(frozen=True)
class SessionThemes:
    """Themes stored in a session, with what they were found in."""

    trace: Trace
    settings: Settings
    themes: list[Theme]


def themes_of(trace: Trace, tracker: Tracker, settings: Settings) -> list[Theme]:
    """The themes of the whole text under these settings; stored until the text or a filter changes."""
    settings = replace(settings, top=1, threshold=0.5, by="distinctiveness", aggregation="max")
    stored: SessionThemes | None = st.session_state.get(state.THEMES)
    if stored is None or stored.trace is not trace or stored.settings != settings:
        stored = SessionThemes(trace, settings, compute_themes(trace, tracker, settings))
        st.session_state[state.THEMES] = stored
    return stored.themes


def compute_themes(trace: Trace, tracker: Tracker, settings: Settings) -> list[Theme]:
    """The themes of the whole text among the features that pass the filters."""
    fired = tracker.rank(
        trace,
        layers=settings.layers,
        top=None,
        hide_always_on=settings.hide_always_on,
        min_f1=settings.min_f1,
        hide_form=settings.hide_form,
    )
    return find_themes(trace, fired, tracker.saes)


def show(scene: Scene) -> None:
    """Draw the view."""
    if not scene.themes:
        labels = scene.tracker.labels
        if labels.has_passages or labels.has_quantiles:  # else nobody knows what ordinary text does
            st.caption("Nothing in this text stands out from ordinary text of its length.")
        return
    _show_cards(scene, scene.themes[:_SHOWN_FIRST])
    further = scene.themes[_SHOWN_FIRST:_MOST]
    if further:
        # Cards that nobody sees would cost each change of the page a tenth of a second in the browser.
        more = st.expander(f"{len(further)} more, less telling", key="more_themes", on_change="rerun")
        if more.open:
            with more:
                _show_cards(scene, further)


def _show_cards(scene: Scene, themes: Sequence[Theme]) -> None:
    with st.container(horizontal=True, gap="small"):
        for theme in themes:
            with st.container(width=_CARD_WIDTH, border=True, gap=None, height="stretch"):
                _show_theme(scene, theme)


def _show_theme(scene: Scene, theme: Theme) -> None:
    text = scene.analysis.trace.tokens.text
    is_chosen = scene.theme is not None and scene.theme.features[0] == theme.features[0]
    st.button(
        f"**{plain(shorten(theme.label, 100))}**" if is_chosen else plain(shorten(theme.label, 100)),
        key=f"theme_{theme.features[0]}",
        type="tertiary",
        icon=":material/radio_button_checked:" if is_chosen else ":material/radio_button_unchecked:",
        on_click=lambda: state.choose_feature(*theme.features[0], as_theme=True),
    )
    if theme.words:
        st.markdown(" · ".join(f"**{plain(shorten(word, 30))}**" for word in theme.words))
    start, end = theme.excerpts[0]
    st.markdown(f":small[{plain(shorten(text[start:end], _EXCERPT))}]")
    st.caption(_trust(theme))


def _trust(theme: Theme) -> str:
    """How unusual the theme is, where in the model it is, and how far to trust its label."""
    layers = sorted({feature.layer for feature in theme.features})
    n_features = len(theme.features)
    score = "label not scored" if math.isnan(theme.f1) else f"label F1 {theme.f1:.2f}"
    if not theme.reliable and not math.isnan(theme.f1):
        score += ", no better than guessing"
    where = f"layer {layers[0]}" if len(layers) == 1 else f"layers {layers[0]} to {layers[-1]}"
    features = "1 feature" if n_features == 1 else f"{n_features} features"
    return f"{one_in(max(theme.one_in))} passages · {features}, {where} · {score}"
