"""What a word is: one definition for rankings, charts, the marked text and exports.

A text is cut at white space and then into words and runs of other signs. Words are what a reader of finance calls
one: `$1,234.5`, `(5.4%)`, `year-end`, `U.S.`, `401(k)`, `AA+`.
"""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

import numpy as np

# The expression below reads a text's shape: each character replaced by one that stands for its kind. `re` can't name
# Unicode categories, and this way every alphabet, digit and currency obeys the same rules.
#   A  letter, not lower-case    a  lower-case letter    0  digit or other number    m  combining mark, joiner
#   H  Han    I  Hiragana    K  Katakana    $  currency    . , : / & @ _ ' ( ) + - %  themselves    !  any other sign
_SAME_SHAPE = {
    **{sign: sign for sign in ".,:/&@_'()+-%"},
    **dict.fromkeys("\u2019\u02bc\uff07\u05f3\u05f4", "'"),  # typographic, modifier, full-width; Hebrew geresh
    **dict.fromkeys("\u2010\u2011\u2212\ufe63\uff0d", "-"),  # hyphen, non-breaking hyphen, minus; no en or em dash
    **dict.fromkeys("\u00b1\uff0b", "+"),
    **dict.fromkeys("\u2030\u2031\uff05", "%"),
    "\u066b": ".",  # Arabic decimal separator
    "\u066c": ",",  # Arabic thousands separator
    "\u200b": "!",  # zero-width space: separates, though Unicode calls it no space
}
_SHAPES_BY_NAME = {"HIRAGANA": "I", "KATAKANA": "K", "HALFWIDTH KATAKANA": "K"}


class _Shapes(dict[int, str]):
    """Code point to shape, for `str.translate`; filled as characters are met."""

    def __missing__(self, code_point: int) -> str:
        shape = self[code_point] = _shape(chr(code_point))
        return shape


def _shape(char: str) -> str:
    if char.isspace():
        return " "
    if char in _SAME_SHAPE:
        return _SAME_SHAPE[char]
    category, name = unicodedata.category(char), unicodedata.name(char, "")
    if category[0] == "M" or category == "Cf" or "PROLONGED SOUND MARK" in name:
        return "m"
    if category == "Sc":
        return "$"
    if category[0] in "LN" and "IDEOGRAPH" in name:
        return "H"
    if category[0] == "N":
        return "0"
    if category[0] != "L":
        return "!"
    scripts = (shape for script, shape in _SHAPES_BY_NAME.items() if name.startswith(script))
    return next(scripts, "a" if category == "Ll" else "A")


_SHAPES = _Shapes()

