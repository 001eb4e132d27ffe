"""Questions about features, for people and models to answer: what does it fire on, and does it fire here?

Files are JSON Lines, one question a line, made by `dataclasses.asdict`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from feature_tracker.corpus.top_words import evidence
from feature_tracker.feature import Feature
from feature_tracker.labelling.firings import PASSAGE_TOKENS, CorpusText, Firings, Occasions
from feature_tracker.labelling.sampling import (
    FEWEST_FIRINGS,
    STRATA,
    Group,
    Sampled,
    sample_for_judge,
    sample_for_reader,
    strata_limits,
    words_fired_on,
)
from feature_tracker.labels.judged import Stratum
from feature_tracker.sae.topk import Sae

_BEFORE, _AFTER = 40, 8
"""Tokens shown before and after a marked one."""
_WORDS_SHOWN = 16
_TENTHS = 10
_CONTROL_SEED = 1_000_000


@dataclass(frozen=True)
class MarkedToken:
    """A token of a text, marked, with what stands around it.

    Attributes:
        before, token, after: of the text, as it is.
    """

    before: str
    token: str
    after: str


@dataclass(frozen=True)
class MarkedPassage:
    """A passage, word by word.

    Attributes:
        words: of the text, as they are, with the white space before them.
        tenths: how strongly the feature fires on each word, from 0 to 10 tenths of the feature's maximum.
    """

    words: list[str]
    tenths: list[int]


@dataclass(frozen=True)
class Excerpt:
    """A piece of text that shows where a feature fires, or doesn't.

    Attributes:
        group: why it is shown: `strong` is from the strongest tenth of firings, `middle` from the next fifth, `weak`
            from the next three tenths; `contrast` is silent though it resembles them, `silent` is any other.
        share: activation, as a share of the feature's largest.
        rank: share of firings that are stronger; 1 where the feature is silent.
        source: kind of text, such as `sec-10k`.
        position: of the marked token, or the passage's first one, in the window that the model read, from 1.
        text: the piece.
    """

    group: Group
    share: float
    rank: float
    source: str
    position: int
    text: MarkedToken | MarkedPassage


@dataclass(frozen=True)
class WordShare:
    """A word on which a feature fires, or around which it does.

    Attributes:
        word: as it is shown.
        share: of its occurrences, or of the passages with it, on which the feature fires.
        strong: share of the strongest tenth of firings that are on it, or share of the passages of the strongest tenth
            that have it.
    """

    word: str
    share: float
    strong: float


@dataclass(frozen=True)
class ExplainQuestion:
    """What does this feature fire on?

    Attributes:
        bundle: whose feature it is.
        layer, feature: which one.
        slow: whether it is read by passages.
        density: share of tokens, or of passages, on which it fires.
        words: that hold most of its activation, or that mark its passages, most first.
        twin: the feature of the same layer with the nearest decoder direction.
        twin_cosine: cosine of the two directions.
        twin_words: the words that hold most of the twin's activation.
        excerpts: strongest first, then middle, weak, contrasts and silent ones.
    """

    bundle: str
    layer: int
    feature: int
    slow: bool
    density: float
    words: list[WordShare]
    twin: int
    twin_cosine: float
    twin_words: list[WordShare]
    excerpts: list[Excerpt]

    @property
    def name(self) -> str:
        """The feature's name, such as `L16/F283`."""
        return str(Feature(self.layer, self.feature))


