"""The text itself, each word shaded by how strongly the chosen feature or theme fires there."""

from __future__ import annotations

import numpy as np
import streamlit as st

from feature_tracker.charts.theme import shorten
from feature_tracker.model.tokens import TokenizedText
from feature_tracker.page import state
from feature_tracker.page.components.words_text import show_text
from feature_tracker.page.errors import plain
from feature_tracker.page.state import Scene
from feature_tracker.tracing.trace import Trace

_SINK = (
    "Not counted: the model parks its attention on this token, where features fire many times more strongly than on "
    "any word."
)
_CUT = "Not counted: the text was cut before this token, so the model reads it without what precedes it."


def show(scene: Scene) -> None:
    """Draw the view."""
    trace = scene.analysis.trace
    if scene.theme is None:
        label, activations = str(scene.tracker.labels.name(scene.feature)), trace.column(scene.feature)
    else:
        label, activations = scene.theme.label, scene.theme.activation
    counted = np.zeros_like(activations)
    counted[trace.counted] = activations[trace.counted]
    n_firing = int((counted > 0).sum())
    strongest = ", ".join(f"“{plain(shorten(word, 30))}”" for word in strongest_words(trace.tokens, counted))
    strongest_part = f", most strongly on {strongest}" if strongest else ""
    st.markdown(f"**{plain(shorten(label, 120))}** fires on {n_firing:,} of {trace.n_tokens:,} tokens{strongest_part}.")
    show_text(
        trace.token_texts,
        activations,
        feature=f"{scene.feature} {scene.theme is not None}",
        peak=int(counted.argmax()),
        colour=scene.colours[scene.feature.layer],
        word_of=trace.tokens.words.word_of,
        chosen=scene.chosen_positions,
        uncounted=uncounted_reasons(trace),
        choose=lambda first, last: state.choose_positions(tuple(range(first, last + 1))),
    )
    st.caption(
        "Stronger colours mark stronger activations. Click a word, or drag over several, to rank all features by their "
        "activation there. On the keyboard, the left and right arrows move between words, Shift extends the range and "
        "Enter chooses it."
    )


def uncounted_reasons(trace: Trace) -> dict[int, str]:
    """Why each position that counts in no ranking doesn't."""
    uncounted = np.setdiff1d(np.arange(trace.n_tokens), trace.counted).tolist()
    sinks = trace.attention_sink
    return {position: _SINK if sinks is not None and sinks[position] else _CUT for position in uncounted}


def strongest_words(tokens: TokenizedText, activations: np.ndarray, most: int = 5) -> list[str]:
    """Different words on which a feature fires most strongly, strongest first; case makes no difference.

    Args:
        activations: (n_tokens,) of the feature.
    """
    n_firing = np.count_nonzero(activations > 0)
    strongest: dict[str, str] = {}
    for position in np.argsort(-activations, kind="stable")[:n_firing]:
        word = tokens.word_at(position)
        strongest.setdefault(word.casefold(), word)
        if len(strongest) == most:
            break
    return list(strongest.values())


def excerpt(tokens: TokenizedText, positions: np.ndarray, *, width: int) -> str:
    """Whole words at these positions, on one line, with an ellipsis for the words between them."""
    spans, word_of = tokens.words
    chosen = np.unique(word_of[positions])
    runs = np.split(chosen, np.flatnonzero(np.diff(chosen) > 1) + 1)
    parts = [tokens.text[spans[run[0], 0] : spans[run[-1], 1]] for run in runs]
    return f"“{shorten(' … '.join(parts), width)}”"
