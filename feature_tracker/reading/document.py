"""What reading a file gives, its limits, and the cleaning that every kind of file needs."""

from __future__ import annotations

import re
from dataclasses import dataclass

from feature_tracker.errors import TrackerError

MAX_BYTES = 50_000_000
"""Of a file; the same as `maxUploadSize` in .streamlit/config.toml. Annual reports as inline XBRL have up to 30 MB."""
MAX_CHARACTERS = 5_000_000
"""Of a document's text. An annual report has some 500,000; the browser must hold the text in a box."""

_LINE_END = re.compile(r"\r\n?|[\v\f\x85\u2028\u2029]")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f]")
_UNREADABLE = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f\ufffd\ue000-\uf8ff]")
_MAX_UNREADABLE = 0.1  # of all characters; a text with some faults has far fewer, other data far more
_SPACE_AT_LINE_END = re.compile(r"(?<![ \t])[ \t]+(?=\n|$)")
_BLANK_LINES = re.compile(r"\n{3,}")
_SAME_TEXT = str.maketrans(
    {
        **dict.fromkeys("\u00a0\u2007\u202f", " "),  # spaces at which no line may end
        **dict.fromkeys("\u00ad\u200b\u2060\ufeff"),  # invisible: soft hyphen, break or no break, byte order mark
        **dict.fromkeys("\uf0b7\uf0a7", "•"),  # Word's bullets, of its font Symbol
    }
)


@dataclass(frozen=True)
class ReadDocument:
    r"""A file's text.

    Attributes:
        text: lines end with `\n`; it holds no NUL.
        notes: sentences for the reader: what was left out, and how the file was read where that could be wrong.
    """

    text: str
    notes: tuple[str, ...] = ()


def clean(text: str) -> str:
    r"""Bring line ends to `\n`, and leave out what no reader sees: control characters and zero-width signs."""
    return _CONTROL.sub("", _LINE_END.sub("\n", text)).translate(_SAME_TEXT)


def tidy(text: str) -> str:
    """Leave out white space at the ends of lines and of the text, and all but one of several blank lines."""
    return _BLANK_LINES.sub("\n\n", _SPACE_AT_LINE_END.sub("", text)).strip("\n")


def is_readable(text: str) -> bool:
    """Whether nearly all characters mean something, so that this is text and not other data."""
    n_unreadable = len(text) - len(_UNREADABLE.sub("", text))
    return n_unreadable <= _MAX_UNREADABLE * len(text)


def require_length(n_characters: int) -> None:
    """Refuse a document with more text than the page can show.

    Raises:
        TrackerError: there is more.
    """
    if n_characters > MAX_CHARACTERS:
        raise TrackerError(
            f"This file holds more than {MAX_CHARACTERS:,} characters of text, which is the most that can be read. "
            "Save the part that you want to analyze as a file of its own."
        )
