"""Word a rule as a short phrase."""

from __future__ import annotations

from collections.abc import Sequence

from labels.contexts import WHERE, Where
from labels.rules import Mention, Rule

TOO_RARE = "fires too rarely to be labelled"

_PLACE: dict[Where, str] = {
    "token": "",
    "previous": "after ",
    "near": "soon after ",
    "passage": "in passages on ",
}


def word_rule(rule: Rule | None) -> str:
    """A phrase that names everything in a rule: what it fires on, then what it leaves out.

    A family of words is called by two of them with a stroke between, as "mentioned/discussed".
    """
    if rule is None:
        return TOO_RARE
    fires_on = "; ".join(_word_places(rule.like))
    left_out = ", nor ".join(_word_places(rule.unlike))
    return f"{fires_on}; not {left_out}" if left_out else fires_on


def _word_places(mentions: Sequence[Mention]) -> list[str]:
    """One phrase for every place that mentions look at."""
    phrases = []
    for where in WHERE:
        names = [mention.name for mention in mentions if mention.where == where]
        if names:
            phrases.append(_PLACE[where] + ", ".join(names))
    return phrases
