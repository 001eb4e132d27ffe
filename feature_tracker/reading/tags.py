"""HTML tags in text that was pasted: whether there are any, and the text without them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from feature_tracker.reading.document import clean, tidy
from feature_tracker.reading.html import LEFT_OUT, read_tags

_HTML = """
a abbr address article aside b big blockquote body br button caption center cite code col colgroup dd del details div dl
dt em fieldset figcaption figure font footer form h1 h2 h3 h4 h5 h6 head header hr html i iframe img input ins label
legend li link main mark meta nav nobr noscript ol option p pre q s script section select small source span strike
strong style sub summary sup svg table tbody td template textarea tfoot th thead time title tr tt u ul var video wbr
"""
_FILINGS = "c document page sec-document sec-header"  # in filings of plain text
_NAMES = frozenset((_HTML + _FILINGS).split())
_LETTERS = frozenset("abciqsu")  # which may as well stand between two signs, as in x<b>c; not p, which begins pages
_ENDS_LINES = frozenset(("br", "dd", "div", "h1", "h2", "h3", "h4", "h5", "h6", "li", "p", "td", "tr"))
# What a browser doesn't show runs to its closing tag; without one it would take the rest of the text along.
_NEEDS_CLOSING = LEFT_OUT | {"select", "textarea"}

# Repetitions give nothing back, and none runs across a `<`, so that the time is linear in the text.
_TAG = re.compile(
    r"""
    < (?P<slash>/?)
    (?P<name> [A-Za-z][A-Za-z0-9-]*+ (?>(?: :[A-Za-z_][\w.-]*+ )?) )
    (?P<attributes>
        (?>(?: [\s/]++ [A-Za-z_:@][\w:.@-]*+ (?>(?: \s*+ = \s*+ (?: "[^"<]*+" | '[^'<]*+' | [^\s"'<>]++ ) )?) )*)
    )
    [\s/]*+ >
    """,
    re.VERBOSE,
)
_DECLARATION = re.compile(r"<!doctype\b[^<>]*+>|<\?xml\b[^<>]*+>|<!--", re.IGNORECASE)


def has_tags(text: str) -> bool:
    """Whether HTML tags stand in a text. Not taken for one: `a < b > c`, `<5%`, `x<b>c`, `<ir@example.com>`."""
    return any(map(_is_certain, _tags(text)))


def strip_tags(text: str) -> str:
    """The text without HTML tags, as a browser would show it; unchanged where `has_tags` finds none.

    Other signs between `<` and `>` stay. Lines stay where the tags don't say where lines end.

    Raises:
        TrackerError: the text is too long.
    """
    if not has_tags(text):
        return text
    text = clean(text)  # a parser of HTML replaces NUL by a sign that is seen
    tags = list(_tags(text))
    starts = {tag.start for tag in tags}
    escaped = re.sub("<", lambda sign: "<" if sign.start() in starts else "&lt;", text)
    keep_lines = not any(tag.name in _ENDS_LINES for tag in tags)
    return tidy(read_tags(escaped, keep_lines=keep_lines).layout.text())


class _Tag(NamedTuple):
    """A tag, comment or declaration in a text.

    Attributes:
        start: position of its `<`.
        name: in lower case; empty for a comment or declaration.
        closes: whether it closes an element.
        attributes: as they stand.
    """

    start: int
    name: str
    closes: bool
    attributes: str


def _tags(text: str) -> Iterator[_Tag]:
    """Everything in a text that HTML's names make look like a tag."""
    last_closing: dict[str, int] = {}
    found = [
        _Tag(match.start(), match["name"].lower(), bool(match["slash"]), match["attributes"].strip())
        for match in _TAG.finditer(text)
    ]
    for tag in found:
        if tag.closes:
            last_closing[tag.name] = tag.start
    for tag in found:
        is_name = tag.name in _NAMES or ":" in tag.name
        if is_name and (tag.name not in _NEEDS_CLOSING or tag.start <= last_closing.get(tag.name, -1)):
            yield tag
    last_comment = text.rfind("-->")
    for match in _DECLARATION.finditer(text):
        if match[0] != "<!--" or match.start() < last_comment:
            yield _Tag(match.start(), "", closes=False, attributes="")


def _is_certain(tag: _Tag) -> bool:
    """Whether this can hardly be anything but a tag, and so tells that others are."""
    if tag.closes or "=" in tag.attributes:
        return True
    return tag.name not in _LETTERS and not (tag.name == "p" and tag.attributes)