class ExplainQuestions:
    """Writes the questions of one layer's features.

    Args:
        bundle: name of the features' bundle.
        firings: in training text.
        sae: the layer's.
        text: that the firings are of.
        slow: latents that are read by passages.
        seed: of what is drawn at random.
    """

    def __init__(
        self, bundle: str, firings: Firings, sae: Sae, text: CorpusText, slow: frozenset[int], *, seed: int = 0
    ) -> None:
        self._bundle, self._firings, self._text, self._slow, self._seed = bundle, firings, text, slow, seed
        self._cosines = (sae.decoder @ sae.decoder.T).cpu().numpy()
        np.fill_diagonal(self._cosines, -1.0)

    def fires(self, latent: int) -> bool:
        """Whether a latent fires at all, so that there is something to ask."""
        return len(self._shown(latent).places) > 0

    def _shown(self, latent: int) -> Occasions:
        tokens = self._firings.of(latent)
        return tokens.passages(self._text.window) if latent in self._slow else tokens

    def question(self, latent: int) -> ExplainQuestion:
        """The question about a latent that fires."""
        tokens, shown = self._firings.of(latent), self._shown(latent)
        rng = np.random.default_rng([self._seed, self._firings.layer, latent])
        sampled = sample_for_reader(tokens, shown, self._text, rng)
        largest = float(shown.activations.max())
        largest_token = float(tokens.activations.max())
        twin = int(self._cosines[latent].argmax())
        return ExplainQuestion(
            bundle=self._bundle,
            layer=self._firings.layer,
            feature=latent,
            slow=latent in self._slow,
            density=round(len(shown.places) / int(shown.possible.sum()), 5),
            words=self._passage_words(shown) if latent in self._slow else self._words(latent),
            twin=twin,
            twin_cosine=round(float(self._cosines[latent, twin]), 2),
            twin_words=self._twin_words(twin),
            excerpts=[
                Excerpt(
                    group,
                    round(activation / largest, 2),
                    round(rank, 3),
                    self._text.source(place),
                    self._text.position(place),
                    marked_passage(self._text, place, tokens, largest_token)
                    if shown.length > 1
                    else marked_token(self._text, place),
                )
                for group, place, activation, rank in sampled
            ],
        )

    def _words(self, latent: int) -> list[WordShare]:
        tokens = self._firings.of(latent)
        shown = self._text.words.shown
        fired_on = sorted(words_fired_on(tokens, self._text), key=lambda firing: -firing.strong)[:_WORDS_SHOWN]
        return [WordShare(shown[firing.word], round(firing.share, 2), round(firing.strong, 3)) for firing in fired_on]

    def _twin_words(self, twin: int) -> list[WordShare]:
        return self._passage_words(self._shown(twin)) if twin in self._slow else self._words(twin)

    def _passage_words(self, shown: Occasions) -> list[WordShare]:
        """The words that are most surely richer than others in the feature's passages; see `choose_top_words`."""
        if not len(shown.places):
            return []
        firsts, incidence = self._text.passage_words
        held = np.zeros(len(firsts), np.float32)
        held[np.searchsorted(firsts, shown.places)] = shown.activations
        n_passages = np.asarray(incidence.sum(axis=0)).ravel()
        worth = evidence((held @ incidence).astype(float), n_passages)
        fired = (held > 0).astype(np.float32) @ incidence
        in_strong = (held >= np.quantile(shown.activations, 1 - STRATA[1])).astype(np.float32)
        strong = (in_strong @ incidence) / in_strong.sum()
        names = self._text.words.shown
        best = [int(word) for word in np.argsort(-worth, kind="stable")[:_WORDS_SHOWN] if worth[word] > 0]
        return [
            WordShare(names[word], round(float(fired[word] / n_passages[word]), 2), round(float(strong[word]), 3))
            for word in best
        ]


def marked_token(text: CorpusText, place: int) -> MarkedToken:
    """A token, and up to 40 tokens before and 8 after it in its window."""
    texts, at = text.texts(place), text.position(place) - 1
    return MarkedToken("".join(texts[max(0, at - _BEFORE) : at]), texts[at], "".join(texts[at + 1 : at + 1 + _AFTER]))


def marked_passage(text: CorpusText, place: int, tokens: Occasions, largest: float) -> MarkedPassage:
    """The passage that begins at a place, with the firing of a feature on each word.

    Args:
        tokens: on which the feature fires.
        largest: activation that counts as ten tenths.
    """
    at = text.position(place) - 1
    texts = text.texts(place)[at : at + PASSAGE_TOKENS]
    activations = np.zeros(PASSAGE_TOKENS)
    first, end = np.searchsorted(tokens.places, (place, place + PASSAGE_TOKENS))
    activations[tokens.places[first:end] - place] = tokens.activations[first:end]
    begins = np.flatnonzero(np.diff(text.words.occurrences[place : place + PASSAGE_TOKENS], prepend=-1))
    strongest = np.maximum.reduceat(activations, begins) / largest
    words = ["".join(texts[a:b]) for a, b in zip(begins, [*begins[1:], PASSAGE_TOKENS], strict=True)]
    return MarkedPassage(words, np.rint(_TENTHS * strongest).astype(int).tolist())


