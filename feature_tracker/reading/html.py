"""The text of a web page, inline XBRL among them, as a browser shows it."""

from __future__ import annotations

import re

from feature_tracker.reading.document import ReadDocument, require_length, tidy
from feature_tracker.reading.layout import TextLayout

_CHUNK = 1 << 18  # characters; the length of the text is checked after each

LEFT_OUT = frozenset(("head", "noscript", "script", "style", "svg", "template", "title", "ix:header", "ix:hidden"))
"""Elements that a browser doesn't show or that hold no prose. XBRL's header lists facts beside those in the text."""
_PARAGRAPHS = """
address article aside blockquote body center dd div dl dt fieldset figure footer form h1 h2 h3 h4 h5 h6 header hr main
nav ol p pre section table ul
"""
_ENDS_PARAGRAPH = frozenset(_PARAGRAPHS.split())
_ENDS_LINE = frozenset(("button", "caption", "figcaption", "label", "legend", "li", "option", "summary", "textarea"))
_CELLS = frozenset(("td", "th"))
_NOT_DISPLAYED = re.compile(r"display\s*:\s*none", re.IGNORECASE)


def read_html(text: str) -> ReadDocument:
    """Read a web page.

    Args:
        text: the page, decoded.

    Raises:
        TrackerError: it holds more text than can be read.
    """
    target = read_tags(text, keep_lines=False)
    notes = ("The filing's hidden XBRL data was left out.",) if target.has_xbrl else ()
    return ReadDocument(tidy(target.layout.text()), notes)


def read_tags(text: str, *, keep_lines: bool) -> PageTarget:
    """Read HTML, or a text with some tags in it.

    Args:
        keep_lines: white space counts, as in `<pre>`.

    Raises:
        TrackerError: it holds more text than can be read.
    """
    from lxml.etree import HTMLParser  # noqa: PLC0415 - the page starts without it

    target = PageTarget(keep_lines=keep_lines)
    # The target is told of tags and text one after the other. No tree is built: it would take many times the file's
    # memory. Without `huge_tree`, lxml drops what follows a comment or script of 10 MB, or never returns.
    parser = HTMLParser(target=target, encoding="utf-8", huge_tree=True)
    for start in range(0, len(text), _CHUNK):
        # Half a character (a lone surrogate) is no UTF-8.
        parser.feed(text[start : start + _CHUNK].encode("utf-8", "replace"))
        require_length(target.layout.size)
    if text:
        parser.close()
    return target


class PageTarget:
    """What lxml tells about a page's tags and text; every start has its end.

    Attributes:
        layout: the text.
        has_xbrl: whether the page has a header of inline XBRL.
    """

    def __init__(self, *, keep_lines: bool) -> None:
        self.layout = TextLayout()
        self.has_xbrl = False
        self._left_out = 0  # open elements, from the one that is left out inwards
        self._as_it_is = int(keep_lines)  # open elements in which white space counts

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        """A tag opens."""
        if tag == "ix:header":
            self.has_xbrl = True
        if self._left_out or tag in LEFT_OUT or _is_hidden(attributes):
            self._left_out += 1
        elif tag == "br":
            self.layout.break_line()
        elif tag == "tr":
            self.layout.start_row()
        elif tag in _CELLS:
            self.layout.start_cell()
        else:
            self._end_block(tag)
            self._as_it_is += tag == "pre"

    def end(self, tag: str) -> None:
        """A tag closes, or its element ends without one."""
        if self._left_out:
            self._left_out -= 1
        elif tag == "tr":
            self.layout.end_row()
        elif tag in _CELLS:
            self.layout.end_cell()
        else:
            self._end_block(tag)
            self._as_it_is -= tag == "pre"

    def data(self, text: str) -> None:
        """Text between tags."""
        if self._left_out:
            return
        if self._as_it_is:
            self.layout.add_as_it_is(text)
        else:
            self.layout.add(text)

    def close(self) -> None:
        """The page ends."""

    def _end_block(self, tag: str) -> None:
        if tag in _ENDS_PARAGRAPH:
            self.layout.end_paragraph()
        elif tag in _ENDS_LINE:
            self.layout.end_line()


def _is_hidden(attributes: dict[str, str]) -> bool:
    return "hidden" in attributes or bool(_NOT_DISPLAYED.search(attributes.get("style", "")))
