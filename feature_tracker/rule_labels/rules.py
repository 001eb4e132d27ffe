"""Rules: what a label says, in a form that a program can check, and how it is put in words."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from feature_tracker.errors import TrackerError
from feature_tracker.rule_labels.context_likeness import WHERE, ContextLikeness, Where
from feature_tracker.rule_labels.lexicon import Lexicon

THRESHOLD = 0.2
"""How much likeness makes a rule fire, the same for every rule."""

TOO_RARE = "fires too rarely to be labelled"
"""Label of a feature for which no rule was learnt."""

_PLACE: dict[Where, str] = {
    "token": "",
    "previous": "after ",
    "near": "soon after ",
    "passage": "in passages on ",
}


class Mention(NamedTuple):
    """What a rule speaks of.

    Attributes:
        where: the place that is looked at.
        name: of the kind of words that stand there; for `passage` of a topic.
        shown: what a label calls it, where that is not its name.
    """

    where: Where
    name: str
    shown: str = ""


@dataclass(frozen=True)
class Rule:
    """Says that a feature fires where likeness to all of `like`, less that to all of `unlike`, exceeds `THRESHOLD`."""

    like: tuple[Mention, ...]
    unlike: tuple[Mention, ...] = ()


def likeness_to(rule: Rule, contexts: ContextLikeness, lexicon: Lexicon) -> np.ndarray:
    """(n_positions,) float32 likeness to what a rule names, less that to what it rules out.

    Raises:
        TrackerError: the lexicon has no kind or topic of a name in the rule.
    """
    total: np.ndarray | None = None
    for where in WHERE:
        signs = _signs(rule, where, lexicon)
        if signs.any():
            likeness = contexts.likeness(where) @ signs
            total = likeness if total is None else total + likeness
    return np.zeros(len(contexts), np.float32) if total is None else total


def fires(rule: Rule, contexts: ContextLikeness, lexicon: Lexicon) -> np.ndarray:
    """(n_positions,) bool: what a rule predicts."""
    return likeness_to(rule, contexts, lexicon) > THRESHOLD


def rule_to_text(rule: Rule | None) -> str:
    """A phrase that names everything in a rule: what it fires on, then what it leaves out.

    A family of words is called by two of them with a stroke between, as "mentioned/discussed"; see `wording`.
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
        names = [mention.shown or mention.name for mention in mentions if mention.where == where]
        if names:
            phrases.append(_PLACE[where] + ", ".join(names))
    return phrases


def rule_to_json(rule: Rule) -> str:
    """A rule as one line of JSON."""
    content = {key: [list(filter(None, mention)) for mention in getattr(rule, key)] for key in ("like", "unlike")}
    return json.dumps(content, ensure_ascii=False)


def rule_from_json(text: str) -> Rule:
    """What `rule_to_json` wrote.

    Raises:
        TrackerError: it is no rule.
    """
    try:
        content = json.loads(text)
        return Rule(*(tuple(_mention(entry) for entry in content[key]) for key in ("like", "unlike")))
    except (ValueError, KeyError, TypeError) as error:
        raise TrackerError(f"Expected a rule as JSON with like and unlike, found {text[:80]!r} ({error}).") from None


def _mention(entry: Any) -> Mention:
    mention = Mention(*entry)
    if mention.where not in WHERE or not all(isinstance(part, str) for part in mention):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ValueError(f"{entry} is no mention")
    return mention


def _signs(rule: Rule, where: Where, lexicon: Lexicon) -> np.ndarray:
    """(n,) float32: 1 for what the rule names there, -1 for what it rules out."""
    names = lexicon.topic_names if where == "passage" else lexicon.kinds
    signs = np.zeros(len(names), np.float32)
    for sign, mentions in ((1, rule.like), (-1, rule.unlike)):
        for mention in mentions:
            if mention.where == where:
                signs[_index(names, mention)] += sign
    return signs


def _index(names: list[str], mention: Mention) -> int:
    try:
        return names.index(mention.name)
    except ValueError:
        raise TrackerError(
            f"The lexicon has no {mention.name!r}: the label table and the lexicon don't belong together. Take both "
            "from one run of feature-tracker labels make."
        ) from None
