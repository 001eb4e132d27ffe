"""What kind of change it is when words replace others: up or down, better or worse, more or less certain, …

A kind is a group of features that tell its two poles apart, learnt from pairs of words in sentences that this project
wrote (`kinds.txt`). How well a kind works is measured on each bundle: on each sentence in turn, by features learnt from
those sentences that share no word with it. Kinds that can't be told are not offered.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

OFFERED_AUC = 0.9
"""Smallest AUC, reversals against synonyms, of a kind that is offered."""
TYPICAL = 0.7
"""A change is of a kind if it moves the kind's features by this share of what a reversal of the kind does. On sentences
left out, it takes 1 synonym in 100 for a change, and misses 1 reversal in 6."""
_CLOSE = 0.85
"""A second kind is named, too, if it is moved by this share of what the first is."""
_N_FEATURES = 40  # of a kind; 10 tell direction as well, but not certainty
_LEAST_SPREAD = 0.15  # keeps features that happen to differ alike in few sentences from coming first
_ENDINGS = re.compile(r"(ing|ed|es|s|ly|er|en|e)$")
_STEM = 6  # letters

_PAIRS = Path(__file__).with_name("kinds.txt")


class Example(NamedTuple):
    """A sentence of `kinds.txt`.

    Attributes:
        before, after: what stands before and after the word.
        words: one of the first pole, its opposite, and a synonym of the first.
    """

    before: str
    words: tuple[str, str, str]
    after: str

    def spans(self) -> list[tuple[str, int, int]]:
        """The sentence with each of the words: text, first and one-past-last character of the word."""
        start = len(self.before)
        return [(f"{self.before}{word}{self.after}", start, start + len(word)) for word in self.words]

    @property
    def stems(self) -> set[str]:
        """Beginnings of the words, by which examples are told apart that share one."""
        return {
            _ENDINGS.sub("", part)[:_STEM] for word in self.words for part in re.findall(r"\w{3,}", word.casefold())
        }


@dataclass(frozen=True)
class Kind:
    """A kind of change and the features that tell it.

    Attributes:
        name: such as `direction`.
        poles: such as `up` and `down`.
        features: (n,) numbers of its features, in the order of `Strengths`.
        signs: (n,) 1 for features of the first pole, -1 for those of the second.
        reversal: how far a reversal moves the kind's score, at the median of sentences left out.
        auc: how often, of sentences left out, a reversal moves the score further than a synonym does.
        n_examples: sentences that it was learnt from.
    """

    name: str
    poles: tuple[str, str]
    features: np.ndarray
    signs: np.ndarray
    reversal: float
    auc: float
    n_examples: int

    @property
    def is_offered(self) -> bool:
        """Whether it can be told well enough to be claimed of a change."""
        return self.auc >= OFFERED_AUC

    def moved(self, difference: np.ndarray) -> float:
        """How far a difference of strengths goes towards the first pole; 1 is a typical reversal, -1 its opposite."""
        return float(difference[self.features] @ self.signs) / self.reversal


class Claim(NamedTuple):
    """That a change is of a kind.

    Attributes:
        kind: which.
        moved: see `Kind.moved`.
    """

    kind: Kind
    moved: float

    def __str__(self) -> str:
        first, second = self.kind.poles
        start, end = (second, first) if self.moved > 0 else (first, second)
        return f"{self.kind.name}: from {start} to {end}"


def read_examples() -> dict[tuple[str, tuple[str, str]], list[Example]]:
    """The sentences of `kinds.txt`, by the name of the kind and its poles."""
    kinds: dict[tuple[str, tuple[str, str]], list[Example]] = {}
    examples: list[Example] = []
    for line in _PAIRS.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            name, first, second = re.split(r": |, ", line.strip("[]"))
            examples = kinds.setdefault((name, (first, second)), [])
        elif line and not line.startswith("#"):
            before, words, after = re.split(r"[{}]", line)
            word, opposite, synonym = words.split("|")
            examples.append(Example(before, (word, opposite, synonym), after))
    return kinds


def learn_kind(name: str, poles: tuple[str, str], examples: Sequence[Example], strengths: np.ndarray) -> Kind:
    """Learn a kind from examples, and measure it on examples left out.

    Args:
        strengths: (n_examples, 3, n_features) of each example's words, see `changes.Strengths`.
    """
    stems = [example.stems for example in examples]
    moved = np.empty((len(examples), 2))  # by the reversal, and by the synonym
    for row, own in enumerate(stems):
        others = [i for i, other in enumerate(stems) if not own & other]
        features, signs = _telling(strengths[others])
        word, opposite, synonym = strengths[row][:, features] @ signs
        moved[row] = word - opposite, word - synonym
    features, signs = _telling(strengths)
    reversals, synonyms = np.abs(moved).T
    above = reversals[:, None] - synonyms
    auc = float((above > 0).mean() + 0.5 * (above == 0).mean())
    return Kind(name, poles, features, signs, max(float(np.median(moved[:, 0])), 1e-6), auc, len(examples))


def _telling(strengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The features whose strength differs most reliably between the poles, and the pole of each."""
    differences = np.concatenate([strengths[:, 0] - strengths[:, 1], strengths[:, 2] - strengths[:, 1]])
    reliability = differences.mean(axis=0) / (differences.std(axis=0) + _LEAST_SPREAD)
    features = np.argsort(-np.abs(reliability), kind="stable")[:_N_FEATURES]
    return features, np.sign(reliability[features])


def claims(kinds: Sequence[Kind], difference: np.ndarray) -> list[Claim]:
    """The kinds, at most two, that a difference of strengths is of, the clearest first."""
    moved = [Claim(kind, kind.moved(difference)) for kind in kinds if kind.is_offered]
    moved = sorted((claim for claim in moved if abs(claim.moved) >= TYPICAL), key=lambda claim: -abs(claim.moved))
    return [claim for claim in moved[:2] if abs(claim.moved) >= _CLOSE * abs(moved[0].moved)]
