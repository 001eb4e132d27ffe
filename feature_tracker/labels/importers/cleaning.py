"""Clean the labels that other tools wrote. Cleaning cuts and unescapes; it never adds a word."""

from __future__ import annotations

import re
from typing import NamedTuple

from feature_tracker.labels.csv_files import storable

_LONGEST = 4_000  # characters; a label is one sentence, and what runs on can be a whole answer
_LEADING = re.compile(r"^[\s*#>-]*\[?(?:EXPLANATION|Explanation|explanation|LABEL|Label)\]?\s*:[\s*]*")
_RUN_ON = re.compile(
    r"(?:\n|(?:\d{1,3}\.\s{0,3})?\bExample\s+\d+\s*:|\[EXPLANATION\]|\bE(?:XPLANATION|xplanation)\s*:"
    r"|\bExplanation\s+This\s+label\b|\bThis\s+label\s+captures\b)",
)
_SENTENCE_END = re.compile(r"[.!?][\"')\]]*\s+(?=[\"'(\[]?[^\W_a-z])")
_ABBREVIATION = re.compile(
    r"vs|e\.g|i\.e|cf|approx|no|inc|corp|co|ltd|plc|llc|mr|mrs|ms|dr|prof|st|jr|sr|jan|feb|mar|apr|jun|jul|aug|sept?|oct"
    r"|nov|dec|fig|vol|dept|est|(?:[a-z]\.)*[a-z]",
    re.IGNORECASE,
)


class CleanLabel(NamedTuple):
    """A clean label.

    Attributes:
        text: one sentence on one line; empty where nothing is left.
        changes: what was removed; empty where the label was clean.
    """

    text: str
    changes: tuple[str, ...]


def clean_label(original: str) -> CleanLabel:
    r"""Remove damage, escapes, doubled quotes, text of the prompt and all after the first sentence from a label.

    Labels run on into the prompt that made them ("… concepts.\n\nExample 2: [EXPLANATION]: …"), carry the quotes of
    the file they came from, or have more than one sentence. Capitals stay, and so do words that were cut short: how
    they went on isn't known.
    """
    text, changes = original.strip(), []
    for change, step in _STEPS.items():
        changed = step(text)
        if changed != text:
            changes.append(change)
            text = changed
    return CleanLabel(text, tuple(changes))


def _unescape(text: str) -> str:
    text = text.replace("\\n", "\n").replace('\\"', '"')
    if text.endswith("\\"):
        # Tools strip a label's outer quotes, and with them the second half of an escaped quote at its end.
        text = text[:-1] + ('"' if text.count('"') % 2 else "")
    return text.strip()


def _single_quotes(text: str) -> str:
    text = re.sub(r'"{2,}', '"', text)
    if len(text) > 1 and text[0] == text[-1] == '"' and text.count('"') == 2:
        text = text[1:-1]
    return text.strip()


def _without_prompt(text: str) -> str:
    text = _LEADING.sub("", text).strip()
    run_on = _RUN_ON.search(text)
    return text if run_on is None else text[: run_on.start()].strip()


def _first_sentence(text: str) -> str:
    for end in _SENTENCE_END.finditer(text):
        sentence = text[: end.end()].rstrip()
        word = re.split(r"[\s(\"']", text[: end.start()])[-1]
        abbreviated = text[end.start()] == "." and _ABBREVIATION.fullmatch(word)
        # The number of a list item ("1. Prices") is no sentence.
        if not abbreviated and re.search(r"[^\W\d_]{2}", sentence):
            return sentence
    return text


def _one_spaced(text: str) -> str:
    return " ".join(text.split())


def _cut(text: str) -> str:
    return text[:_LONGEST].strip()


_STEPS = {
    "damaged characters": storable,
    "excess length": _cut,
    "escapes": _unescape,
    "doubled quotes": _single_quotes,
    "prompt text": _without_prompt,
    "further sentences": _first_sentence,
    "white space": _one_spaced,
}