@dataclass(frozen=True)
class JudgeQuestion:
    """Does a feature with this label fire here?

    Attributes:
        question: name that says nothing about the feature.
        bundle: whose feature it is.
        label, detail: what the judge knows of it.
        passages: whether whole passages are judged, else marked tokens.
        excerpts: to answer yes or no to, each on its own; a passage is a marked token with nothing around it.
    """

    question: str
    bundle: str
    label: str
    detail: str
    passages: bool
    excerpts: list[MarkedToken]


@dataclass(frozen=True)
class JudgeKey:
    """The right answers to a `JudgeQuestion`, kept apart from it.

    Attributes:
        question: its name.
        bundle: whose feature it is.
        saes: fingerprint of the weights, see `corpus.origin.fingerprint`.
        layer, feature: which one.
        label: that was asked with; a score is this label's alone.
        control: whether the label is another feature's.
        strata: from the strongest on.
        stratum: of each excerpt, see `labels.judged.judged_scores`.
    """

    question: str
    bundle: str
    saes: str
    layer: int
    feature: int
    label: str
    control: bool
    strata: list[Stratum]
    stratum: list[int]


class Wording(NamedTuple):
    """What a judge is told of a feature."""

    label: str
    detail: str


class JudgeQuestions:
    """Writes judges' questions about one layer's features.

    Args:
        bundle: name of the features' bundle.
        saes: fingerprint of its weights.
        firings: in held-out text.
        text: that the firings are of.
        slow: latents that are judged by passages.
        seed: of what is drawn at random.
    """

    def __init__(
        self, bundle: str, saes: str, firings: Firings, text: CorpusText, slow: frozenset[int], *, seed: int = 0
    ) -> None:
        self._bundle, self._saes, self._firings, self._text = bundle, saes, firings, text
        self._slow, self._seed = slow, seed

    def question(
        self, latent: int, wording: Wording, *, control: bool = False
    ) -> tuple[JudgeQuestion, JudgeKey] | None:
        """A question about one latent with its key; `None` where it fires too seldom to be judged.

        Args:
            wording: of the label that is put to the test.
            control: whether that is another feature's.
        """
        layer, slow = self._firings.layer, latent in self._slow
        # A control has places of its own: a judge who meets the same ones twice knows which label is wrong.
        seed = self._seed + _CONTROL_SEED if control else self._seed
        sampled = sampled_places(self._firings.of(latent), self._text, layer, latent, slow=slow, seed=seed)
        if sampled is None:
            return None
        show = _plain_passage if slow else marked_token
        digest = hashlib.sha256(repr((self._seed, layer, latent, wording, control)).encode())
        question = JudgeQuestion(
            digest.hexdigest()[:10],
            self._bundle,
            *wording,
            slow,
            [show(self._text, place) for place, _ in sampled.places],
        )
        key = JudgeKey(
            question.question,
            self._bundle,
            self._saes,
            layer,
            latent,
            wording.label,
            control,
            strata_of(sampled.shown),
            [stratum for _, stratum in sampled.places],
        )
        return question, key


def _plain_passage(text: CorpusText, place: int) -> MarkedToken:
    at = text.position(place) - 1
    return MarkedToken("", "".join(text.texts(place)[at : at + PASSAGE_TOKENS]), "")


class SampledPlaces(NamedTuple):
    """The places on which a label is tested.

    Attributes:
        shown: the tokens or passages in which the feature fires.
        places: those drawn from them, and silent ones, in random order.
    """

    shown: Occasions
    places: list[Sampled]


def sampled_places(
    tokens: Occasions, text: CorpusText, layer: int, latent: int, *, slow: bool, seed: int
) -> SampledPlaces | None:
    """The places on which a latent's label is tested, those of one seed the same; `None` where it fires too seldom.

    Args:
        tokens: of held-out text, on which the latent fires.
        slow: whether it is judged by passages.
    """
    shown = tokens.passages(text.window) if slow else tokens
    if len(shown.places) < FEWEST_FIRINGS:
        return None
    return SampledPlaces(shown, sample_for_judge(tokens, shown, text, np.random.default_rng([seed, layer, latent])))


def strata_of(shown: Occasions) -> list[Stratum]:
    """How many of the firings, and how much of their activation, lie in each stratum."""
    strongest_first = shown.activations[shown.strongest_first()].astype(float)
    total = strongest_first.sum()
    return [
        Stratum((end - start) / len(strongest_first), float(strongest_first[start:end].sum() / total))
        for start, end in pairwise(strata_limits(len(strongest_first)))
    ]
