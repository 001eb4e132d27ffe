"""The analyzed text as a component: shaded words, of which a click, a drag or the keyboard chooses a range.

The text reaches the browser as data and is shown by text nodes (`textContent`), never as HTML. The component uses
Streamlit's Components v2: no frame, the theme's colours as CSS variables, `setTriggerValue` to answer Python.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import streamlit as st
from streamlit.components.v2 import component


def _source(suffix: str) -> str:
    return Path(__file__).with_name(f"words_text.{suffix}").read_text(encoding="utf-8")


_component = component("analyzed_text", html=_source("html"), css=_source("css"), js=_source("js"))


def show_text(
    pieces: list[str],
    activations: np.ndarray,
    *,
    feature: str,
    peak: int,
    colour: str,
    word_of: np.ndarray,
    chosen: np.ndarray | None,
    choose: Callable[[int, int], None],
) -> None:
    """Draw the text.

    Args:
        pieces: (n_tokens,) the text of each token; they join to the whole text.
        activations: (n_tokens,) of the chosen feature.
        feature: its name; when it changes, the box scrolls to its peak.
        peak: position at which it fires most; stronger tokens that don't count are shaded alike.
        colour: of its layer, `#rrggbb`.
        word_of: (n_tokens,) which word each token belongs to; a range snaps to whole words.
        chosen: positions to underline.
        choose: called with the first and last position of a range that was just picked.
    """

    def picked() -> None:
        pair = st.session_state["words_text"].picked
        if isinstance(pair, list) and len(pair) == 2 and 0 <= pair[0] <= pair[1] < len(pieces):
            choose(int(pair[0]), int(pair[1]))

    _component(
        key="words_text",
        data={
            "pieces": pieces,
            "values": activations.astype(float).round(3).tolist(),
            "largest": float(activations[peak]),
            "peak": peak,
            "word_of": word_of.tolist(),
            "chosen": [] if chosen is None else chosen.tolist(),
            "feature": feature,
            "colour": colour,
        },
        on_picked_change=picked,
    )