# Quantifiers are possessive (`*+`) wherever giving characters back can't help, so that the time is linear in the text.
# Those of groups are written as atomic groups, `(?>(?:…)*)`, which is the same: before 3.11.5, Python matched a
# possessive group wrongly (gh-106052).
_NUMBER_IN_BRACKETS = r"""
    (?:A{0,3}\$)? \(                       # ( or $( or US$(
    [+-]? (?:A{0,3}\$)? \.? 0++ (?>(?:[.,']0++)*)
    [Aa]{0,3} [%$]? \) %?                  # (3.5x) (1.2bn) (2024E) (5.4%) (5.4)%
"""
_HEAD = r"""
    (?: (?<![Aa0m%$).+-]) [+-] (?=(?:A{0,3}\$)?\.?0) )?   # the sign of a number: -5.4% +2.1% -US$3
    (?: \$ (?:[+-](?=\.?0))? )?                           # $5 $-5
    (?: (?<![Aa0m%).]) \.(?=0) )?                         # .5 $.50, but not the footnote of sales.5
"""
_PART = r"""
    (?: [Aa] (?>(?:\.[Aa](?![Aa0m]))+) (?:\.(?!a))?       # U.S. e.g. p.m., with the full stop
      | [Aa0][Aa0m]*+
        (?>(?: \((?:[Aa]|a{2,4})\) (?>(?:\([Aa0]{1,4}\))*) [Aa]*+ )?)   # 401(k)s 13(d)(1) share(s)
    )
    [%$]?+                                                # 5.4% 50€ US$
    (?>(?: (?:\+\+?|-) (?![Aa0HIK$+-]) )?)                # AA+ BB- 100+ long- (and short-term)
"""
_JOINT = r"""
    (?: (?<=0) [.,:] (?=0)       # 1,234.5 1.234,50 31.12.2023 10:30
      | (?<=a) \. (?=a)          # example.com, but not end.The
      | (?<=\$) (?:\.(?=0))?     # US$3bn
      | ['&@_]                   # don't Q2'24 1'234 AT&T's ir@example.com net_sales
      | [/-] \$?                 # P/E 12/31/2023 $5/share year-end 10-K 5%-6% $10-$12
    )
"""
_UNIT = re.compile(
    rf"""
    [Aa][Aa0]*+ :// [^\ HIK]* [Aa0/]       # a web address with its path
    | {_NUMBER_IN_BRACKETS}                # (1,234), a negative to an accountant
    | {_HEAD} {_PART} (?>(?: {_JOINT} {_PART} )*)
    | H[Hm]*+ | I[Im]*+ | K[Km]*+          # scripts without spaces are cut where the script changes
    | [^\ Aa0HIK] (?>(?: (?! {_NUMBER_IN_BRACKETS} | {_HEAD}[Aa0] ) [^\ Aa0HIK] )*)   # signs, up to where a word begins
    """,
    re.VERBOSE,
)


_SENTENCE_END = re.compile(r"^[^\w]*[.!?][^\w]*$")
_BLANK_LINE = re.compile(r"\n\s*\n")
_NO_END = frozenset(("Mr", "Mrs", "Ms", "Dr", "St", "Inc", "Corp", "Co", "Ltd", "No", "vs", "Nos"))

_FUNCTION_WORDS = """
a about above after again against all also although among an and any are as at be because been before being below
between both but by can could did do does doing don't down during each either even few for from further had has have
having he her here hers him his how however i if in into is it it's its itself just least less many may me might more
most much must my neither no nor not now of off on once one only onto or other our ours out over own per rather same
shall she should since so some such than that the their theirs them then there these they this those through thus to
too toward towards under until up upon us very was we were what when where whether which while who whom whose why will
with within without would yet you your yours
"""
FUNCTION_WORDS = frozenset(_FUNCTION_WORDS.split())
"""Words, in lower case, that say nothing about a text's subject when they stand alone."""


class TokenWords(NamedTuple):
    """The words of a tokenized text; see `words_of_tokens`.

    Attributes:
        spans: (n_words, 2) int64, each word's first and one-past-last character, ascending.
        word_of: (n_tokens,) int64, each token's row of `spans`, ascending from 0 without gaps.
    """

    spans: np.ndarray
    word_of: np.ndarray


def word_spans(text: str) -> np.ndarray:
    """First and one-past-last character of each word and of each run of other signs, (n, 2) int64.

    The spans ascend, don't overlap, and hold every character that is not white space exactly once.

    - One word each: a number with its sign, currency, separators, unit and per cent sign (`-$1,234.5`, `€1.2bn`,
      `3.5x`, `1.234,50€`, `12/31/2023`); a number in brackets (`(1,234)`, `($1.2)`, `(5.4)%`), which is how accountants
      write a negative; words joined by a hyphen, apostrophe, `&`, `/`, `@` or `_` (`year-end`, `AT&T's`, `Q2'24`);
      abbreviations with their full stops (`U.S.`, `e.g.`); `401(k)`, `13(d)(1)`, `share(s)`; ratings and other words
      with a plus or hyphen at the end (`AA+`, `BB-`, `long-`); web addresses.
    - White space always separates, and so do dashes (`–`, `—`, `--`). A full stop joins inside numbers, abbreviations
      and lower-case names (`example.com`); a comma or colon joins digits only.
    - Han, Hiragana, Katakana, and all other letters with digits separate where they meet.
    - Combining marks and invisible joiners belong to the character before them.
    - What is left, punctuation and symbols, forms runs: `."`, `),`, `--`.
    """
    spans = [match.span() for match in _UNIT.finditer(text.translate(_SHAPES))]
    return np.array(spans, dtype=np.int64).reshape(-1, 2)


