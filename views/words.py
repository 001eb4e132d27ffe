"""Tab: the text itself, each word shaded by the chosen feature's activation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import streamlit as st

from charts.theme import shorten
from views import state
from views.plain import plain
from views.state import Scene
from views.words_text import show_text


def show(scene: Scene) -> None:
    """Draw the tab."""
    trace = scene.analysis.trace
    activations = trace.column(scene.feature)
    label = plain(shorten(str(scene.engine.labels.name(scene.feature)), 120))
    n_firing = int((activations > 0).sum())
    st.markdown(f"**{label}** fires on {n_firing:,} of {trace.n_tokens:,} tokens.")
    pieces = split_text(trace.tokens.text, trace.tokens.offsets)
    show_text(
        pieces,
        activations,
        colour=scene.colours[scene.feature.layer],
        word_of=word_numbers(pieces),
        chosen=scene.words,
        choose=lambda first, last: state.choose_words(tuple(range(first, last + 1))),
    )
    st.caption(
        "The darker a word, the more strongly the chosen feature fires there. Click a word, or drag over several, to "
        "rank all features by their activation on them."
    )


def split_text(text: str, offsets: np.ndarray) -> list[str]:
    """One piece of text a token; joined, they are the whole text, also where tokens leave characters out.

    Args:
        offsets: (n_tokens, 2) first and one-past-last character.
    """
    if not len(offsets):
        return []
    ends = offsets[:, 1].tolist()
    ends[-1] = len(text)
    return [text[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def word_numbers(pieces: Sequence[str]) -> np.ndarray:
    """Which word each token belongs to, (n_tokens,) ascending from 0: a word begins after white space."""
    begins = np.zeros(len(pieces), dtype=np.int64)
    for i in range(1, len(pieces)):
        begins[i] = pieces[i][:1].isspace() or pieces[i - 1][-1:].isspace()
    return np.cumsum(begins)


def excerpt(token_texts: Sequence[str], positions: np.ndarray, *, width: int) -> str:
    """The chosen tokens on one line, an ellipsis where some between them are not chosen."""
    parts: list[str] = []
    before = None
    for position in positions.tolist():
        if before is not None and position != before + 1:
            parts.append(" … ")
        parts.append(token_texts[int(position)])
        before = position
    return f"“{shorten(''.join(parts), width)}”"
