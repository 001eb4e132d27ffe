"""Where errors become sentences for a person."""

from __future__ import annotations

import contextlib
import logging
import traceback
from collections.abc import Generator

import streamlit as st

from feature_tracker.errors import TrackerError
from feature_tracker.page.plain import plain

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def shown_errors(doing: str) -> Generator[None]:
    """Show what goes wrong within, and go on after it.

    A `TrackerError` is shown as it stands. Anything else is a fault of the program: the reader learns what failed, the
    log gets the exception's type and place. Its message and its locals may hold the analyst's text and stay out.

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
            "Analyze again, and if it fails again, look into the terminal for the place in the program.",
            icon=":material/error:",
        )
