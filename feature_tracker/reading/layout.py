"""Text put together from the paragraphs, lines and table cells of a document."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

# Filings set `$` and `)` or `%` into cells of their own, so that the figures of a column end at one place.
_OPENING_CELL = re.compile(r"(?<![^\t])(\(?[A-Z]{0,3}[$€£¥]\(?|\()\t(?=[\d.(—–-])")
_CLOSING_CELL = re.compile(r"\t(?=(?:\)%?|%\)?)(?:\t|$))")
_MAX_DEPTH = 50  # tables in tables: each copies the text of those in it; deeper ones are read as lines
_SEPARATORS = {"none": "", "space": " ", "line": "\n", "paragraph": "\n\n"}

_Gap = Literal["none", "space", "line", "paragraph"]


@dataclass
class _Part:
    """The document, a row of a table, or a cell of a row.

    Attributes:
        kind: which of them.
        pieces: of the text, in order; a row's are its cells.
        gap: what separates the next piece from the last.
        holds_table: of a row: one of its cells holds a table.
    """

    kind: Literal["document", "row", "cell"]
    pieces: list[str] = field(default_factory=list[str])
    gap: _Gap = "none"
    holds_table: bool = False


class TextLayout:
    """Puts a text together piece by piece, in reading order.

    A row of a table becomes one line, its cells separated by tabs. Where a row only arranges the page (one cell with
    text, or tables inside its cells), its cells keep their lines and follow each other.

    Attributes:
        size: characters so far, without those of a table that is still open.
    """

    def __init__(self) -> None:
        self.size = 0
        self._open = [_Part("document")]

    def add(self, text: str) -> None:
        """Add running text, in which white space only separates."""
        words = " ".join(text.split())
        if not words:
            if text:
                self._widen("space")
            return
        if text[0].isspace():
            self._widen("space")
        self._append(words)
        if text[-1].isspace():
            self._widen("space")

    def add_as_it_is(self, text: str) -> None:
        """Add text whose white space counts."""
        if text:
            self._append(text)

    def add_tab(self) -> None:
        """Add a tab between two pieces of a line; one at its start only indents."""
        if self._open[-1].pieces and self._open[-1].gap in ("none", "space"):
            self._append("\t")

    def break_line(self) -> None:
        """End the line; a second time, leave a line blank."""
        self._widen("paragraph" if self._open[-1].gap == "line" else "line")

    def end_line(self) -> None:
        """End the line if it holds anything."""
        self._widen("line")

    def end_paragraph(self) -> None:
        """End the line if it holds anything, and leave a line blank."""
        self._widen("paragraph")

    def start_row(self) -> None:
        """Begin a row of a table."""
        if len(self._open) > _MAX_DEPTH:
            self.end_line()
            return
        if self._open[-1].kind == "cell":
            self._open[-2].holds_table = True
        self._open.append(_Part("row"))

    def start_cell(self) -> None:
        """Begin a cell; outside a row, it is a line."""
        if self._open[-1].kind == "row":
            self._open.append(_Part("cell"))
        else:
            self.end_line()

    def end_cell(self) -> None:
        """End the innermost cell."""
        if self._open[-1].kind == "cell":
            cell = self._open.pop()
            self._open[-1].pieces.append("".join(cell.pieces).strip())
        else:
            self.end_line()

    def end_row(self) -> None:
        """End the innermost row, and put its text into what holds it."""
        self.end_cell()
        if self._open[-1].kind != "row":
            return
        row = self._open.pop()
        cells = [cell for cell in row.pieces if cell]
        self.end_line()
        if len(cells) > 1 and not row.holds_table:
            cells = [_joined(cells)]
        for cell in cells:
            self._append(cell)
            self.end_line()

    def text(self) -> str:
        """The whole text. Rows that are still open are ended."""
        while len(self._open) > 1:
            self.end_row()
        return "".join(self._open[0].pieces)

    def _append(self, text: str) -> None:
        part = self._open[-1]
        if part.kind == "row":  # text between two cells
            part.pieces.append(text.strip())
        else:
            if part.pieces:
                part.pieces.append(_SEPARATORS[part.gap])
            part.pieces.append(text)
        part.gap = "none"
        self.size += len(text) if part.kind == "document" else 0

    def _widen(self, gap: _Gap) -> None:
        part, order = self._open[-1], list(_SEPARATORS)
        part.gap = max(part.gap, gap, key=order.index)


def _joined(cells: list[str]) -> str:
    """A row's cells as one line."""
    line = "\t".join(" ".join(cell.split()) for cell in cells)
    return _CLOSING_CELL.sub("", _OPENING_CELL.sub(r"\1", line))
