"""What a circuit is asked: the controls, and the question that they make."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from feature_tracker.charts.theme import shorten
from feature_tracker.circuits.question import Question, WhatFeeds, WhatItFeeds
from feature_tracker.feature import Feature
from feature_tracker.page import state
from feature_tracker.page.state import Scene
from feature_tracker.text import sentence_spans
from feature_tracker.tracing.rows import features_of

_FEEDS, _FED, _NEXT, _WHOLE = state.WHAT_FEEDS, "What does it feed?", "Why this next word?", "The whole text"
_QUESTIONS = (_FEEDS, _FED, _NEXT, _WHOLE)
_ANYWHERE, _AT_THE_END = "anywhere in the text", "the end of the text"
_FEATURE, _WORD, _NEXT_WORD, _AGAINST, _AFTER = (
    "circuit_feature", "circuit_word", "circuit_next_word", "circuit_against", "circuit_after",
)  # fmt: skip
KEPT = (state.CIRCUIT_QUESTION, _WORD, _NEXT_WORD, _AGAINST, _AFTER)
"""Keys of widgets whose values stay while they are not on the page."""
_MOST_WORDS = 8
HALF_WIDTH = 512
"""Pixels, which fit twice side by side on a laptop's screen."""


def read_question(scene: Scene) -> tuple[Callable[[], Question] | None, bool]:
    """What is asked, made when it is needed, and whether it can be; `None` for the whole text."""
    kind = st.segmented_control(
        "Question",
        _QUESTIONS,
        default=None if state.CIRCUIT_QUESTION in st.session_state else _FEEDS,
        key=state.CIRCUIT_QUESTION,
        label_visibility="collapsed",
        required=True,
        bind="query-params",
    )
    if kind == _NEXT:
        return _read_next_word(scene)
    if kind == _WHOLE:
        return None, True
    layers, labels = scene.tracker.bundle.layers, scene.tracker.labels  # Streamlit keeps `format_func`, not a tracker
    able = layers[:-1] if kind == _FED else layers
    features = [feature for feature in [scene.feature, *features_of(scene.ranked)] if feature.layer in able]
    features = list(dict.fromkeys(features))
    if not features:
        st.info("None of the features shown lies before the last layer. Choose another in one of the views.")
        return None, False
    with st.container(horizontal=True, vertical_alignment="bottom"):
        feature = st.selectbox(
            "Feature",
            features,
            format_func=lambda one: f"{shorten(labels.name(one), 70)} ({one})",
            key=f"{_FEATURE}_{scene.feature}_{kind}",
            width=HALF_WIDTH,
        )
        if kind == _FED:
            return (lambda: WhatItFeeds(feature)), True
        words = _words_of(scene, feature)
        word = st.selectbox("Where", [_ANYWHERE, *words], key=_WORD, width=260) if words else _ANYWHERE
    position = words.get(word or _ANYWHERE)
    return (lambda: WhatFeeds((feature,), None if position is None else (position,))), True


def _words_of(scene: Scene, feature: Feature) -> dict[str, int]:
    """The words on which a feature fires most, each with its strongest token."""
    trace = scene.analysis.trace
    column, tokens = trace.column(feature), trace.tokens
    found: dict[str, int] = {}
    counted = trace.counted
    for position in counted[column[counted].argsort(kind="stable")[::-1]]:
        if column[position] <= 0 or len(found) == _MOST_WORDS:
            break
        word = tokens.text[slice(*tokens.words.spans[tokens.words.word_of[position]])]
        found.setdefault(f"on “{shorten(word, 30)}”", int(position))
    if st.session_state.get(_WORD) not in (None, _ANYWHERE, *found):
        st.session_state[_WORD] = _ANYWHERE
    return found


def _read_next_word(scene: Scene) -> tuple[Callable[[], Question] | None, bool]:
    places = _ends(scene)
    if st.session_state.get(_AFTER) not in (None, *places):
        st.session_state[_AFTER] = _AT_THE_END
    with st.container(horizontal=True, vertical_alignment="bottom"):
        word = st.text_input("Next word", key=_NEXT_WORD, width=220, placeholder="what the model expects")
        against = st.text_input("rather than (optional)", key=_AGAINST, width=180, placeholder="fell")
        after = st.selectbox("after", list(places), key=_AFTER, width=360)
    position = places.get(after or _AT_THE_END)
    if word and word.strip():
        return (lambda: scene.tracker.next_word(word, against or None, position)), True
    return (lambda: scene.tracker.expected_word(scene.analysis.trace.tokens, against or None, position)), True


def _ends(scene: Scene) -> dict[str, int | None]:
    """The ends of the text and of its sentences without their last sign, each with the token before the next word."""
    tokens = scene.analysis.trace.tokens
    ends: dict[str, int | None] = {_AT_THE_END: None}
    for start, end in sentence_spans(tokens.text)[:40]:
        sentence = tokens.text[start:end].rstrip(" .!?\n")
        inside = [place for place, stop in enumerate(tokens.offsets[:, 1]) if start < stop <= start + len(sentence)]
        if inside:
            ends.setdefault(f"“…{sentence[-40:]}”", inside[-1])
    return ends
