"""Find the rule that best predicts where a feature fires."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from labels.firings import Firings
from labels.rules import REACH, Clause, Contexts, Rule, Where
from labels.score import balanced_sample
from labels.token_sets import TokenSets

_FREQUENT = 0.04
"""Sets with a larger share of all tokens stand before nearly every one: `near` and `passage` don't look for them."""

_LEASTS: dict[Where, tuple[int, ...]] = {"near": (1,), "passage": (1, 2, 4)}
"""How many words of a set a clause may ask for."""


@dataclass(frozen=True, kw_only=True)
class LearnConfig:
    """How a rule is learnt.

    Attributes:
        clauses: at most so many.
        rounds: how often the rule is found anew, with own words that suit the rule of the round before.
        sample: firing positions it is learnt on, and as many silent ones.
        words: sizes of a feature's own word lists.
        min_gain: a clause must add so much to recall weighed against false alarms, see `learn_rule`.
        named: what a class's gain is multiplied by: between equals, a set with a name is easier to read.
    """

    clauses: int = 8
    rounds: int = 4
    sample: int = 3000
    words: tuple[int, ...] = (10, 20, 40, 80, 160, 240)
    min_gain: float = 0.005
    named: float = 1.2


@dataclass(frozen=True)
class Vocabulary:
    """What each word form says about one layer's features on the training text.

    Attributes:
        forms: (n_forms,) distinct word forms.
        form_of: (vocabulary,) index of each token's form.
        token_counts: (vocabulary,) positions of each token.
        counts: (n_forms,) positions of each form.
        fired: (n_forms, n_latents) positions of each form on which each latent fires.
    """

    forms: np.ndarray
    form_of: np.ndarray
    token_counts: np.ndarray
    counts: np.ndarray
    fired: np.ndarray


def count_words(firings: Firings, sets: TokenSets) -> Vocabulary:
    """Count word forms on the training text of one layer."""
    forms, form_of = np.unique(sets.forms.astype(str), return_inverse=True)
    tokens = np.bincount(firings.current, minlength=len(form_of))
    fired = np.zeros((len(forms), firings.n_latents), np.int64)
    np.add.at(fired, form_of, firings.token_counts(len(form_of)))
    counts = np.bincount(form_of, weights=tokens).astype(np.int64)
    return Vocabulary(forms, form_of, tokens, counts, fired)


class _Columns:
    """Candidate clauses and where they hold.

    Attributes:
        clauses: n_clauses of them.
        held: (n_positions, n_clauses) bool.
        as_float: the same as float32, to be multiplied.
        factor: (n_clauses,) what a clause's gain is multiplied by.
    """

    def __init__(self, clauses: list[Clause], held: np.ndarray, factor: np.ndarray) -> None:
        self.clauses, self.held, self.factor = clauses, held, factor
        self.as_float = held.astype(np.float32)

    @classmethod
    def of(cls, contexts: Contexts, sets: TokenSets, config: LearnConfig) -> _Columns:
        """The clauses that speak of sets."""
        n_classes = sets.classes.shape[1]
        clauses = [Clause(where, set_name=name) for where in ("token", "previous") for name in sets.names]
        held = [sets.members[contexts.current], sets.members[contexts.previous]]
        named = np.where(np.arange(len(sets.names)) < n_classes, config.named, 1.0)
        rare = np.flatnonzero(sets.mass[n_classes:] < _FREQUENT)
        in_union = np.zeros((int(sets.group_of.max()) + 1, len(rare)), np.float32)
        for column, union in enumerate(rare):
            in_union[sets.unions[union], column] = 1
        for where, leasts in _LEASTS.items():
            found = contexts.group_counts(REACH[where]).astype(np.float32) @ in_union
            for least in leasts:
                clauses += [Clause(where, set_name=sets.names[n_classes + i], at_least=least) for i in rare]
                held.append(found >= least)
        factor = np.concatenate([named, named, np.ones(len(clauses) - 2 * len(named))]).astype(np.float32)
        return cls(clauses, np.concatenate(held, axis=1), factor)

    def add_words(self, lists: list[tuple[str, ...]], contexts: Contexts, factor: float) -> None:
        """Add clauses that speak of words; those that are there already stay single."""
        known = set(self.clauses)
        new = [clause for words in lists if (clause := Clause("token", words=words)) not in known]
        if not new:
            return
        held = np.stack([contexts.holds(clause) for clause in new], axis=1)
        self.clauses += new
        self.held = np.concatenate([self.held, held], axis=1)
        self.as_float = np.concatenate([self.as_float, held.astype(np.float32)], axis=1)
        self.factor = np.concatenate([self.factor, np.full(len(new), factor, np.float32)])


def learn_rule(
    firings: Firings,
    latent: int,
    vocabulary: Vocabulary,
    sets: TokenSets,
    config: LearnConfig,
    rng: np.random.Generator,
) -> Rule | None:
    """The rule of at most `config.clauses` clauses with the best F1 on a balanced sample of the training text.

    With recall r on firing and false-alarm rate q on silent positions, F1 = 2r / (1 + r + q). The largest F1, say F,
    maximises (2 - F) r - F q (Dinkelbach 1967), which is a sum over positions: so clauses are added greedily by what
    they add to it, and F is corrected from the rule found.

    Returns:
        None where the latent fires on fewer than 20 positions.
    """
    sample = balanced_sample(firings, latent, config.sample, rng)
    if len(sample.positions) < 40:
        return None
    contexts = Contexts(firings.token_ids, sample.positions, sets)
    columns = _Columns.of(contexts, sets, config)
    own = _OwnWords(latent, vocabulary, sets, config)
    n_firing = int(sample.fires.sum())
    best, best_f1, f1 = Rule(()), 0.0, 0.75
    for _ in range(config.rounds):
        columns.add_words(own.lists(best, f1), contexts, config.named)
        weights = np.where(sample.fires, 2 - f1, -f1).astype(np.float32) / n_firing
        rule, predicted = _greedy(columns, weights, config)
        f1 = 2 * int(predicted[sample.fires].sum()) / (n_firing + int(predicted.sum()))
        if f1 > best_f1:
            best, best_f1 = rule, f1
    return best if best.fires_on else None


