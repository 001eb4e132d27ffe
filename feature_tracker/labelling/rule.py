"""Score labels of top words on the places that a judge would be asked about: one of these words, so it fires."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from feature_tracker.corpus.top_words import TopWords
from feature_tracker.labelling.firings import PASSAGE_TOKENS, CorpusText, Firings, Occasions
from feature_tracker.labelling.questions import sampled_places, strata_of
from feature_tracker.labels.judged import JudgedScores, judged_scores
from feature_tracker.labels.scores import TOP_WORDS


class RuleScores(NamedTuple):
    """How well the top words of one layer's features predict where these fire.

    Attributes:
        frame: one row a latent, in order: the columns of `JudgedScores`, and `f1_method`.
        shown: how many words of all labels occur in the held-out text.
        confirmed: on how many of these the label's feature fires more often than not.
    """

    frame: pd.DataFrame
    shown: int
    confirmed: int


def score_top_words(labels: Sequence[TopWords], firings: Firings, text: CorpusText, *, seed: int = 0) -> RuleScores:
    """Score the labels of one layer.

    Args:
        labels: of every latent, in order; their words are numbered as those of `text`.
        firings: in held-out text.
        text: that the firings are of.
        seed: as that of the judge's questions, for the same places.
    """
    scores, shown, confirmed = [], 0, 0
    for latent, label in enumerate(labels):
        tokens = firings.of(latent)
        sampled = sampled_places(tokens, text, firings.layer, latent, slow=label.slow, seed=seed)
        if sampled is None:
            scores.append(JudgedScores())
        else:
            answers = [_says_yes(label, place, text) for place, _ in sampled.places]
            scores.append(judged_scores(strata_of(sampled.shown), [stratum for _, stratum in sampled.places], answers))
        occur, fires = _words_that_hold(label, tokens, text)
        shown, confirmed = shown + occur, confirmed + fires
    return RuleScores(pd.DataFrame(scores).assign(f1_method=TOP_WORDS), shown, confirmed)


def _says_yes(label: TopWords, place: int, text: CorpusText) -> bool:
    words = text.words.words[place : place + (PASSAGE_TOKENS if label.slow else 1)]
    return bool(np.isin(words, label.words).any())


def _words_that_hold(label: TopWords, tokens: Occasions, text: CorpusText) -> tuple[int, int]:
    """How many words of a label occur, and on how many of them the feature fires more often than not."""
    words = text.words
    at = tokens.places[np.isin(words.words[tokens.places], label.words)]
    _, first = np.unique(words.occurrences[at], return_index=True)
    fired = np.bincount(words.words[at[first]], minlength=len(words.n_occurrences))[label.words]
    occurring = words.n_occurrences[label.words]
    return int((occurring > 0).sum()), int(((2 * fired > occurring) & (occurring > 0)).sum())
