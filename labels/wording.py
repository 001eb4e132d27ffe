"""Word a rule as a short phrase."""

from __future__ import annotations

from labels.rules import Clause, Rule, Where
from labels.token_sets import TokenSets

UNLABELLED = "fires too rarely to be labelled"

_FIRST, _OTHERS = 4, 3
"""Words shown of the first clause and of the others; all of them stand in the rule."""

_FIRES_ON, _BUT_NOT = 4, 2
"""Clauses shown of either kind."""

_PLACE: dict[Where, str] = {"token": "", "previous": "after ", "near": "soon after ", "passage": "in passages with "}
_MANY = {1: "", 2: "several of ", 4: "many of "}


def word_rule(rule: Rule | None, sets: TokenSets) -> str:
    """A phrase for a rule: what it fires on, the most telling clause first, then what it leaves out.

    An ellipsis stands for words or clauses that the rule has and the phrase does not show.
    """
    if rule is None:
        return UNLABELLED
    # What the token is tells more than where it stands; within either, the order is that of their gain.
    fires_on = sorted(rule.fires_on, key=lambda clause: clause.where != "token")
    phrases = [_word_clause(clause, sets, _OTHERS if i else _FIRST) for i, clause in enumerate(fires_on)]
    barred = [_word_clause(clause, sets, _OTHERS) for clause in rule.but_not]
    phrase = "; ".join(_cut(phrases, _FIRES_ON))
    return f"{phrase}; not {', nor '.join(_cut(barred, _BUT_NOT))}" if barred else phrase


def _cut(phrases: list[str], n: int) -> list[str]:
    distinct = list(dict.fromkeys(phrases))
    return distinct if len(distinct) <= n else [*distinct[:n], "…"]


def _word_clause(clause: Clause, sets: TokenSets, n_words: int) -> str:
    place = _PLACE[clause.where] + _MANY.get(clause.at_least, "")
    if clause.words:
        words, more = list(clause.words[:n_words]), len(clause.words) > n_words
    else:
        index = sets.number[clause.set_name]
        if sets.is_class(index):
            return place + clause.set_name
        words, more = clause.set_name.split(", ")[:n_words], bool(sets.members[:, index].sum() > n_words)
    return place + ", ".join(words) + ("…" if more else "")
