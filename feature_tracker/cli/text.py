"""The text a command line was given: written out, or as a file's path."""

from __future__ import annotations

from pathlib import Path

from feature_tracker.errors import TrackerError


def text_or_file(text: str) -> str:
    """The file's text where `text` is a file's path, else `text` itself.

    Raises:
        TrackerError: the file is not UTF-8, or there is none where `text` looks like its path.
    """
    try:
        is_file = Path(text).is_file()
    except (OSError, ValueError):  # too long for a path, or holding a NUL byte: a passage
        is_file = False
    if not is_file and _looks_like_a_path(text):
        raise TrackerError(
            f"{text} looks like a file's path, but there is no such file here. Correct the path; to trace these "
            "letters themselves, give them with a space behind."
        )
    if not is_file:
        return text
    try:
        return Path(text).read_text(encoding="utf-8-sig")  # some editors begin a file with a mark
    except UnicodeDecodeError as error:
        raise TrackerError(f"{text} is not UTF-8 text (byte {error.start}). Save it as UTF-8 and try again.") from None


def _looks_like_a_path(text: str) -> bool:
    return not any(map(str.isspace, text)) and (text.endswith(".txt") or "/" in text or "\\" in text)
