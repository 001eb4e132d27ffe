from __future__ import annotations

import numpy as np
import pytest

from feature_tracker.archive.conditions import Comparison, comparisons, evaluate, parse_condition
from feature_tracker.errors import TrackerError
from feature_tracker.feature import Feature

A, B, C = "L1/F1 > 0", "L1/F2 > 0", "L1/F3 > 0"


def holds(text: str, true: set[int]) -> bool:
    """Whether a condition over L1/F1, L1/F2 and L1/F3 holds where these are above 0 and the others below."""
    return bool(evaluate(parse_condition(text), lambda c: np.array([1.0 if c.subject.index in true else -1.0]))[0])


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (f"{A} AND {B}", lambda a, b, c: a and b),
        (f"{A} OR {B}", lambda a, b, c: a or b),
        (f"NOT {A}", lambda a, b, c: not a),
        (f"{A} OR {B} AND {C}", lambda a, b, c: a or (b and c)),
        (f"({A} OR {B}) AND {C}", lambda a, b, c: (a or b) and c),
        (f"NOT {A} AND {B}", lambda a, b, c: (not a) and b),
        (f"NOT ({A} AND {B})", lambda a, b, c: not (a and b)),
        (f"NOT NOT {A} OR {B} OR {C}", lambda a, b, c: a or b or c),
        (f"(({A}))AND({B}OR NOT({C}))", lambda a, b, c: a and (b or not c)),
    ],
)
def test_not_binds_closest_then_and_then_or(text: str, rule: object) -> None:
    for bits in range(8):
        true = {at + 1 for at in range(3) if bits >> at & 1}
        assert holds(text, true) == rule(*(at in true for at in (1, 2, 3)))


@pytest.mark.parametrize(
    ("text", "comparison"),
    [
        ("L16/F283 > 3", Comparison(Feature(16, 283), "distinctiveness", ">", 3.0)),
        ("L16/F283>=-1.5", Comparison(Feature(16, 283), "distinctiveness", ">=", -1.5)),
        ("L0/F0 share < 0.25", Comparison(Feature(0, 0), "share", "<", 0.25)),
        ("L0/F0 max <= 8", Comparison(Feature(0, 0), "max", "<=", 8.0)),
        ('"interest rates" mean > 1', Comparison("interest rates", "mean", ">", 1.0)),
        ('"NOT (a OR b)" > 2', Comparison("NOT (a OR b)", "distinctiveness", ">", 2.0)),
    ],
)
def test_a_comparison_is_of_a_feature_or_of_words(text: str, comparison: Comparison) -> None:
    assert parse_condition(text) == comparison


@pytest.mark.parametrize(
    ("sign", "expected"),
    [(">", [0, 0, 1]), (">=", [0, 1, 1]), ("<", [1, 0, 0]), ("<=", [1, 1, 0])],
)
def test_signs_say_whether_the_number_itself_is_in(sign: str, expected: list[int]) -> None:
    assert parse_condition(f"L1/F1 {sign} 2").holds(np.array([1.0, 2.0, 3.0])).tolist() == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a feature .* found the end"),
        ("L16/F283", "expected >, >=, <, <= or one of"),
        ("L16/F283 >", "expected a number; found the end"),
        ("L16/F283 > high", "expected a number; found 'high' at character 12"),
        ("L16/F283 = 3", "found '='"),
        ("L16/F283 loudness > 3", "found 'loudness'"),
        ("F283 > 3", "expected a feature"),
        ("L16/F283 > 3 and L4/F1 > 2", "expected AND, OR or the end; found 'and' at character 14"),
        ("L16/F283 > 3 L4/F1 > 2", "expected AND, OR or the end"),
        ("(L16/F283 > 3", "expected \\); found the end"),
        ("L16/F283 > 3)", "found '\\)'"),
        ("L16/F283 > 3 AND", "found the end"),
        ("AND L16/F283 > 3", "found 'AND'"),
        ('"" > 3', "expected a feature"),
        ('"open > 3', "expected a feature"),
        ("L16/F283 > 3 % 2", "found '%'"),
        ("L99999/F1 > 3", "expected a feature"),
        ("L1/F1 > 1.2.3", "expected AND, OR or the end"),
        ("(" * 5000 + "L1/F1 > 1", "more than 30"),
        ("NOT " * 5000 + "L1/F1 > 1", "more than 30"),
    ],
)
def test_what_is_no_condition_is_refused_with_the_place(text: str, message: str) -> None:
    with pytest.raises(TrackerError, match=message):
        parse_condition(text)


def test_comparisons_under_an_odd_number_of_nots_are_denied() -> None:
    condition = parse_condition(f"{A} AND NOT ({B} OR NOT {C})")
    assert [(c.subject.index, denied) for c, denied in comparisons(condition)] == [(1, False), (2, True), (3, False)]
