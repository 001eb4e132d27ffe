"""The text box and its sources: pasted or typed text, a sample, a file."""

from __future__ import annotations

import streamlit as st

from feature_tracker.errors import TrackerError
from feature_tracker.page.errors import plain
from feature_tracker.page.samples import SAMPLES
from feature_tracker.page.state import (
    FILE_ERROR as _FILE_ERROR,
    FILE_NOTES as _FILE_NOTES,
    OWN_TEXT as _OWN_TEXT,
    SAMPLE as _SAMPLE,
    TEXT,
)
from feature_tracker.reading import MAX_BYTES, SUFFIXES, has_tags, language_note, read_document, strip_tags

_YOUR_TEXT = "Your own text"
_FILE = "file"
_WORDS_PER_TOKEN = 0.75  # in English prose


def read_inputs(*, max_tokens: int, tall: bool) -> bool:
    """Draw the text box and its sources, and return whether Analyze was just pressed. The text is in state `TEXT`.

    Args:
        max_tokens: of the longest text that can be analyzed.
        tall: draw a tall text box, because nothing is below it yet.
    """
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
                "A document: PDF, Word, web page or text",
                type=[suffix.removeprefix(".") for suffix in SUFFIXES],
                key=_FILE,
                on_change=_use_file,
                help=f"PDF with text in it, Word (.docx), HTML (filings in inline XBRL, too), Markdown or plain text, "
                f"up to {MAX_BYTES // 1_000_000} MB. The document's text goes into the box. Nothing is stored.",
            )
    if st.session_state.get(_FILE_ERROR):
        st.error(plain(st.session_state[_FILE_ERROR]), icon=":material/error:")
    st.text_area(
        "Text to analyze",
        key=TEXT,
        height=220 if tall else 120,
        on_change=_remember_own_text,
        placeholder="Paste an earnings release, a passage of a filing, a central bank's statement …",
    )
    _show_notes(st.session_state[TEXT])
    with st.container(horizontal=True, vertical_alignment="center"):
        pressed = st.button(
            "Analyze", type="primary", icon=":material/search_insights:", on_click=_clear_file_error, key="analyze"
        )
        st.caption(
            f"Up to {max_tokens:,} tokens, about {round(max_tokens * _WORDS_PER_TOKEN, -3):,.0f} words. Your text is "
            "neither stored nor sent to any other service."
        )
    return pressed


def _show_notes(text: str) -> None:
    """What to know about the text in the box: how its file was read, tags in it, and whether it is English."""
    notes = [*st.session_state.get(_FILE_NOTES, ()), language_note(text) if text.strip() else ""]
    if any(notes):
        st.caption(plain(" ".join(filter(None, notes))))
    if has_tags(text):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption("This text has HTML tags in it, which the model reads like words.")
            st.button("Remove the tags", icon=":material/code_off:", on_click=_remove_tags, key="remove_tags")


def _remember_own_text() -> None:
    # Once edited, a sample or a file's text is the analyst's own.
    st.session_state[_OWN_TEXT] = st.session_state[TEXT]
    st.session_state[_SAMPLE] = _YOUR_TEXT
    _clear_file_messages()


def _use_sample() -> None:
    title = st.session_state[_SAMPLE]
    st.session_state[TEXT] = st.session_state.get(_OWN_TEXT, "") if title == _YOUR_TEXT else SAMPLES[title]
    _clear_file_messages()


def _use_file() -> None:
    file = st.session_state[_FILE]
    if file is None:
        _clear_file_error()
        return
    try:
        document = read_document(file.name, file.getvalue())
    except TrackerError as error:
        st.session_state[_FILE_ERROR] = f"{error} The box is unchanged."
        return
    st.session_state[TEXT] = document.text
    _remember_own_text()
    st.session_state[_FILE_NOTES] = document.notes


def _remove_tags() -> None:
    try:
        st.session_state[TEXT] = strip_tags(st.session_state[TEXT])
    except TrackerError as error:
        st.session_state[_FILE_ERROR] = f"{error} The box is unchanged."
        return
    _remember_own_text()


def _clear_file_error() -> None:
    st.session_state.pop(_FILE_ERROR, None)


def _clear_file_messages() -> None:
    _clear_file_error()
    st.session_state.pop(_FILE_NOTES, None)