def _greedy(columns: _Columns, weights: np.ndarray, config: LearnConfig) -> tuple[Rule, np.ndarray]:
    """The rule made by taking, one after the other, the clause that adds most to the summed weight of the positions
    covered, and which positions (n_positions,) bool it covers.
    """
    held, as_float = columns.held, columns.as_float
    on, off = _Side(columns, config), _Side(columns, config)
    for _ in range(config.clauses):
        gain_on = (np.where(on.covered | off.covered, 0, weights) @ as_float) * on.factor
        gain_off = (np.where(on.covered & ~off.covered, -weights, 0) @ as_float) * off.factor
        i, j = int(gain_on.argmax()), int(gain_off.argmax())
        if max(gain_on[i], gain_off[j]) < config.min_gain:
            break
        if gain_on[i] >= gain_off[j]:
            on.take(i, held[:, i])
        else:
            off.take(j, held[:, j])
    return Rule(on.clauses(), off.clauses()), on.covered & ~off.covered


class _Side:
    """One side of a rule while it grows: what it fires on, or what it leaves out."""

    def __init__(self, columns: _Columns, config: LearnConfig) -> None:
        self._columns, self._max_words = columns, max(config.words)
        self._taken: list[int] = []
        self.covered = np.zeros(len(columns.held), bool)
        self.factor = columns.factor.copy()

    def take(self, column: int, held: np.ndarray) -> None:
        """Add a clause. Lists of words that together would be longer than one may be are no candidates any more."""
        self._taken.append(column)
        self.covered |= held
        if self._columns.clauses[column].words:
            have = set(self._words())
            for other, clause in enumerate(self._columns.clauses):
                if clause.words and len(have | set(clause.words)) > self._max_words:
                    self.factor[other] = 0

    def clauses(self) -> tuple[Clause, ...]:
        """The clauses in the order of their gain, with all words in one list where the first of them stands."""
        words = self._words()
        found: list[Clause] = []
        for column in self._taken:
            clause = self._columns.clauses[column]
            if not clause.words:
                found.append(clause)
            elif words:
                found.append(Clause("token", words=words))
                words = ()
        return tuple(found)

    def _words(self) -> tuple[str, ...]:
        lists = [self._columns.clauses[column].words for column in self._taken]
        return tuple(dict.fromkeys(word for words in lists for word in words))


class _OwnWords:
    """Lists of words made for one latent."""

    def __init__(self, latent: int, vocabulary: Vocabulary, sets: TokenSets, config: LearnConfig) -> None:
        fired, counts = vocabulary.fired[:, latent], vocabulary.counts
        self._firing = fired / max(1, fired.sum())
        self._silent = (counts - fired) / max(1, (counts - fired).sum())
        self._rate = (fired + 1) / (counts + 2)
        self._vocabulary, self._sets, self._config = vocabulary, sets, config

    def lists(self, rule: Rule, f1: float) -> list[tuple[str, ...]]:
        """Words that a rule lacks and words that it should leave out, the most telling first, in several lengths."""
        gain = (2 - f1) * self._firing - f1 * self._silent
        covered = self._covered(rule)
        lists = []
        for least_rate in (0.0, 0.4):
            lists += self._chosen(np.where(covered | (self._rate < least_rate), -1, gain), self._firing * self._rate)
        lists += self._chosen(np.where(covered, -gain, -1), self._silent * (1 - self._rate))
        return list(dict.fromkeys(lists))

    def _chosen(self, gain: np.ndarray, telling: np.ndarray) -> list[tuple[str, ...]]:
        """The words of largest gain in lists of several lengths, each with the most telling first."""
        forms = self._vocabulary.forms
        order = [i for i in np.argsort(-gain, kind="stable")[: max(self._config.words)] if gain[i] > 0]
        order = [i for i in order if forms[i] and "\ufffd" not in forms[i]]
        lists = [sorted(order[:n], key=lambda i: -telling[i]) for n in self._config.words if order]
        return [tuple(str(forms[i]) for i in chosen) for chosen in lists]

    def _covered(self, rule: Rule) -> np.ndarray:
        """(n_forms,) bool: forms that the rule fires on for their own sake, most of their tokens at least."""
        tokens = np.zeros(len(self._sets.forms), bool)
        for clause in rule.fires_on:
            if clause.where == "token" and clause.set_name:
                tokens |= self._sets.members[:, self._sets.number[clause.set_name]]
        for clause in rule.but_not:
            if clause.where == "token" and clause.set_name:
                tokens &= ~self._sets.members[:, self._sets.number[clause.set_name]]
        n_forms = len(self._vocabulary.forms)
        within = np.bincount(
            self._vocabulary.form_of, weights=tokens * self._vocabulary.token_counts, minlength=n_forms
        )
        return 2 * within > self._vocabulary.counts
