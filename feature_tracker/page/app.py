"""The page from top to bottom: the inputs, the model behind a progress bar, the views.

Importing this module loads none of PyTorch, pandas and the charts, which take seconds: the inputs are drawn first.
"""

from __future__ import annotations

import contextlib
import time

import streamlit as st

from feature_tracker.bundles.bundle import Bundle
from feature_tracker.bundles.missing import missing_parts
from feature_tracker.errors import TrackerError
from feature_tracker.page import state
from feature_tracker.page.components.download import send_downloads
from feature_tracker.page.errors import shown_errors
from feature_tracker.page.inputs import read_inputs
from feature_tracker.page.pool import progress_bar, show_loading, wait_for_tracker
from feature_tracker.page.sidebar import choose_bundle, read_settings

# An SVG, because Streamlit fetches emoji and material icons for the browser's tab from the network.
_ICON = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">
<path fill="#1F6FC4" d="M3 4h26v4H3z"/><path fill="#16A085" d="M3 9h19v4H3z"/><path fill="#B98700" d="M3 14h22v4H3z"/>
<path fill="#C2410C" d="M3 19h13v4H3z"/><path fill="#C46FB0" d="M3 24h8v4H3z"/></svg>"""

# Streamlit pads a wide page by 6 rem above and 5 rem at the sides; the charts need that room. White on the dark theme's
# primary colour has a contrast of 2.7:1, and no primary colour reaches 4.5:1 both under white text and on the dark
# background. Its captions have 3.9:1 on white.
_STYLE = """<style>
.stMainBlockContainer { padding: 3.75rem 2.5rem 4rem; }
.stMainBlockContainer [data-testid="stBaseButton-tertiary"] { text-align: left; justify-content: flex-start; }
[data-testid="stCaptionContainer"] { opacity: 0.8 !important; }
[data-testid="stBaseButton-primary"] { color: light-dark(#FFFFFF, #171614) !important; }
</style>"""


def show_page() -> None:
    """Run the page once, as Streamlit does after every change."""
    st.set_page_config(
        page_title="Feature Activation Tracker",
        page_icon=_ICON,
        layout="wide",
        initial_sidebar_state="collapsed",  # it holds settings that few change, and the charts need its room
    )
    st.html(_STYLE)
    looks_at = st.segmented_control(
        "Look at",
        [state.ONE_TEXT, state.MANY_DOCUMENTS],
        key=state.PAGE,
        default=state.ONE_TEXT,
        required=True,
        label_visibility="collapsed",
        bind="query-params",
    )
    if looks_at == state.MANY_DOCUMENTS:
        _show_documents()
    else:
        _show_one_text()
    send_downloads()


def _show_documents() -> None:
    with shown_errors("opening the archive"):
        bundle = choose_bundle()
        settings = read_settings(bundle.layers)
        _require_files(bundle)
        # They import charts and PyTorch, which nobody should wait for who looks at one text.
        from feature_tracker.page.documents.view import show_documents  # noqa: PLC0415
        from feature_tracker.page.results import KEPT  # noqa: PLC0415

        state.keep_widget_values(state.TEXT, state.SAMPLE, *KEPT)
        show_documents(bundle, settings)


def _require_files(bundle: Bundle) -> None:
    missing = missing_parts(bundle)
    if missing:
        raise TrackerError(f"{bundle.title} can't be loaded yet. {' '.join(missing)}")


def _show_one_text() -> None:
    analysis = state.current_analysis()
    if analysis is None:
        st.header("Feature Activation Tracker", anchor=False)
        st.caption(
            "See what a language model notices in financial text: which of its features fire, on which words, and how "
            "they connect from layer to layer."
        )
    with shown_errors("reading the settings"):
        bundle = choose_bundle()
        settings = read_settings(bundle.layers)
        with (
            contextlib.nullcontext()
            if analysis is None
            else st.expander(_text_title(analysis), icon=":material/notes:")
        ):
            pressed = read_inputs(max_tokens=bundle.max_tokens, tall=analysis is None)
        _require_files(bundle)
        if pressed:
            st.session_state[state.PENDING_TEXT] = st.session_state[state.TEXT]
        if state.PENDING_TEXT in st.session_state:
            with shown_errors("analyzing the text"):
                with state.clear_when_finished(state.PENDING_TEXT):
                    _analyze(bundle, st.session_state[state.PENDING_TEXT])
                st.rerun()  # folds the text box, to make room for the result
        else:
            show_loading(bundle)
        analysis = state.current_analysis()
        loss = state.loss_after_reload()
        if loss:
            st.warning(loss, icon=":material/history:")
        if analysis is None:
            _show_introduction()
        else:
            # The views import charts and PyTorch, which takes seconds: nobody should wait for that before a result.
            from feature_tracker.page.results import show_results  # noqa: PLC0415

            with progress_bar() as report:
                tracker = wait_for_tracker(bundle, report, retry=False)
            show_results(analysis, tracker, settings)


def _text_title(analysis: state.Analysis) -> str:
    return f"Text · {analysis.trace.n_tokens:,} tokens"


def _analyze(bundle: Bundle, text: str) -> None:
    if not text.strip():  # refused before a model is loaded
        raise TrackerError("There is no text to analyze yet. Paste a passage, choose a sample or upload a document.")
    with progress_bar() as report:
        report("Getting ready", 0.0)
        tracker = wait_for_tracker(bundle, report, retry=True)
        start = time.perf_counter()
        trace = tracker.trace(text, progress=report)
        state.set_analysis(state.Analysis(trace, time.perf_counter() - start))


def _show_introduction() -> None:
    st.info(
        "Paste text into the box or choose a sample text, then press **Analyze**.",
        icon=":material/arrow_upward:",
    )
    columns = st.columns(3)
    steps = (
        (":material/bar_chart: **What stands out**", "What sets your text apart from ordinary text, as a few themes in "
         "plain words, each with a score that says how far to trust it."),
        (":material/format_color_text: **Where it fires**", "The text itself, each word shaded by how strongly a "
         "feature fires there. Choose words to see what fires on them."),
        (":material/hub: **How it connects**", "Which features of different layers rise and fall together, and which "
         "feed which: as a table, a network and a circuit."),
    )  # fmt: skip
    for column, (head, body) in zip(columns, steps, strict=True):
        with column.container(border=True, height="stretch"):
            st.markdown(head)
            st.caption(body)
