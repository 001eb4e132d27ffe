"""Tab: the text itself, each word shaded by the chosen feature's activation."""

from __future__ import annotations

from collections.abc import Sequence
from string import punctuation

import numpy as np
import streamlit as st

from feature_tracker.charts.theme import shorten
from feature_tracker.page import state
from feature_tracker.page.components.words_text import show_text
from feature_tracker.page.plain import plain
from feature_tracker.page.state import Scene


def show(scene: Scene) -> None:
    """Draw the tab."""
    trace = scene.analysis.trace
    activations, peak = trace.column(scene.feature), trace.peak(scene.feature)
    label = plain(shorten(str(scene.tracker.labels.name(scene.feature)), 120))
    n_firing = int((activations > 0).sum())
    pieces = split_text(trace.tokens.text, trace.tokens.offsets)
    word_of = word_numbers(pieces)
    counted = np.zeros_like(activations)
    counted[trace.counted] = activations[trace.counted]
    strongest = ", ".join(f"“{plain(shorten(word, 30))}”" for word in strongest_words(pieces, word_of, counted))
    st.markdown(
        f"**{label}** fires on {n_firing:,} of {trace.n_tokens:,} tokens"
        + f", most on {strongest}" * bool(strongest)
        + "."
    )
    show_text(
        pieces,
        activations,
        feature=str(scene.feature),
        peak=peak,
        colour=scene.colours[scene.feature.layer],
        word_of=word_of,
        chosen=scene.words,
        choose=lambda first, last: state.choose_words(tuple(range(first, last + 1))),
    )
    st.caption(
        "The stronger a word's colour, the more strongly the chosen feature fires there. Click a word, or drag over "
        "several, to rank all features by their activation on them. On the keyboard, the left and right arrows move "
        "over the words, Shift extends and Enter chooses."
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


def strongest_words(pieces: Sequence[str], word_of: np.ndarray, activations: np.ndarray, most: int = 5) -> list[str]:
    """The different words on which a feature fires most, the strongest first.

    Args:
        pieces: (n_tokens,) the text cut at its tokens.
        word_of: (n_tokens,) of `word_numbers`.
        activations: (n_tokens,) of the feature.
    """
    found: dict[str, str] = {}
    for token in np.argsort(-activations, kind="stable")[: np.count_nonzero(activations > 0)]:
        first, end = np.searchsorted(word_of, [word_of[token], word_of[token] + 1])
        word = "".join(pieces[first:end])
        bare = word.strip().strip(punctuation + "“”‘’") or word.strip() or word
        found.setdefault(bare.lower(), bare)
        if len(found) == most:
            break
    return list(found.values())


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
