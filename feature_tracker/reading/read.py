"""Read the text of a document, whatever kind of file it is."""

from __future__ import annotations

import re

from feature_tracker.errors import TrackerError
from feature_tracker.reading.document import MAX_BYTES, ReadDocument, clean, is_readable, require_length
from feature_tracker.reading.html import read_html
from feature_tracker.reading.kinds import KIND_NAMES, Kind, kind_by_name, kind_of

_DECLARED = re.compile(rb"""(?:charset|encoding)\s*=\s*["']?\s*([A-Za-z][\w.:-]*)""", re.IGNORECASE)
_HEAD = 4096  # bytes in which a page names its encoding; browsers look through 1,024
# HTML means Windows-1252 where it says one of these (WHATWG, Encoding Standard).
_WESTERN = frozenset(("ascii", "us-ascii", "iso-8859-1", "iso8859-1", "latin1", "windows-1252", "cp1252"))


def read_document(name: str, raw: bytes) -> ReadDocument:
    """Read the text of a file: plain text, Markdown (as it stands), HTML with inline XBRL, PDF or Word's .docx.

    Args:
        name: the file's; its suffix says what kind of file it is where the first bytes don't.
        raw: its content.

    Raises:
        TrackerError: it holds no text, is too large, damaged, protected by a password, or of another kind. The message
            names neither the file nor anything in it.
    """
    if len(raw) > MAX_BYTES:
        raise TrackerError(
            f"This file is larger than {MAX_BYTES // 1_000_000} MB, which is the most that can be read. Save the part "
            "that you want to analyze as a file of its own."
        )
    if not raw.strip():
        raise TrackerError("This file holds no text: it is empty.")
    kind, promised = kind_of(name, raw), kind_by_name(name)
    document = _read(kind, raw)
    _require_readable(document.text, kind)
    text = clean(document.text)
    require_length(len(text))
    if not text.strip():
        raise TrackerError("This file holds no text.")
    notes = list(document.notes)
    if promised not in (None, kind):
        notes.insert(0, f"The file is {KIND_NAMES[kind]}, whatever its name says, and was read as one.")
    return ReadDocument(text, tuple(notes))


# Each kind's library is imported once a file of it is read: the page starts without them.
def _read(kind: Kind, raw: bytes) -> ReadDocument:
    if kind == "pdf":
        from feature_tracker.reading.pdf import read_pdf  # noqa: PLC0415 - see above

        return read_pdf(raw)
    if kind == "docx":
        from feature_tracker.reading.docx import read_docx  # noqa: PLC0415

        return read_docx(raw)
    from feature_tracker.reading.decoding import decode  # noqa: PLC0415

    decoded = decode(raw, _declared_encoding(raw) if kind == "html" else None)
    if kind == "text":
        return ReadDocument(decoded.text, decoded.notes)
    _require_readable(decoded.text, kind)
    page = read_html(clean(decoded.text))
    return ReadDocument(page.text, decoded.notes + page.notes)


def _declared_encoding(raw: bytes) -> str | None:
    """The encoding that a web page names in its head."""
    declared = _DECLARED.search(raw[:_HEAD])
    if declared is None:
        return None
    encoding = declared[1].decode("ascii").lower()
    return "cp1252" if encoding in _WESTERN else encoding


def _require_readable(text: str, kind: Kind) -> None:
    if is_readable(text):
        return
    if kind == "pdf":
        raise TrackerError(
            "This PDF's fonts don't say which letters their shapes stand for, so that no text can be read from it. Run "
            "text recognition (OCR) on it, and take the result."
        )
    raise TrackerError("This file holds data that is no text. Take a file with text, or paste the text.")
