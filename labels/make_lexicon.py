"""Make the lexicon: families of words that the features treat alike, and topics of the passages they stand in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from labels.contexts import Contexts
from labels.factors import factorize
from labels.firings import Firings
from labels.lexicon import MOST, Lexicon, as_steps, assemble, typicality
from labels.words import UNREADABLE, word_forms

_MADE_UP = 5
"""Positions at the features' own density that are added to every word's: a rare word's rates are drawn to it."""

_FAINT = 0.05
"""Less likeness than this is none."""


@dataclass(frozen=True, kw_only=True)
class LexiconConfig:
    """How large a lexicon is.

    Attributes:
        families: of words.
        topics: of passages.
        min_count: occurrences in the training text below which a word stays out: its firings say too little.
        steps: of either factorization.
        seed: of where it begins.
    """

    families: int = 512
    topics: int = 48
    min_count: int = 8
    steps: int = 150
    seed: int = 0


def make_lexicon(
    train: Sequence[Firings], texts: Sequence[str], bos_id: int, config: LexiconConfig, rng: np.random.Generator
) -> Lexicon:
    """Learn a lexicon from where the features of every layer fire on the same training text.

    A family is a factor of the words' firing profiles, so that every feature's words are a sum of few families: words
    are alike where the features of all layers fire on them alike. A topic is a factor of the words of text windows.
    Both are non-negative factorizations, in which a word can belong to several.
    """
    forms, form_of = np.unique(word_forms(list(texts)), return_inverse=True)
    counts = np.bincount(form_of[train[0].current], minlength=len(forms))
    readable = np.array([bool(form) and UNREADABLE not in form for form in forms])
    known = np.flatnonzero((counts >= config.min_count) & readable)
    rates = np.concatenate([_rates(firings, form_of, counts)[known] for firings in train], axis=1)
    words = forms[known]
    families = _families(rates, counts[known], config)
    topics = _topics(form_of[train[0].token_ids[:, 1:]], forms, known, config)
    unscaled = assemble(
        texts,
        bos_id,
        words=words,
        families=as_steps(families),
        family_names=_family_names(families, words, counts[known]),
        topics=as_steps(topics),
        topic_names=_topic_names(topics, words),
        near_low=np.zeros(0, np.float32),
        near_high=np.zeros(0, np.float32),
        passage_high=np.zeros(0, np.float32),
    )
    return _scaled(unscaled, train[0], rng)


def _rates(firings: Firings, form_of: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """(n_forms, n_latents) how often each latent fires on each form, in standard deviations of its firing."""
    fired = np.zeros((len(counts), firings.n_latents))
    np.add.at(fired, form_of, firings.token_counts(len(form_of)))
    density = fired.sum(axis=0) / counts.sum()
    rates = (fired + _MADE_UP * density) / (counts + _MADE_UP)[:, None]
    deviation = np.sqrt(density * (1 - density))
    return np.divide(rates, deviation, out=np.zeros_like(rates), where=deviation > 0).astype(np.float32)


def _families(rates: np.ndarray, counts: np.ndarray, config: LexiconConfig) -> np.ndarray:
    """(n_words, n_families) float32 likeness, 1 for the typical words."""
    # The root evens out the variance of rates. Each word weighs between once (rare words rule) and as often as it
    # occurs (articles rule).
    weights = torch.from_numpy(counts.astype(np.float32)).pow(0.25)[:, None]
    n_families = min(config.families, len(counts))
    factors, _ = factorize(torch.from_numpy(rates).sqrt() * weights, n_families, steps=config.steps, seed=config.seed)
    return _likeness(factors / weights, 0.995)


def _topics(forms_at: np.ndarray, forms: np.ndarray, known: np.ndarray, config: LexiconConfig) -> np.ndarray:
    """(n_words, n_topics) float32 likeness, from windows (n_windows, length) of forms."""
    word_of = np.full(len(forms), len(known))
    word_of[known] = np.arange(len(known))
    found = np.zeros((len(forms_at), len(known) + 1), np.float32)
    np.add.at(found, (np.arange(len(forms_at))[:, None], word_of[forms_at]), 1)
    found = found[:, :-1]
    windows = (found > 0).sum(axis=0)
    # Words of a few windows are telling of those alone, words of many of none.
    is_word = np.array([form.isalpha() and len(form) > 2 for form in forms[known]])
    telling = np.flatnonzero(is_word & (windows >= 20) & (windows < len(found) / 4))
    n_topics = min(config.topics, len(telling))
    likeness = np.zeros((len(known), n_topics), np.float32)
    if n_topics:
        x = np.sqrt(found[:, telling]) * np.log(len(found) / windows[telling]).astype(np.float32)
        x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-6)
        _, factors = factorize(torch.from_numpy(x), n_topics, steps=config.steps, seed=config.seed)
        likeness[telling] = _likeness(factors.T, 0.998)
    return likeness


def _likeness(factors: torch.Tensor, typical: float) -> np.ndarray:
    """Factors (n_words, n) with 1 at each one's quantile `typical`, and nothing faint."""
    values = factors.numpy()
    scaled = values / np.maximum(np.quantile(values, typical, axis=0), 1e-9)
    return np.where(scaled < _FAINT, 0, scaled).astype(np.float32)


def _family_names(likeness: np.ndarray, words: np.ndarray, counts: np.ndarray) -> list[str]:
    """The most typical word of each family, each word for one family only: the best such choice for all of them."""
    common = np.minimum(1, np.sqrt(counts / 200))
    whole = np.array([1.0 if word.isalpha() and len(word) > 1 else 0.75 for word in words])
    typical = typicality(np.minimum(likeness, MOST)) * (common * whole)[:, None]
    # Summed logarithms make one family's bad name cost more than many good names gain.
    named, family = linear_sum_assignment(np.log(typical + 1e-3), maximize=True)
    return [str(word) for word in words[named[np.argsort(family)]]]


def _topic_names(topics: np.ndarray, words: np.ndarray) -> list[str]:
    order = np.argsort(-topics, axis=0, kind="stable")
    names: list[str] = []
    for column in order.T:
        length = 2
        while (name := " and ".join(words[column[:length]])) in names and length < len(words):
            length += 1
        names.append(name)
    return names


def _scaled(lexicon: Lexicon, firings: Firings, rng: np.random.Generator) -> Lexicon:
    """The lexicon with what counts as none and as full near a token and in its passage, seen on training text."""
    n = min(20_000, firings.n_tokens)
    contexts = Contexts(firings.token_ids, np.sort(rng.choice(firings.n_tokens, n, replace=False)), lexicon)
    near, passage = contexts.mean_near(), contexts.mean_passage()
    low = np.median(near, axis=0).astype(np.float32)
    return replace(
        lexicon,
        near_low=low,
        near_high=np.quantile(near, 0.99, axis=0).astype(np.float32),
        passage_high=np.quantile(passage, 0.97, axis=0).astype(np.float32),
    )
