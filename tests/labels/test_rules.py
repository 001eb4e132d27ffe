from __future__ import annotations

import numpy as np
import pytest

from bundles.errors import TrackerError
from labels.rules import Clause, Contexts, Rule, rule_from_json, rule_to_json
from labels.token_sets import TokenSets

# Two windows of BOS and four tokens: "rates rose , and" and "the rates fell ,".
FORMS = np.array(["<bos>", "rates", "rose", ",", "and", "the", "fell"], dtype=object)
TOKENS = np.array([[0, 1, 2, 3, 4], [0, 5, 1, 6, 3]])
EVERY = np.arange(8)


@pytest.fixture
def sets() -> TokenSets:
    group_of = np.array([-1, 0, 1, -1, -1, -1, 1], np.int32)
    classes = np.zeros((7, 1), bool)
    classes[[3]] = True
    mass = np.full(4, 0.01)
    return TokenSets(
        FORMS, group_of, ["commas", "rates", "rose, fell", "rates, rose, fell"], classes, [[0], [1], [0, 1]], mass
    )


def held(clause: Clause, sets: TokenSets) -> list[int]:
    return np.flatnonzero(Contexts(TOKENS, EVERY, sets).holds(clause)).tolist()


def test_a_token_clause_looks_at_the_token_itself(sets: TokenSets) -> None:
    assert held(Clause("token", words=("rates", "and")), sets) == [0, 3, 5]
    assert held(Clause("token", set_name="commas"), sets) == [2, 7]
    assert held(Clause("token", set_name="rates, rose, fell"), sets) == [0, 1, 5, 6]


def test_a_previous_clause_looks_at_the_token_before_and_not_into_the_window_before(sets: TokenSets) -> None:
    assert held(Clause("previous", words=("rates",)), sets) == [1, 6]
    assert held(Clause("previous", words=("and",)), sets) == []


def test_a_near_clause_looks_back_and_never_at_the_token_or_across_the_start(sets: TokenSets) -> None:
    assert held(Clause("near", set_name="rates"), sets) == [1, 2, 3, 6, 7]


def test_a_passage_clause_counts(sets: TokenSets) -> None:
    assert held(Clause("passage", set_name="rates, rose, fell", at_least=2), sets) == [2, 3, 7]


def test_group_counts_agree_with_counting_one_by_one(sets: TokenSets) -> None:
    generator = np.random.default_rng(0)
    tokens = np.concatenate([np.zeros((5, 1), int), generator.integers(1, 7, (5, 30))], axis=1)
    positions = generator.integers(0, 150, 40)
    counts = Contexts(tokens, positions, sets).group_counts(6)
    for row, position in enumerate(positions):
        window, column = tokens[position // 30], 1 + position % 30
        before = [sets.group_of[token] for token in window[max(1, column - 6) : column]]
        assert counts[row].tolist() == [before.count(0), before.count(1)]


def test_a_rule_fires_where_a_clause_holds_and_none_of_the_exceptions(sets: TokenSets) -> None:
    rule = Rule(
        (Clause("token", words=("rates",)), Clause("token", set_name="commas")), (Clause("previous", words=("the",)),)
    )
    assert np.flatnonzero(Contexts(TOKENS, EVERY, sets).fires(rule)).tolist() == [0, 2, 7]


def test_a_rule_survives_json() -> None:
    rule = Rule((Clause("token", words=("€", "-ing")),), (Clause("passage", set_name="rates", at_least=2),))
    assert rule_from_json(rule_to_json(rule)) == rule


@pytest.mark.parametrize("text", ["", "{}", '{"fires_on": [{"where": "token"}], "but_not": []}', "[1]"])
def test_what_is_no_rule_is_refused(text: str) -> None:
    with pytest.raises(TrackerError):
        rule_from_json(text)


def test_an_unknown_set_is_named(sets: TokenSets) -> None:
    with pytest.raises(TrackerError, match="'bonds'"):
        held(Clause("token", set_name="bonds"), sets)
