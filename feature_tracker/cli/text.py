"""The text that a command is given, itself or as the path of a file."""

from __future__ import annotations

from pathlib import Path

import click

from feature_tracker.errors import TrackerError
from feature_tracker.reading import MAX_BYTES, SUFFIXES, read_document
from feature_tracker.reading.decoding import decode


def text_or_file(text: str) -> str:
    """The text of the document that `text` is the path of, or `text` itself if there is no such file.

    Notes on how the document was read go to standard error.

    Raises:
        TrackerError: the file can't be read, or `text` looks like a path but there is no such file.
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
        return _in_unicode(text)
    try:
        with Path(text).open("rb") as file:
            raw = file.read(MAX_BYTES + 1)  # more is refused
        document = read_document(text, raw)
    except OSError as error:
        raise TrackerError(f"{text} can't be read ({error.strerror}).") from None
    except TrackerError as error:
        raise TrackerError(f"{text}: {error}") from None
    for note in document.notes:
        click.echo(note, err=True)
    return document.text


def _in_unicode(text: str) -> str:
    """An argument's text: bytes that are not UTF-8, as an old terminal passes them, come as lone surrogates."""
    try:
        raw = text.encode(errors="surrogateescape")
    except UnicodeEncodeError:  # other surrogates, which are no bytes: `tokenize` refuses them
        return text
    if raw == text.encode(errors="replace"):
        return text
    click.echo(
        "This text is not in UTF-8; its encoding was guessed. If letters look wrong, put it into a file.", err=True
    )
    return decode(raw).text


def _looks_like_a_path(text: str) -> bool:
    return not any(map(str.isspace, text)) and (text.lower().endswith(SUFFIXES) or "/" in text or "\\" in text)
