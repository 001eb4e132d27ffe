"""Choose the places in a text that a reader or a judge of a feature is shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import chain, islice
from typing import Literal, NamedTuple

import numpy as np

from feature_tracker.labelling.firings import CorpusText, Occasions
from feature_tracker.labels.judged import HARD_SILENT, RANDOM_SILENT

Group = Literal["strong", "middle", "weak", "contrast", "silent"]
STRATA = (0.0, 0.1, 0.3, 0.6, 1.0)
"""Limits of the strata of firings, in shares of all firings from the strongest on."""
FIRING_PER_STRATUM = (6, 4, 3, 3)
SILENT_EACH = 8
"""Random silent places in a judge's question, and as many hard ones."""
FEWEST_FIRINGS = 8
"""With fewer in the held-out text, a feature isn't judged."""

_N_STRONGEST, _N_STRONG, _N_MIDDLE, _N_WEAK, _N_CONTRAST, _N_SILENT = 5, 9, 9, 5, 8, 4
_CONTEXT = 25
"""Tokens before a place that make it a near copy of another where they are the same."""
_COPY = 0.6
"""Two contexts are near copies where they share so much of their tokens (Jaccard index)."""
_A_DOCUMENT = 2
_TOP_WORDS = 20
_MOST_TRIED = 2_000
"""Places looked at for one group: of a feature that fires on nothing but copies, there are hundreds of thousands."""
_NEIGHBOURS = (-2, -1, 1, 2)


def strata_limits(n_firings: int) -> list[int]:
    """Where each stratum begins among firings in falling order, and where the last one ends."""
    return [round(share * n_firings) for share in STRATA]


class Chosen(NamedTuple):
    """A place that a reader is shown.

    Attributes:
        group: why it was chosen.
        place: see `Firings`.
        activation: 0 where the feature is silent.
        rank: share of firings that are stronger; 1 where the feature is silent.
    """

    group: Group
    place: int
    activation: float
    rank: float


class Sampled(NamedTuple):
    """A place that a judge is asked about.

    Attributes:
        place: see `Firings`.
        stratum: of a firing, 0 the strongest, see `STRATA`; where the feature is silent, `RANDOM_SILENT` or
            `HARD_SILENT`.
    """

    place: int
    stratum: int


def sample_for_reader(tokens: Occasions, shown: Occasions, text: CorpusText, rng: np.random.Generator) -> list[Chosen]:
    """Places from which somebody can tell what a feature fires on: strong, middling, weak and silent ones.

    Firings are drawn from the strata that a judge will be asked about, since the few strongest of all often share what
    the strongest tenth doesn't. They come first, by falling strength. No two places are near copies, and at most two of
    a group are from one document where there are enough.

    Args:
        tokens: on which the feature fires.
        shown: the same, or the passages in which it fires.
    """
    order, unseen = shown.strongest_first(), _Unseen(text)
    _, first, second, third, _ = strata_limits(len(order))
    groups: tuple[tuple[Group, np.ndarray, int], ...] = (
        ("strong", order, _N_STRONGEST),
        ("strong", rng.permutation(order[:first]), _N_STRONG),
        ("middle", rng.permutation(order[first:second]), _N_MIDDLE),
        ("weak", rng.permutation(order[second:third]), _N_WEAK),
    )
    rank_of = np.empty(len(order))
    rank_of[order] = np.arange(len(order)) / len(order)
    chosen: list[Chosen] = []
    for group, rows, n in groups:
        for place in unseen.take(shown.places[rows].tolist(), n):
            row = int(np.searchsorted(shown.places, place))
            chosen.append(Chosen(group, place, float(shown.activations[row]), float(rank_of[row])))
    chosen.sort(key=lambda one: one.rank)
    contrasts = unseen.take(_hard_silent(tokens, shown, text, rng), _N_CONTRAST)
    silent = unseen.take(_random_silent(shown, rng), _N_SILENT)
    chosen += [Chosen("contrast", place, 0.0, 1.0) for place in contrasts]
    return chosen + [Chosen("silent", place, 0.0, 1.0) for place in silent]


def sample_for_judge(tokens: Occasions, shown: Occasions, text: CorpusText, rng: np.random.Generator) -> list[Sampled]:
    """Places on which to test a label, in random order: firings of every stratum, random silent and hard silent ones.

    Args:
        tokens: on which the feature fires.
        shown: the same, or the passages in which it fires.
    """
    order, unseen = shown.strongest_first(), _Unseen(text)
    limits = strata_limits(len(order))
    sampled: list[Sampled] = []
    for stratum, n in enumerate(FIRING_PER_STRATUM):
        rows = rng.permutation(order[limits[stratum] : limits[stratum + 1]])
        sampled += [Sampled(place, stratum) for place in unseen.take(shown.places[rows].tolist(), n)]
    for stratum, silent in (
        (HARD_SILENT, _hard_silent(tokens, shown, text, rng)),
        (RANDOM_SILENT, _random_silent(shown, rng)),
    ):
        sampled += [Sampled(place, stratum) for place in unseen.take(silent, SILENT_EACH)]
    return [sampled[row] for row in rng.permutation(len(sampled))]


