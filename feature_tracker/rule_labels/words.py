"""What a token is called, whatever its case and the spaces around it."""

from __future__ import annotations

import numpy as np

UNREADABLE = "\ufffd"
"""Stands in the text of a token that is a part of a character."""

_SIGNS = {
    ",": "comma", ".": "full stop", ";": "semicolon", ":": "colon", "?": "question mark", "!": "exclamation mark",
    "-": "hyphen", "–": "dash", "—": "dash", "--": "dash", "'": "apostrophe", "’": "apostrophe",
    '"': "quotation mark", "“": "opening quotation mark", "”": "closing quotation mark", "(": "opening bracket",
    ")": "closing bracket", "[": "opening bracket", "]": "closing bracket", "$": "dollar sign", "%": "percent sign",
    "/": "slash", "<": "less-than sign", ">": "greater-than sign", "&": "ampersand", ",\"": "comma and quotation mark",
    ".\"": "full stop and quotation mark", "),": "bracket and comma", ").": "bracket and full stop",
}  # fmt: skip


SIGN_NAMES = frozenset((*_SIGNS.values(), "space", "line break"))
"""What tokens are called that are no words."""


_STEM = 4


def same_stem(first: str, second: str) -> bool:
    """Whether two words are taken for forms of one: they have as many first letters in common as `_STEM`."""
    return first[:_STEM] == second[:_STEM]


def word_forms(texts: list[str]) -> np.ndarray:
    """`word_form` of a whole vocabulary, (vocabulary,) str."""
    return np.array([word_form(text) for text in texts], dtype=str)


def word_form(text: str) -> str:
    """What a token is called: case and outer spaces don't matter, but the inside of a word is told from a word.

    ` Rate`, `Rate` and ` rate` are all `rate`; the `rate` that goes on a word is `-rate`. Common signs have names,
    because a list of words parted by commas can't show a comma.
    """
    bare = text.strip(" ")
    if bare in _SIGNS:
        return _SIGNS[bare]
    if bare == "":
        return "space"
    if bare.strip("\n\t\r") == "":
        return "line break"
    return f"-{bare}" if text[0].isalpha() and text[0].islower() else bare.lower()
