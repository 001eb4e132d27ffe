"""The text that a command is given, itself or as the path of a file."""

from __future__ import annotations

from pathlib import Path

from feature_tracker.errors import TrackerError


def text_or_file(text: str) -> str:
    """The content of the file that `text` is the path of, or `text` itself if there is no such file.

    Raises:
        TrackerError: the file can't be read or is not UTF-8, or `text` looks like a path but there is no such file.
    """
    try:
        is_file = Path(text).is_file()
    except (OSError, ValueError):  # too long for a path, or holding a NUL byte: a passage
        is_file = False
    if not is_file and _looks_like_a_path(text):
        raise TrackerError(
            f"{text} looks like a file's path, but there is no such file. Correct the path, or add a space at the end "
            "to trace these characters themselves."
        )
    if not is_file:
        return text
    try:
        return Path(text).read_text(encoding="utf-8-sig")  # some editors start a file with a byte order mark
    except UnicodeDecodeError as error:
        raise TrackerError(f"{text} is not UTF-8 text (byte {error.start}). Save it as UTF-8 and try again.") from None
    except OSError as error:
        raise TrackerError(f"{text} can't be read ({error.strerror}).") from None


def _looks_like_a_path(text: str) -> bool:
    return not any(map(str.isspace, text)) and (text.endswith(".txt") or "/" in text or "\\" in text)
