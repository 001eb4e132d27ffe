"""The text of a PDF."""

from __future__ import annotations

import io
import logging
import re
import time
from collections.abc import Sequence

from pypdf import PdfReader

from feature_tracker.errors import TrackerError
from feature_tracker.reading.document import ReadDocument, require_length, tidy

_MAX_PAGES = 1000  # at 33 ms a dense page
_MAX_SECONDS = 60
_MAX_RANGES = 8  # of pages that one note lists

_LIGATURES = str.maketrans(
    {"\ufb00": "ff", "\ufb01": "fi", "\ufb02": "fl", "\ufb03": "ffi", "\ufb04": "ffl", "\ufb05": "st", "\ufb06": "st"}
)
_HYPHENATED = re.compile(
    r"(?P<before>[-\u2010]?)\b(?P<head>\w+)(?P<hyphen>[-\u2010\u00ad])\n(?P<tail>\w+)(?P<rest>\S*) *"
)
_WORD = re.compile(r"\w+(?:[-\u2010]\w+)*")
_NO_TEXT = (
    "No page of this PDF holds text; its pages are probably scans. Run text recognition (OCR) on it, for example with "
    "Acrobat's “Recognize Text” or ocrmypdf, and take the result."
)
_DAMAGED = "This PDF can't be read; it may be damaged. Download it again, or open it and print it to a new PDF."


def read_pdf(raw: bytes) -> ReadDocument:
    """Read the pages' text. Words that a line end divides are joined.

    Raises:
        TrackerError: the file is damaged, needs a password, has too many pages, or holds no text; or reading it takes
            too long.
    """
    # pypdf warns of faults in a file, and may quote it.
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    reader, n_pages = _open(raw)
    if n_pages > _MAX_PAGES:
        raise TrackerError(
            f"This PDF has {n_pages:,} pages; at most {_MAX_PAGES:,} can be read. Print the pages that you want to "
            "analyze to a PDF of their own."
        )
    texts, empty, damaged = _read_pages(reader, n_pages)
    if len(damaged) == n_pages:
        raise TrackerError(_DAMAGED)
    if len(empty) + len(damaged) == n_pages:
        raise TrackerError(_NO_TEXT)
    notes: list[str] = []
    if empty:
        notes.append(
            _page_note(empty, "holds no text; it is probably a scan.", "hold no text; they are probably scans.")
        )
    if damaged:
        notes.append(_page_note(damaged, "is damaged and was left out.", "are damaged and were left out."))
    lines = (line.strip() for text in texts for line in text.translate(_LIGATURES).split("\n"))
    return ReadDocument(join_hyphenated(tidy("\n".join(lines))), tuple(notes))


def join_hyphenated(text: str) -> str:
    """Join words that a hyphen at a line's end divides; the line then ends after the word.

    The hyphen stays where the word has one (`year-end`): the text has it elsewhere, or both halves stand alone
    elsewhere, or a half is no plain lower-case word (`non-GAAP`, `10-K`), or another hyphen comes before
    (`state-of-the-art`). A soft hyphen never stays.
    """
    words = {word.lower() for word in _WORD.findall(_HYPHENATED.sub(" ", text))}

    def join(match: re.Match[str]) -> str:
        before, head, hyphen, tail, rest = match.group("before", "head", "hyphen", "tail", "rest")
        whole, compound = head + tail, f"{head}-{tail}"
        is_plain = head.isalpha() and tail.isalpha() and tail.islower() and not (len(head) > 1 and head.isupper())
        is_compound = before or not is_plain or compound.lower() in words
        both_stand_alone = whole.lower() not in words and {head.lower(), tail.lower()} <= words
        keeps_hyphen = hyphen != "\u00ad" and (is_compound or both_stand_alone)
        # What follows the word begins the next line.
        line_end = "\n" if match.end() < len(text) and text[match.end()] != "\n" else ""
        return f"{before}{compound if keeps_hyphen else whole}{rest}{line_end}"

    return _HYPHENATED.sub(join, text)


def _open(raw: bytes) -> tuple[PdfReader, int]:
    """The PDF and its number of pages."""
    try:
        reader = PdfReader(io.BytesIO(raw))
        is_locked = reader.is_encrypted and not reader.decrypt("")
        n_pages = 0 if is_locked else len(reader.pages)
    except Exception:  # noqa: BLE001 - pypdf raises anything on a damaged file
        raise TrackerError(_DAMAGED) from None
    if is_locked:
        raise TrackerError(
            "This PDF is protected by a password. Open it with the password, print it to a new PDF, and take that."
        )
    if not n_pages:
        raise TrackerError(_DAMAGED)
    return reader, n_pages


def _read_pages(reader: PdfReader, n_pages: int) -> tuple[list[str], list[int], list[int]]:
    """The pages' texts; the numbers, from 1, of pages without text; those of pages that can't be read."""
    texts: list[str] = []
    empty: list[int] = []
    damaged: list[int] = []
    size, end = 0, time.monotonic() + _MAX_SECONDS
    for number in range(1, n_pages + 1):
        if time.monotonic() > end:
            raise TrackerError(
                f"This PDF takes too long to read: {number - 1:,} of {n_pages:,} pages in {_MAX_SECONDS} seconds. "
                "Print the pages that you want to analyze to a PDF of their own."
            )
        try:
            text = reader.pages[number - 1].extract_text()
        except Exception:  # noqa: BLE001 - pypdf raises anything on a damaged page
            damaged.append(number)
            continue
        if any(map(str.isalnum, text)):
            texts.append(text)
        else:
            empty.append(number)
        size += len(text)
        require_length(size)
    return texts, empty, damaged


def _page_note(numbers: Sequence[int], singular: str, plural: str) -> str:
    """A sentence about pages by their numbers, ascending from 1, such as `Pages 3, 7 and 9-12 hold no text.`"""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    listed = [f"{first}-{last}" if last > first else f"{first}" for first, last in ranges[:_MAX_RANGES]]
    n_more = sum(last - first + 1 for first, last in ranges[_MAX_RANGES:])
    listed += [f"{n_more:,} more"] if n_more else []
    if len(numbers) == 1:
        return f"Page {listed[0]} {singular}"
    *others, last_listed = listed
    return f"Pages {', '.join(others)}{' and ' if others else ''}{last_listed} {plural}"
