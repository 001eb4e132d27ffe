"""Read documents: files of several kinds to text, tags out of pasted text, and whether a text is English.

What reads one kind of file has a module and a library of its own, imported once a file of that kind is read.
"""

from __future__ import annotations

from feature_tracker.reading.document import MAX_BYTES, ReadDocument
from feature_tracker.reading.kinds import SUFFIXES
from feature_tracker.reading.language import language_note
from feature_tracker.reading.read import read_document
from feature_tracker.reading.tags import has_tags, strip_tags

__all__ = [
    "MAX_BYTES",
    "SUFFIXES",
    "ReadDocument",
    "has_tags",
    "language_note",
    "read_document",
    "strip_tags",
]
