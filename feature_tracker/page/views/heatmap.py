"""View: features against the sentences or the words of the text."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import streamlit as st

from feature_tracker.charts.heatmap import plot_heatmap
from feature_tracker.model.tokens import TokenizedText
from feature_tracker.page import state
from feature_tracker.page.clicks import show_word_chart
from feature_tracker.page.state import Scene
from feature_tracker.text import sentence_spans
from feature_tracker.tracing.rows import features_of

MAX_COLUMNS = 60  # words would not fit under narrower columns
MODE = "heatmap_mode"
_SENTENCES, _TOKENS = "Sentences", "Single tokens"


def show(scene: Scene) -> None:
    """Draw the view."""
    trace = scene.analysis.trace
    tokens = trace.tokens
    first, last = 0, trace.n_tokens
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.session_state.setdefault(MODE, _SENTENCES)
        by_token = st.segmented_control("Columns", [_SENTENCES, _TOKENS], required=True, key=MODE) == _TOKENS
        if by_token and trace.n_tokens > MAX_COLUMNS:
            first = st.slider(
                "First token",
                0,
                trace.n_tokens - MAX_COLUMNS,
                _first_token(scene),
                key=f"heatmap_first_{state.heatmap_version()}_{scene.feature}",
            )
            last = first + MAX_COLUMNS
    edges = np.arange(first, last + 1) if by_token else sentence_edges(tokens, MAX_COLUMNS)
    spans = list(pairwise(edges.tolist()))
    uncounted = np.setdiff1d(np.arange(trace.n_tokens), trace.counted)
    rows = [trace.column(feature) for feature in features_of(scene.ranked)]
    for row in rows:
        row[uncounted] = np.nan  # a single token at a cut would outshine all others
    values = np.stack([np.fmax.reduceat(row[:last], edges[:-1]) for row in rows])
    chosen = set() if scene.chosen_positions is None else set(scene.chosen_positions.tolist())

    def choose(columns: list[int]) -> None:
        state.choose_positions(tuple(p for c in columns for p in range(*spans[c])), in_heatmap=True)

    show_word_chart(
        plot_heatmap(
            scene.ranked,
            values,
            [tokens.text[tokens.offsets[a, 0] : tokens.offsets[b - 1, 1]] for a, b in spans],
            words=[tokens.word_at(position) for position in range(first, last)] if by_token else None,
            colours=scene.colours,
            chosen=[c for c, (a, b) in enumerate(spans) if not chosen.isdisjoint(range(a, b))],
            selected=scene.feature,
        ),
        key=f"heatmap_{state.heatmap_version()}_{first}_{by_token}",
        name="heatmap",
        alt="Where in the text each feature fires, as a heatmap",
        choose=choose,
    )
    st.caption(
        "Stronger colours mark stronger activations; each row is scaled to its own strongest cell. "
        + ("" if by_token else "Each column is a sentence, or several in a long text. ")
        + "Click a cell to rank the features by their activation there; for a range, choose Box Select above the "
        "chart and drag over the cells."
    )


def _first_token(scene: Scene) -> int:
    """First token to show: somewhat before the chosen ones, or before the feature's peak."""
    trace = scene.analysis.trace
    chosen = scene.chosen_positions
    target = trace.peak(scene.feature) if chosen is None else int(chosen[0])
    return int(np.clip(target - MAX_COLUMNS // 4, 0, trace.n_tokens - MAX_COLUMNS))


def sentence_edges(tokens: TokenizedText, most: int) -> np.ndarray:
    """Edges of at most `most` stretches of whole sentences that hold every token once.

    Returns:
        (n_stretches + 1,) token positions, from 0 to n_tokens.
    """
    sentences = sentence_spans(tokens.text)
    begins = np.unique(np.searchsorted(tokens.offsets[:, 1], sentences[:, 0], side="right"))
    equal = np.linspace(0, len(begins), min(most, len(begins)) + 1)[:-1].astype(int)
    return np.unique(np.concatenate([[0], begins[equal], [tokens.n_tokens]])).astype(np.int64)
