"""The page from top to bottom: inputs first, then the model behind a progress bar, then the views."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator
from typing import TYPE_CHECKING

import streamlit as st

from feature_tracker.bundles.bundle import Bundle
from feature_tracker.bundles.missing import missing_parts
from feature_tracker.errors import TrackerError
from feature_tracker.page import state
from feature_tracker.page.engine import show_loading, wait_for_tracker
from feature_tracker.page.errors import shown_errors
from feature_tracker.page.inputs import read_inputs
from feature_tracker.page.sidebar import choose_bundle, read_settings

if TYPE_CHECKING:
    from feature_tracker.progress import Progress

# Drawn here, because Streamlit fetches its emoji and material icons for the browser's tab from the network.
_ICON = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">
<path fill="#1F6FC4" d="M3 4h26v4H3z"/><path fill="#16A085" d="M3 9h19v4H3z"/><path fill="#B98700" d="M3 14h22v4H3z"/>
<path fill="#C2410C" d="M3 19h13v4H3z"/><path fill="#C46FB0" d="M3 24h8v4H3z"/></svg>"""

# Streamlit leaves 6 rem above and 5 beside a wide page; the charts need that room. White on the dark theme's primary
# colour is 2.7:1, and no colour reaches 4.5:1 both under white and on the dark background.
_STYLE = """<style>
.stMainBlockContainer { padding: 2.75rem 2.5rem 4rem; }
[data-testid="stBaseButton-primary"] { color: light-dark(#FFFFFF, #171614) !important; }
</style>"""


def show_page() -> None:
    """Run the page once, as Streamlit does after every change."""
    st.set_page_config(page_title="Feature Activation Tracker", page_icon=_ICON, layout="wide")
    st.html(_STYLE)
    st.header("Feature Activation Tracker", anchor=False)
    st.caption(
        "See what a language model notices in financial text: which of its features fire, on which words, and how they "
        "hang together from layer to layer."
    )
    with shown_errors("reading the settings"):
        bundle = choose_bundle()
        settings = read_settings(bundle.layers)
        pressed = read_inputs(max_tokens=bundle.max_tokens, tall=state.analysis() is None)
        missing = missing_parts(bundle)
        if missing:
            raise TrackerError(f"{bundle.title} can't be loaded yet. {' '.join(missing)}")
        if pressed:
            st.session_state[state.ASKED] = st.session_state[state.TEXT]
        if state.ASKED in st.session_state:
            with shown_errors("analyzing the text"):
                first = state.analysis() is None
                with state.asked_until_done(state.ASKED):
                    _analyze(bundle, st.session_state[state.ASKED])
                if first:
                    st.rerun()  # the text box, tall until there is a result, makes room for it
        else:
            show_loading(bundle)
        done = state.analysis()
        if done is None:
            _show_how_to_begin()
        else:
            # Charts and PyTorch take seconds to import; until there is a result, nobody waits for them.
            from feature_tracker.page.results import show_results  # noqa: PLC0415

            with _progress() as report:
                tracker = wait_for_tracker(bundle, report, again=False)
            show_results(done, tracker, settings)


@contextlib.contextmanager
def _progress() -> Generator[Progress]:
    """A bar that appears with the first report and is gone at the end."""
    place = st.empty()

    def report(what: str, share: float) -> None:
        place.progress(min(max(share, 0.0), 1.0), what)

    try:
        yield report
    finally:
        place.empty()


def _analyze(bundle: Bundle, text: str) -> None:
    if not text.strip():  # said at once, not after a model has been loaded
        raise TrackerError("There is no text to analyze yet. Paste a passage, choose a sample or upload a .txt file.")
    with _progress() as report:
        report("Getting ready", 0.0)
        tracker = wait_for_tracker(bundle, report, again=True)
        start = time.perf_counter()
        trace = tracker.trace(text, progress=report)
        state.keep_analysis(state.Analysis(trace, time.perf_counter() - start))


def _show_how_to_begin() -> None:
    st.info(
        "Paste a text into the box, or choose one of the sample texts, then press **Analyze**.",
        icon=":material/arrow_upward:",
    )
    columns = st.columns(3)
    steps = (
        (":material/bar_chart: **What fires**", "The most telling features of every layer, each with a label in plain "
         "words and a score of how far the label can be trusted."),
        (":material/format_color_text: **Where**", "The text itself, every word shaded by how strongly a feature fires "
         "there. Choose words to see what fires on them."),
        (":material/hub: **How it hangs together**", "Which features of different layers rise and fall together, as a "
         "table, as a network and as one feature's story."),
    )  # fmt: skip
    for column, (head, body) in zip(columns, steps, strict=True):
        with column.container(border=True, height="stretch"):
            st.markdown(head)
            st.caption(body)
