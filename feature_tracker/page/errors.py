"""Text from outside on the page: errors as sentences, and labels and file contents free of markdown."""

from __future__ import annotations

import contextlib
import logging
import re
import traceback
from collections.abc import Generator

import streamlit as st

from feature_tracker.errors import TrackerError

_log = logging.getLogger(__name__)

# Streamlit's markdown makes links of bare addresses after it has taken the escapes away: what breaks them up must stay.
_ADDRESS = re.compile(r"(?<=www)(?=\.)|(?<=:)(?=//)|(?<=[\w.+-])(?=@)", re.IGNORECASE)
WORD_JOINER = "\u2060"
"""Has no width, and no line breaks at it."""
# The signs of markdown, LaTeX, emoji shortcodes (`:smile:`) and Streamlit's directives (`:red[...]`).
_SPECIAL = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~$:&])")


def plain(text: str) -> str:
    """Escape text of the analyst or of a file: Streamlit's markdown then shows it letter by letter, without links."""
    return _SPECIAL.sub(r"\\\1", _ADDRESS.sub(WORD_JOINER, text))


@contextlib.contextmanager
def shown_errors(doing: str) -> Generator[None]:
    """Show an error raised inside the block, and go on after the block.

    A `TrackerError` is shown as it stands. Any other exception is a fault of the program: the reader learns what
    failed, and the log gets the exception's type and place. Its message and its locals may contain the analyst's text,
    so neither is shown or logged.

    Args:
        doing: completes "Something went wrong while ...".
    """
    try:
        yield
    except TrackerError as error:
        st.error(plain(str(error)), icon=":material/error:")
    except Exception as error:  # noqa: BLE001 - the last place before the reader
        frames = traceback.extract_tb(error.__traceback__)
        place = " < ".join(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in reversed(frames[-4:]))
        _log.error("%s while %s at %s", type(error).__name__, doing, place)
        st.error(
            f"Something went wrong while {doing} ({type(error).__name__}). Your text is still in the box: press "
            "Analyze again. If it fails again, the terminal shows where in the program it failed.",
            icon=":material/error:",
        )
