"""What kind of file it is, by its first bytes and then by its name."""

from __future__ import annotations

from pathlib import PurePath
from typing import Literal

from feature_tracker.errors import TrackerError

Kind = Literal["text", "html", "pdf", "docx"]

_BY_SUFFIX: dict[str, Kind] = {
    ".txt": "text", ".md": "text", ".html": "html", ".htm": "html", ".pdf": "pdf", ".docx": "docx",
}  # fmt: skip
SUFFIXES = tuple(_BY_SUFFIX)
"""Of the files that can be read, in lower case."""
KIND_NAMES: dict[Kind, str] = {
    "text": "plain text", "html": "a web page", "pdf": "a PDF", "docx": "a Word document",
}  # fmt: skip

_OPEN_AND_SAVE = "Open it, save it as .docx or PDF, and take that file."
_TAKE_TEXT = "Take a file with text, or paste the text."
_REFUSED = (
    (b"{\\rtf", f"an RTF document. {_OPEN_AND_SAVE}"),
    (b"\x1f\x8b", "a compressed file (gzip). Unpack it first."),
    (b"7z\xbc\xaf\x27\x1c", "a compressed file (7z). Unpack it first."),
    (b"Rar!", "a compressed file (RAR). Unpack it first."),
    (b"\x89PNG", f"an image. {_TAKE_TEXT}"),
    (b"\xff\xd8\xff", f"an image. {_TAKE_TEXT}"),
    (b"GIF8", f"an image. {_TAKE_TEXT}"),
    (b"II*\0", f"an image. {_TAKE_TEXT}"),
    (b"MM\0*", f"an image. {_TAKE_TEXT}"),
)
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"  # Office's format before 2007, which also holds encrypted .docx files
_ENCRYPTED = "EncryptedPackage".encode("utf-16-le")
_PAGE_STARTS = (b"<!doctype html", b"<html", b"<xhtml")


def kind_by_name(name: str) -> Kind | None:
    """The kind of file that a name's suffix promises; `None` for other suffixes."""
    return _BY_SUFFIX.get(PurePath(name).suffix.lower())


def kind_of(name: str, raw: bytes) -> Kind:
    """The kind of file that this is. The first bytes are believed before the name; text has none of its own.

    Raises:
        TrackerError: it is of a kind that can't be read, or not of the kind that its name promises.
    """
    promised = kind_by_name(name)
    start = raw[:1024].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if start.startswith(b"%pdf-") or (promised == "pdf" and b"%pdf-" in start):
        return "pdf"
    if raw.startswith(b"PK\x03\x04"):
        return "docx"
    if start.startswith(_PAGE_STARTS) or (start.startswith(b"<?xml") and b"<html" in raw[:4096].lower()):
        return "html"
    for signature, what in _REFUSED:
        if raw.startswith(signature):
            raise TrackerError(f"This file is {what}")
    if raw.startswith(_OLE):
        raise TrackerError(
            "This Word document is protected by a password. Open it, remove the password, and save it again."
            if _ENCRYPTED in raw
            else f"This file is an Office document in the format from before 2007 (.doc, .xls). {_OPEN_AND_SAVE}"
        )
    if promised in ("pdf", "docx"):
        raise TrackerError(
            f"This file is named like {KIND_NAMES[promised]} and doesn't begin like one. It may be damaged; "
            "download it or save it again."
        )
    return promised or "text"
