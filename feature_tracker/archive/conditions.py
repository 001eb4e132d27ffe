"""The language of alerts: comparisons of features, joined by AND, OR, NOT and parentheses.

    condition   = all { "OR" all }
    all         = one { "AND" one }
    one         = "NOT" one | "(" condition ")" | comparison
    comparison  = subject [ measure ] ( ">" | ">=" | "<" | "<=" ) number
    subject     = L16/F283 | "words of a label"
    measure     = distinctiveness | max | mean | share

Such as `L16/F283 > 3 AND NOT ("dividends" share > 0.1 OR L4/F2 max > 8)`. NOT binds closest, then AND. Without a
measure it is distinctiveness. Words in quotes stand for every feature whose label holds them, and for the highest of
these.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, cast, get_args

import numpy as np

from feature_tracker.errors import TrackerError
from feature_tracker.feature import Feature

Measure = Literal["distinctiveness", "max", "mean", "share"]

_DEEPEST = 30  # parentheses and NOTs within each other
_TOKEN = re.compile(r'\s*(L\d{1,4}/F\d{1,9}|"[^"]*"|-?\d+(?:\.\d+)?|[<>]=?|[()]|[A-Za-z]+|\S)')
_COMPARE: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    ">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le
}  # fmt: skip


@dataclass(frozen=True)
class Comparison:
    """One measure of a feature, or of features by the words of their label, against a number."""

    subject: Feature | str
    measure: Measure
    sign: str
    threshold: float

    def holds(self, values: np.ndarray) -> np.ndarray:
        """Where values meet it."""
        return _COMPARE[self.sign](values, self.threshold)


@dataclass(frozen=True)
class Combination:
    """Conditions joined by `AND` or `OR`, or one condition under `NOT`."""

    how: Literal["AND", "OR", "NOT"]
    parts: tuple[Condition, ...]


Condition = Comparison | Combination


def comparisons(condition: Condition) -> Iterator[tuple[Comparison, bool]]:
    """Every comparison of a condition, and whether it stands under an odd number of NOTs."""
    if isinstance(condition, Comparison):
        yield condition, False
    else:
        for part in condition.parts:
            for comparison, is_denied in comparisons(part):
                yield comparison, is_denied != (condition.how == "NOT")


def evaluate(condition: Condition, values_of: Callable[[Comparison], np.ndarray]) -> np.ndarray:
    """(n_documents,) bool, where a condition holds.

    Args:
        values_of: (n_documents,) values that a comparison is about.
    """
    if isinstance(condition, Comparison):
        return condition.holds(values_of(condition))
    parts = np.stack([evaluate(part, values_of) for part in condition.parts])
    if condition.how == "NOT":
        return ~parts[0]
    return (np.logical_and if condition.how == "AND" else np.logical_or).reduce(parts, axis=0)


def parse_condition(text: str) -> Condition:
    """Read a condition.

    Raises:
        TrackerError: it isn't one; the message says where.
    """
    return _Parser(text).whole()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = [(match[1], match.start(1)) for match in _TOKEN.finditer(text.rstrip())]
        self._at = 0

    def whole(self) -> Condition:
        condition = self._joined("OR", 0)
        if self._at < len(self._tokens):
            raise self._error("AND, OR or the end")
        return condition

    def _joined(self, word: Literal["OR", "AND"], depth: int) -> Condition:
        parts = [self._joined("AND", depth) if word == "OR" else self._one(depth)]
        while self._takes(word):
            parts.append(self._joined("AND", depth) if word == "OR" else self._one(depth))
        return Combination(word, tuple(parts)) if len(parts) > 1 else parts[0]

    def _one(self, depth: int) -> Condition:
        if depth > _DEEPEST:
            raise TrackerError(f"A condition has more than {_DEEPEST} parentheses or NOTs within each other.")
        if self._takes("NOT"):
            return Combination("NOT", (self._one(depth + 1),))
        if self._takes("("):
            condition = self._joined("OR", depth + 1)
            if not self._takes(")"):
                raise self._error(")")
            return condition
        return self._comparison()

    def _comparison(self) -> Comparison:
        token = self._next(r'L\d+/F\d+|".*\S.*"', 'a feature such as L16/F283, words of a label in "quotes", NOT or (')
        subject = Feature.named(token) or token.strip('"').strip()
        measure: Measure = "distinctiveness"
        if self._peek() in get_args(Measure):
            measure = cast(Measure, self._next(".*", "a measure"))
        sign = self._next("[<>]=?", f">, >=, <, <= or one of {', '.join(get_args(Measure))}")
        return Comparison(subject, measure, sign, float(self._next(r"-?\d+(\.\d+)?", "a number")))

    def _peek(self) -> str:
        return self._tokens[self._at][0] if self._at < len(self._tokens) else ""

    def _takes(self, token: str) -> bool:
        matches = self._peek() == token
        self._at += matches
        return matches

    def _next(self, pattern: str, expected: str) -> str:
        token = self._peek()
        if not token or not re.fullmatch(pattern, token):
            raise self._error(expected)
        self._at += 1
        return token

    def _error(self, expected: str) -> TrackerError:
        token, at = self._tokens[self._at] if self._at < len(self._tokens) else ("", len(self._text))
        found = f"{token!r} at character {at + 1}" if token else "the end"
        return TrackerError(f"expected {expected}; found {found} of: {self._text.strip()}")