class WordFiring(NamedTuple):
    """How a feature fires on a word.

    Attributes:
        word: its number in `CorpusWords`.
        activation: sum over its occurrences.
        share: of its occurrences on which the feature fires.
        strong: share of the feature's strongest tenth of firings that are on it.
    """

    word: int
    activation: float
    share: float
    strong: float


def words_fired_on(tokens: Occasions, text: CorpusText) -> list[WordFiring]:
    """The words that hold most of a feature's activation, then those with most of its strongest tenth of firings."""
    words = text.words
    at, activations = words.words[tokens.places], tokens.activations
    is_word = at >= 0
    at, activations, occurrences = at[is_word], activations[is_word], words.occurrences[tokens.places][is_word]
    if not len(at):
        return []
    begins = np.flatnonzero(np.diff(occurrences, prepend=-1))
    at, largest = at[begins], np.maximum.reduceat(activations, begins)
    held, fired = np.bincount(at, largest), np.bincount(at)
    is_strong = largest >= np.quantile(largest, 1 - STRATA[1])
    strong = np.bincount(at[is_strong], minlength=len(held)) / is_strong.sum()
    most = [int(word) for word in np.argsort(-held, kind="stable")[:_TOP_WORDS] if held[word] > 0]
    often = [int(word) for word in np.argsort(-strong, kind="stable")[:_TOP_WORDS] if strong[word] > 0]
    return [
        WordFiring(word, float(held[word]), float(fired[word] / words.n_occurrences[word]), float(strong[word]))
        for word in dict.fromkeys(most + often)
    ]


class _Unseen:
    """Takes places that are no near copies of what was taken before."""

    def __init__(self, text: CorpusText) -> None:
        self._text = text
        self._contexts: list[frozenset[int]] = []
        self._places: set[int] = set()

    def take(self, places: Iterable[int], n: int) -> list[int]:
        """The first `n` new places, at most two a document; with more from a document where there are too few."""
        taken: list[int] = []
        put_off: list[int] = []
        documents: Counter[int] = Counter()
        for place in islice(places, _MOST_TRIED):
            if len(taken) == n:
                return taken
            if documents[self._text.document(place)] == _A_DOCUMENT:
                if len(put_off) < n:
                    put_off.append(place)
            elif self._is_new(place):
                documents[self._text.document(place)] += 1
                taken.append(place)
        for place in put_off:
            if len(taken) < n and self._is_new(place):
                taken.append(place)
        return taken

    def _is_new(self, place: int) -> bool:
        """Whether a place isn't known yet; from now on it is."""
        window_start = place - self._text.position(place) + 1
        first, end = max(place - _CONTEXT, window_start), min(place + 2, window_start + self._text.window)
        context = frozenset(self._text.ids(first, end).tolist())
        if place in self._places:
            return False
        if any(len(context & other) > _COPY * len(context | other) for other in self._contexts):
            return False
        self._places.add(place)
        self._contexts.append(context)
        return True


def _random_silent(shown: Occasions, rng: np.random.Generator) -> Iterable[int]:
    if len(shown.silent):
        yield from rng.choice(shown.silent, _MOST_TRIED).tolist()


def _hard_silent(tokens: Occasions, shown: Occasions, text: CorpusText, rng: np.random.Generator) -> Iterable[int]:
    """Silent places that are easily taken for firings.

    Of tokens, the words on which the feature fires most, drawn by their share of its activation; then what stands
    right before or after strong firings. Of passages, those of documents in which the feature fires.
    """
    if shown.length > 1:
        return _from_same_documents(shown, text, rng)
    return chain(_same_words(tokens, text, rng), _neighbours(tokens, text, rng))


def _same_words(tokens: Occasions, text: CorpusText, rng: np.random.Generator) -> Iterable[int]:
    words = words_fired_on(tokens, text)
    silent = [places[tokens.is_silent[places]] for places in (text.words.places(firing.word) for firing in words)]
    weights = np.array(
        [firing.activation if len(places) else 0.0 for firing, places in zip(words, silent, strict=True)]
    )
    if not weights.any():
        return
    for row in rng.choice(len(words), 60, p=weights / weights.sum()):
        yield int(rng.choice(silent[row]))


def _neighbours(tokens: Occasions, text: CorpusText, rng: np.random.Generator) -> Iterable[int]:
    order = tokens.strongest_first()
    strong = tokens.places[order[: max(1, len(order) // 10)]]
    near = (strong[:, None] + np.array(_NEIGHBOURS)).clip(0, text.n_tokens - 1)
    near = near[near // text.window == strong[:, None] // text.window]
    yield from rng.permutation(np.unique(near[tokens.is_silent[near]])).tolist()


def _from_same_documents(shown: Occasions, text: CorpusText, rng: np.random.Generator) -> Iterable[int]:
    order = shown.strongest_first()
    strong = shown.places[order[: max(1, len(order) // 10)]]
    same = np.isin(text.documents(shown.silent), text.documents(strong))
    yield from rng.permutation(shown.silent[same]).tolist()
