"""Find the rule that best predicts where a feature fires."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from feature_tracker.rule_labels.context_likeness import WHERE, ContextLikeness, Where
from feature_tracker.rule_labels.firings import Firings
from feature_tracker.rule_labels.lexicon import Lexicon
from feature_tracker.rule_labels.rules import THRESHOLD, Mention, Rule
from feature_tracker.rule_labels.score import balanced_sample

_MIN_FIRING = 20
"""Firing positions below which nothing is learnt."""

_ROUNDS = 4
"""At most so often every mention is exchanged for a better one before the next is added."""

_SETTLED = 5e-4
"""Another round of exchanges follows one that added this much to F1."""

_REACH = 1.2
"""One more mention changes nothing on positions further than this from the threshold."""


@dataclass(frozen=True, kw_only=True)
class LearnConfig:
    """How a rule is learnt.

    Attributes:
        mentions: at most so many, so that the label stays short.
        where: what they may look at.
        sample: firing positions it is learnt on, and as many silent ones.
        min_gain: every mention must add so much to F1.
        shortlist: mentions whose F1 is worked out at each step, the most promising ones of each sign.
    """

    mentions: int = 5
    where: tuple[Where, ...] = WHERE
    sample: int = 7000
    min_gain: float = 0.004
    shortlist: int = 64


def learn_rule(
    firings: Firings, latent: int, lexicon: Lexicon, config: LearnConfig, rng: np.random.Generator
) -> Rule | None:
    """The rule of at most `config.mentions` mentions with the best F1 found on a balanced sample of the training text.

    Mentions are added one after the other, the one that gives the best F1 first; after each, every one is exchanged
    where another does better.

    Returns:
        None where the latent fires on fewer than 20 positions.
    """
    sample = balanced_sample(firings, latent, config.sample, rng)
    n_firing = int(sample.fires.sum())
    if n_firing < _MIN_FIRING:
        return None
    contexts = ContextLikeness(firings.token_ids, sample.positions, lexicon)
    mentions = _all_mentions(lexicon, config.where)
    columns = np.concatenate([contexts.likeness(where) for where in config.where], axis=1).T
    taken = _Search(np.ascontiguousarray(columns), n_firing, config).run()
    return Rule(
        tuple(mentions[column] for sign, column in taken if sign > 0),
        tuple(mentions[column] for sign, column in taken if sign < 0),
    )


def _all_mentions(lexicon: Lexicon, where: Sequence[Where]) -> list[Mention]:
    names = {place: lexicon.topic_names if place == "passage" else lexicon.kinds for place in where}
    return [Mention(place, name) for place in where for name in names[place]]


_Signed = tuple[int, int]
"""A sign, 1 or -1, and a column."""


class _Search:
    """Greedy search for signed columns whose sum exceeds the threshold on firing positions only."""

    def __init__(self, columns: np.ndarray, n_firing: int, config: LearnConfig) -> None:
        """Columns are (n_columns, n_positions) float32, firing positions first."""
        self._columns, self._n_firing, self._config = columns, n_firing, config
        self._fires = np.arange(columns.shape[1]) < n_firing

    def run(self) -> list[_Signed]:
        """What was taken, in the order in which it was."""
        taken: list[_Signed] = []
        total, f1 = np.zeros(self._columns.shape[1], np.float32), 0.0
        while len(taken) < self._config.mentions:
            better, found = self._best(total, f1, taken)
            if found is None or better < f1 + self._config.min_gain:
                break
            taken.append(found)
            total, f1 = total + self._signed(found), better
            for _ in range(_ROUNDS):
                before = f1
                for place in range(len(taken)):
                    total, f1 = self._exchange(total, f1, taken, place)
                if f1 < before + _SETTLED:
                    break
        return self._weightiest_first(taken, total, f1)

    def _weightiest_first(self, taken: list[_Signed], total: np.ndarray, f1: float) -> list[_Signed]:
        """Those without which F1 would be lower by `min_gain`, the one that is missed most first."""
        without = [float(self._f1(total - self._signed(mention) > THRESHOLD)) for mention in taken]
        order = np.argsort(without, kind="stable").tolist()
        if len(taken) > 1 and without[order[-1]] > f1 - self._config.min_gain:
            least = taken[order[-1]]
            kept = [mention for mention in taken if mention != least]
            return self._weightiest_first(kept, total - self._signed(least), without[order[-1]])
        return [taken[place] for place in order]

    def _f1(self, predicted: np.ndarray) -> np.ndarray:
        """F1 of predictions (..., n_positions), as if half the positions fired."""
        recall = predicted[..., : self._n_firing].mean(axis=-1)
        false_alarms = predicted[..., self._n_firing :].mean(axis=-1)
        return 2 * recall / (1 + recall + false_alarms)

    def _exchange(self, total: np.ndarray, f1: float, taken: list[_Signed], place: int) -> tuple[np.ndarray, float]:
        """Put in the place of one that was taken what does better with the others, if anything does."""
        others = total - self._signed(taken[place])
        better, found = self._best(others, f1, taken[:place] + taken[place + 1 :])
        if found is None or better <= f1:
            return total, f1
        taken[place] = found
        return others + self._signed(found), better

    def _best(self, total: np.ndarray, f1: float, taken: list[_Signed]) -> tuple[float, _Signed | None]:
        """The best F1 that one more column gives, and which column does."""
        used = [column for _, column in taken]
        best, found = 0.0, None
        for sign, promise in zip((1, -1), self._promise(total, f1), strict=True):
            promise[used] = -np.inf
            n = min(self._config.shortlist, len(promise) - 1)
            columns = np.argpartition(-promise, n)[:n]
            # A position fires where total + sign * column exceeds the threshold.
            predicted = sign * self._columns[columns] > THRESHOLD - total
            f1s = np.where(np.isin(columns, used), 0, self._f1(predicted))
            if f1s.max() > best:
                best, found = float(f1s.max()), (sign, int(columns[f1s.argmax()]))
        return best, found

    def _promise(self, total: np.ndarray, f1: float) -> tuple[np.ndarray, np.ndarray]:
        """(n_columns,) how much each column should add to F1, with sign 1 and with sign -1.

        With recall r on firing and false-alarm rate q on silent positions, F1 = 2r / (1 + r + q), and where F1 is f,
        it grows as (2 - f) r - f q does (Dinkelbach 1967). A column that is added can only turn on positions below
        the threshold, one that is taken off only those above.
        """
        f1 = max(f1, 0.6)
        worth = np.where(self._fires, (2 - f1) / self._n_firing, -f1 / max(1, len(self._fires) - self._n_firing))
        below = (total <= THRESHOLD) & (total > THRESHOLD - _REACH)
        above = (total > THRESHOLD) & (total < THRESHOLD + _REACH)
        weights = np.stack([np.where(below, worth, 0), np.where(above, -worth, 0)], axis=1)
        added, taken_off = (self._columns @ weights.astype(np.float32)).T
        return added, taken_off

    def _signed(self, mention: _Signed) -> np.ndarray:
        sign, column = mention
        return sign * self._columns[column]
