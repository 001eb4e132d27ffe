"""The text box and its sources: pasted or typed text, a sample, a file."""

from __future__ import annotations

import streamlit as st

from feature_tracker.page.samples import SAMPLES
from feature_tracker.page.state import TEXT

_YOUR_TEXT = "Your own text"
_SAMPLE = "sample"
_FILE = "file"
_OWN_TEXT = "own_text"
_FILE_ERROR = "file_error"
_WORDS_PER_TOKEN = 0.75  # in English prose


def read_inputs(*, max_tokens: int, tall: bool) -> bool:
    """Draw the text box and its sources, and return whether Analyze was just pressed. The text is in state `TEXT`.

    Args:
        max_tokens: of the longest text that can be analyzed.
        tall: draw a tall text box, because nothing is below it yet.
    """
    st.session_state.setdefault(TEXT, "")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.selectbox(
            "Sample texts",
            [_YOUR_TEXT, *SAMPLES],
            key=_SAMPLE,
            on_change=_use_sample,
            help=f"Short passages written for this page. Choose “{_YOUR_TEXT}” to get yours back.",
        )
        with st.popover("Upload a file", icon=":material/upload_file:"):
            st.file_uploader(
                "A text file (.txt, UTF-8)",
                type=["txt"],
                key=_FILE,
                on_change=_use_file,
                help="The file's text goes into the box. Nothing is stored.",
            )
    if st.session_state.get(_FILE_ERROR):
        st.error(st.session_state[_FILE_ERROR], icon=":material/error:")
    st.text_area(
        "Text to analyze",
        key=TEXT,
        height=220 if tall else 120,
        on_change=_remember_own_text,
        placeholder="Paste an earnings release, a passage of a filing, a central bank's statement …",
    )
    with st.container(horizontal=True, vertical_alignment="center"):
        pressed = st.button(
            "Analyze", type="primary", icon=":material/search_insights:", on_click=_clear_file_error, key="analyze"
        )
        st.caption(
            f"Up to {max_tokens:,} tokens, about {round(max_tokens * _WORDS_PER_TOKEN, -3):,.0f} words. Your text is "
            "neither stored nor sent to any other service."
        )
    return pressed


def _remember_own_text() -> None:
    # Once edited, a sample or a file's text is the analyst's own.
    st.session_state[_OWN_TEXT] = st.session_state[TEXT]
    st.session_state[_SAMPLE] = _YOUR_TEXT
    _clear_file_error()


def _use_sample() -> None:
    title = st.session_state[_SAMPLE]
    st.session_state[TEXT] = st.session_state.get(_OWN_TEXT, "") if title == _YOUR_TEXT else SAMPLES[title]
    _clear_file_error()


def _use_file() -> None:
    _clear_file_error()
    file = st.session_state[_FILE]
    if file is None:
        return
    try:
        text = decode(file.getvalue())
    except UnicodeDecodeError as error:
        st.session_state[_FILE_ERROR] = (
            f"This file is not UTF-8 text (byte {error.start + 1:,} can't be read). Save it as “Text, UTF-8” and "
            "upload it again, or paste its text into the box. The box is unchanged."
        )
        return
    if not text.strip():
        st.session_state[_FILE_ERROR] = (
            "This file holds no text. The box is unchanged; upload another file or paste text into it."
        )
        return
    st.session_state[TEXT] = text
    _remember_own_text()


def _clear_file_error() -> None:
    st.session_state.pop(_FILE_ERROR, None)


def decode(raw: bytes) -> str:
    """Decode a text file: UTF-8, with or without a byte order mark, with any line endings.

    Raises:
        UnicodeDecodeError: the file is not UTF-8.
    """
    return raw.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
