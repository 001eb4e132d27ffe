"""The analyzed text as a component: shaded words; a click, a drag or the keyboard chooses a range of them.

The text reaches the browser as data and becomes text nodes (`textContent`), never HTML. The component is one of
Streamlit's Components v2: it has no frame, gets the theme's colours as CSS variables, and answers Python through
`setTriggerValue`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
    uncounted: Mapping[int, str],
    choose: Callable[[int, int], None],
) -> None:
    """Draw the text.

    Args:
        pieces: (n_tokens,) the text of each token; together they are the whole text.
        activations: (n_tokens,) of the chosen feature.
        feature: its name; when it changes, the box scrolls to the peak.
        peak: position of its largest activation among the tokens that count; larger ones are shaded no darker.
        colour: of its layer, `#rrggbb`.
        word_of: (n_tokens,) index of each token's word; a range snaps to whole words.
        chosen: positions to underline.
        uncounted: positions that count in no ranking, with the reason; they are greyed.
        choose: called with the first and the last position of the range that was just picked.
    """

    def picked() -> None:
        match st.session_state["words_text"].picked:  # from the browser, so not to be trusted
            case [int(first), int(last)] if 0 <= first <= last < len(pieces):
                choose(first, last)
            case _:
                pass

    _component(
        key="words_text",
        data={
            "pieces": pieces,
            "values": activations.astype(float).round(3).tolist(),
            "largest": float(activations[peak]),
            "peak": peak,
            "word_of": word_of.tolist(),
            "chosen": [] if chosen is None else chosen.tolist(),
            "uncounted": {str(position): reason for position, reason in uncounted.items()},
            "feature": feature,
            "colour": colour,
        },
        on_picked_change=picked,
    )
