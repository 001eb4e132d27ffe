"""Word a rule as a short phrase."""

from __future__ import annotations

from collections.abc import Sequence

from labels.contexts import WHERE, Where
from labels.lexicon import LIKE
from labels.rules import Mention, Rule

UNLABELLED = "fires too rarely to be labelled"

_PLACE: dict[Where, str] = {
    "token": "",
    "previous": "after ",
    "near": "soon after ",
    "passage": "in passages on ",
}


def word_rule(rule: Rule | None) -> str:
    """A phrase that names everything in a rule: what it fires on, then what it leaves out.

    "like" stands before the words that name families; classes are named as they are.
    """
    if rule is None:
        return UNLABELLED
    fires_on = "; ".join(_word_places(rule.like))
    left_out = ", nor ".join(_word_places(rule.unlike))
    return f"{fires_on}; not {left_out}" if left_out else fires_on


def _word_places(mentions: Sequence[Mention]) -> list[str]:
    """One phrase for every place that mentions look at."""
    phrases = []
    for where in WHERE:
        names = [mention.name for mention in mentions if mention.where == where]
        families = [name.removeprefix(LIKE) for name in names if where != "passage" and name.startswith(LIKE)]
        others = [name for name in names if where == "passage" or not name.startswith(LIKE)]
        if families:
            words = f"like {', '.join(families)}"
            phrases.append(words if where == "token" else f"{_PLACE[where]}words {words}")
        if others:
            phrases.append(_PLACE[where] + ", ".join(others))
    return phrases
