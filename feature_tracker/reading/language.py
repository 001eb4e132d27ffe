"""Whether a text is English prose, which the features and their labels were made from."""

from __future__ import annotations

import re

_MIN_WORDS = 20
_SAMPLE = 50_000  # characters, so that the page can ask after every change
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")

# English function words that French, German, Dutch, Spanish, Portuguese, Italian or a Nordic language has, too: they
# tell nothing.
_SHARED = """
a all am an any are as at be by can do during even had has he her i in is it me more most no now of off on once one or
over own per so under up us was we
"""
# Of the words, those that only English has. 600 characters of English prose have 0.17 to 0.28 (median by source) and
# hardly ever under 0.09, headlines 0.06; other languages have at most 0.025.
_MIN_SHARE = 0.04
_MADE_FROM = "The features and their labels were made from English finance and general text"


def language_note(text: str) -> str:
    """A sentence on what to expect where a text is too short or doesn't look like English; else an empty string.

    Only the beginning of a long text is looked at.
    """
    # This module brings NumPy, which the page's first screen does without.
    from feature_tracker.text import FUNCTION_WORDS  # noqa: PLC0415

    words = [word.lower().replace("’", "'") for word in _WORD.findall(text[:_SAMPLE])]
    if len(words) < _MIN_WORDS:
        return f"This text has fewer than {_MIN_WORDS} words. {_MADE_FROM}; from so few words they tell little."
    english = FUNCTION_WORDS.difference(_SHARED.split())
    if sum(word in english for word in words) < _MIN_SHARE * len(words):
        return (
            "This text doesn't look like English prose: it may be in another language, or a table. "
            f"{_MADE_FROM}, and tell less about other text."
        )
    return ""