def sentence_spans(text: str) -> np.ndarray:
    """First and one-past-last character of each sentence, (n, 2) int64, without the white space between them.

    A sentence ends with the signs after a word if a full stop, question or exclamation mark is among them, white space
    follows, and what comes next doesn't begin with a lower-case letter; or before a blank line. Titles, legal forms and
    initials (`Mr.`, `Inc.`, `Jerome H. Powell`) end none.
    """
    units = word_spans(text)
    sentences, first = [], 0
    for number, (start, end) in enumerate(units):
        is_last = number == len(units) - 1
        between = "" if is_last else text[end : units[number + 1, 0]]
        unit, before = text[start:end], text[slice(*units[number - 1])] if number else ""
        is_short = before in _NO_END or (len(before) == 1 and before.isupper() and before != "I")  # an initial
        ends = bool(_SENTENCE_END.search(unit)) and not is_short and between.isspace()
        ends = ends and not (is_last or text[units[number + 1, 0]].islower())
        if is_last or ends or _BLANK_LINE.search(between):
            sentences.append((units[first, 0], end))
            first = number + 1
    return np.array(sentences, dtype=np.int64).reshape(-1, 2)


def is_word(unit: str) -> bool:
    """Whether a unit of `word_spans` is a word, with a letter or digit, and not a run of signs or white space."""
    return any(map(str.isalnum, unit))


def words_of_tokens(text: str, offsets: np.ndarray) -> TokenWords:
    """Which word each token belongs to; words are the units of `word_spans`, runs of signs among them.

    - A token belongs to the unit that it overlaps. Where it overlaps several, it belongs to the first word among them,
      else to the first unit: the token `),` is signs, `."The` is part of `The`.
    - A token of spaces right before a unit belongs to it, as the space in ` sales` does: some tokenizers cut ` 5` in
      two.
    - Any other token of white space is a unit of its own, so that a line break can be seen and chosen.
    - An empty token (a further token of one character) belongs to the unit of the token before it; at the start of the
      text, of the first token that is not empty.
    - A unit that no token belongs to is left out.

    Args:
        offsets: (n_tokens, 2) first and one-past-last character of each token, ascending, not overlapping.
    """
    spans = word_spans(text)
    firsts = np.searchsorted(spans[:, 1], offsets[:, 0], side="right")
    lasts = np.searchsorted(spans[:, 0], offsets[:, 1], side="left") - 1
    units = firsts.copy()
    for token in np.flatnonzero(lasts > firsts):
        overlapped = range(firsts[token], lasts[token] + 1)
        units[token] = next((unit for unit in overlapped if is_word(text[slice(*spans[unit])])), firsts[token])
    for token in np.flatnonzero(lasts < firsts):
        begins_unit = firsts[token] < len(spans) and spans[firsts[token], 0] == offsets[token, 1]
        is_leading = (
            begins_unit and offsets[token, 0] < offsets[token, 1] and text[slice(*offsets[token])].strip(" ") == ""
        )
        units[token] = firsts[token] if is_leading else len(spans) + token

    is_empty = offsets[:, 0] == offsets[:, 1]
    first_with_text = np.argmin(is_empty) if len(units) else 0
    owners = np.maximum.accumulate(np.where(is_empty, first_with_text, np.arange(len(units))))
    units = units[owners]
    begins = np.diff(units, prepend=-1) != 0
    return TokenWords(np.concatenate([spans, offsets])[units[begins]], np.cumsum(begins) - 1)
