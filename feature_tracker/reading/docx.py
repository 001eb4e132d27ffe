"""The text of a Word document (.docx), unpacked and read piece by piece: no part of it is held whole in memory."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator

from lxml.etree import XMLParser

from feature_tracker.errors import TrackerError
from feature_tracker.reading.document import ReadDocument, require_length, tidy
from feature_tracker.reading.layout import TextLayout

_CHUNK = 1 << 18  # bytes; the length of the text is checked after each
_MAX_XML = 50_000_000  # bytes of XML that are unpacked; an annual report has 5 MB
_MAX_DIRECTORY = 2_000_000  # bytes of the archive's list of files; a document has dozens, this holds some 20,000

_BODY = re.compile(r"word/document\d*\.xml")
_NOTES = re.compile(r"word/(?:footnotes|endnotes)\d*\.xml")
_HEADERS = re.compile(r"word/(?:header|footer)\d*\.xml")
_COMMENTS = re.compile(r"word/comments\d*\.xml")
_OTHER_KINDS = (
    ("xl/", "an Excel workbook. Copy its cells into the box, or save it as PDF."),
    ("ppt/", "a PowerPoint presentation. Save it as PDF."),
    ("content.xml", "an OpenDocument file. Open it, save it as .docx or PDF, and take that file."),
    ("META-INF/container.xml", "an e-book. Save it as PDF or HTML."),
)

# Properties have tags of the same names as text. A fallback repeats, for older programs, what comes before it.
_SKIPPED = frozenset(("Fallback", "pPr", "rPr", "rt", "sectPr", "sdtPr", "tblGrid", "tblPr", "tcPr", "trPr"))
_DELETED = frozenset(("del", "moveFrom"))
_NOTE_LINES = frozenset(("separator", "continuationSeparator", "continuationNotice"))
_OFF = frozenset(("0", "false", "off"))
_DAMAGED = "This Word document can't be read; it may be damaged. Open it in Word and save it again."


def read_docx(raw: bytes) -> ReadDocument:
    """Read a Word document's paragraphs and tables in order, then its footnotes and endnotes.

    Tracked changes are read as accepted. Headers, footers, comments and hidden text are left out.

    Raises:
        TrackerError: the file is no Word document, is damaged, or too large.
    """
    target = _DocumentTarget()
    try:
        _require_short_directory(raw)
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            names = archive.namelist()
            body = next(filter(_BODY.fullmatch, names), None)
            if body is None:
                raise TrackerError(_other_kind(names))
            _parse(archive, [body], target)
            body_size = target.layout.size
            _parse(archive, list(filter(_NOTES.fullmatch, names)), target)
    except TrackerError:
        raise
    except Exception:  # noqa: BLE001 - zipfile, zlib and lxml raise many kinds on a damaged file
        raise TrackerError(_DAMAGED) from None
    left_out = {
        "headers and footers": any(map(_HEADERS.fullmatch, names)),
        "comments": any(map(_COMMENTS.fullmatch, names)),
        "text that is marked as deleted": target.has_deleted,
        "hidden text": target.has_hidden,
    }
    notes: list[str] = []
    if any(left_out.values()):
        notes.append(f"Left out: {', '.join(what for what, is_there in left_out.items() if is_there)}.")
    if target.layout.size > body_size:
        notes.append("Footnotes and endnotes stand at the end.")
    return ReadDocument(tidy(target.layout.text()), tuple(notes))


class _DocumentTarget:
    """What lxml tells about the tags and text of a document's XML.

    Attributes:
        layout: the text.
        has_deleted: whether text was left out that a tracked change deletes.
        has_hidden: whether hidden text was left out.
    """

    def __init__(self) -> None:
        self.layout = TextLayout()
        self.has_deleted = False
        self.has_hidden = False
        self._skipped = 0  # open elements, from the one that is skipped inwards
        self._hidden_runs: list[bool] = []  # of each open run; a text box is a run that holds others
        self._in_text = False

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        """A tag opens."""
        name = _local(tag)
        values = {_local(key): value for key, value in attributes.items()} if attributes else {}
        if self._skipped:
            if name == "vanish" and self._skipped == 1 and self._hidden_runs:  # among the properties of a run
                self._hidden_runs[-1] = values.get("val") not in _OFF
            self._skipped += 1
        elif name in _SKIPPED or name in _DELETED or values.get("type") in _NOTE_LINES:
            self.has_deleted |= name in _DELETED
            self._skipped = 1
        elif name == "r":
            self._hidden_runs.append(False)
        elif name == "t":
            self._in_text = True
        elif name in ("tab", "br", "cr", "noBreakHyphen"):
            self._add_sign(name, is_page_break=values.get("type") in ("page", "column"))
        elif name in ("tbl", "txbxContent"):
            self.layout.end_paragraph()
        elif name == "tr":
            self.layout.start_row()
        elif name == "tc":
            self.layout.start_cell()

    def end(self, tag: str) -> None:
        """A tag closes."""
        name = _local(tag)
        if self._skipped:
            self._skipped -= 1
        elif name == "r":
            self._hidden_runs.pop()
        elif name == "t":
            self._in_text = False
        elif name in ("p", "tbl"):
            self.layout.end_paragraph()
        elif name == "tc":
            self.layout.end_cell()
        elif name == "tr":
            self.layout.end_row()

    def data(self, text: str) -> None:
        """Text between tags."""
        if not self._in_text or self._skipped:
            return
        if any(self._hidden_runs):
            self.has_hidden = True
        else:
            self.layout.add(text)

    def doctype(self, *_names: str | None) -> None:
        """A document type, which no Word document has: it could define entities that grow without bound."""
        raise TrackerError(_DAMAGED)

    def close(self) -> None:
        """The document ends."""

    def _add_sign(self, name: str, *, is_page_break: bool) -> None:
        if any(self._hidden_runs):
            return
        if name == "tab":
            self.layout.add_tab()
        elif name == "noBreakHyphen":
            self.layout.add("-")
        elif is_page_break:
            self.layout.end_paragraph()
        else:
            self.layout.break_line()


def _parse(archive: zipfile.ZipFile, parts: list[str], target: _DocumentTarget) -> None:
    unpacked = 0
    for part in parts:
        target.layout.end_paragraph()
        parser = XMLParser(target=target, resolve_entities=False, no_network=True)
        for chunk in _chunks(archive, part):
            unpacked += len(chunk)
            if unpacked > _MAX_XML:
                raise TrackerError(
                    f"This Word document is larger than {_MAX_XML // 1_000_000} MB once it is unpacked, which is the "
                    "most that can be read. Save the part that you want to analyze as a document of its own."
                )
            parser.feed(chunk)
            require_length(target.layout.size)
        parser.close()


def _chunks(archive: zipfile.ZipFile, part: str) -> Iterator[bytes]:
    with archive.open(part) as file:
        while chunk := file.read(_CHUNK):
            yield chunk


def _require_short_directory(raw: bytes) -> None:
    """Refuse an archive of a million files, whose list alone fills memory."""
    end = raw.rfind(b"PK\x05\x06")
    if end >= 0 and int.from_bytes(raw[end + 12 : end + 16], "little") > _MAX_DIRECTORY:
        raise TrackerError(_DAMAGED)


def _other_kind(names: list[str]) -> str:
    for part, what in _OTHER_KINDS:
        if any(name.startswith(part) for name in names):
            return f"This file is {what}"
    return "This file is a ZIP archive and no Word document. Unpack it, and take the document in it."


def _local(name: str) -> str:
    """A tag's name without its namespace, which differs between the two forms of the standard."""
    return name.rpartition("}")[2]
