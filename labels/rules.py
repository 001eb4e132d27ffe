"""Rules: what a label says, in a form that a program can check."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from bundles.errors import TrackerError
from labels.token_sets import TokenSets

Where = Literal["token", "previous", "near", "passage"]

REACH = {"near": 6, "passage": 48}
"""How many tokens before the current one `near` and `passage` look at; they don't look across a window's start."""


@dataclass(frozen=True)
class Clause:
    """A condition on a token in its context.

    Attributes:
        where: `token` looks at the token itself, `previous` at the one before, the others at the last `REACH`.
        words: the word forms it looks for (see `token_sets.word_form`), or
        set_name: the named set it looks for.
        at_least: how many of the tokens looked at must be among them.
    """

    where: Where
    words: tuple[str, ...] = ()
    set_name: str = ""
    at_least: int = 1

    def __post_init__(self) -> None:
        if bool(self.words) == bool(self.set_name):
            raise TrackerError("A clause looks for either words or one named set.")


@dataclass(frozen=True)
class Rule:
    """Says that a feature fires where any clause of `fires_on` holds and none of `but_not`."""

    fires_on: tuple[Clause, ...]
    but_not: tuple[Clause, ...] = ()


def rule_to_json(rule: Rule) -> str:
    """A rule as one line of JSON."""
    content = {"fires_on": [_to_dict(c) for c in rule.fires_on], "but_not": [_to_dict(c) for c in rule.but_not]}
    return json.dumps(content, ensure_ascii=False)


def rule_from_json(text: str) -> Rule:
    """What `rule_to_json` wrote.

    Raises:
        TrackerError: it is no rule.
    """
    try:
        content = json.loads(text)
        parts = [tuple(_from_dict(entry) for entry in content[key]) for key in ("fires_on", "but_not")]
    except (ValueError, KeyError, TypeError) as error:
        raise TrackerError(
            f"Expected a rule as JSON with fires_on and but_not, found {text[:80]!r} ({error})."
        ) from None
    return Rule(*parts)


def _to_dict(clause: Clause) -> dict[str, Any]:
    found: dict[str, Any] = {"where": clause.where}
    found |= {"words": list(clause.words)} if clause.words else {"set": clause.set_name}
    return found | ({"at_least": clause.at_least} if clause.at_least > 1 else {})


def _from_dict(entry: dict[str, Any]) -> Clause:
    return Clause(entry["where"], tuple(entry.get("words", ())), entry.get("set", ""), entry.get("at_least", 1))


class Contexts:
    """Which conditions hold at chosen positions of a text cut into windows."""

    def __init__(self, token_ids: np.ndarray, positions: np.ndarray, sets: TokenSets) -> None:
        """See `Firings` for positions; token_ids (n_windows, window) start with BOS."""
        body = token_ids.shape[1] - 1
        self._sets = sets
        self._rows, self._columns = positions // body, 1 + positions % body
        self._token_ids = token_ids
        self.current = token_ids[self._rows, self._columns]
        self.previous = token_ids[self._rows, self._columns - 1]

    def __len__(self) -> int:
        """How many positions."""
        return len(self.current)

    def before(self, reach: int) -> np.ndarray:
        """(n_positions, reach) the tokens before, -1 where the window has begun."""
        columns = self._columns[:, None] - np.arange(1, reach + 1)
        found = self._token_ids[self._rows[:, None], np.maximum(columns, 0)]
        return np.where(columns > 0, found, -1)

    def group_counts(self, reach: int) -> np.ndarray:
        """(n_positions, n_groups) how many of the `reach` tokens before are in each smallest group."""
        n_groups = int(self._sets.group_of.max()) + 1
        before = self.before(reach)
        groups = np.where(before >= 0, self._sets.group_of[before], -1)
        keys = (np.arange(len(self))[:, None] * (n_groups + 1) + groups + 1).ravel()
        counts = np.bincount(keys, minlength=len(self) * (n_groups + 1)).reshape(len(self), n_groups + 1)
        return counts[:, 1:]

    def holds(self, clause: Clause) -> np.ndarray:
        """(n_positions,) bool."""
        wanted = self._wanted(clause)
        if clause.where == "token":
            return wanted[self.current]
        if clause.where == "previous":
            return wanted[self.previous]
        before = self.before(REACH[clause.where])
        return ((before >= 0) & wanted[before]).sum(axis=1) >= clause.at_least

    def fires(self, rule: Rule) -> np.ndarray:
        """(n_positions,) bool: what the rule predicts."""
        return self._any(rule.fires_on) & ~self._any(rule.but_not)

    def _any(self, clauses: Sequence[Clause]) -> np.ndarray:
        held = np.zeros(len(self), bool)
        for clause in clauses:
            held |= self.holds(clause)
        return held

    def _wanted(self, clause: Clause) -> np.ndarray:
        if clause.words:
            wanted = np.zeros(len(self._sets.forms), bool)
            for word in clause.words:
                wanted[self._sets.tokens_of.get(word, [])] = True
            return wanted
        try:
            return self._sets.members[:, self._sets.number[clause.set_name]]
        except KeyError:
            raise TrackerError(
                f"No set of tokens is called {clause.set_name!r}: the label table and its groups file don't belong "
                "together. Take both from one run of python -m labels make."
            ) from None
