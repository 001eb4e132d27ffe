"""Make the lexicon: families of words that the features treat alike, and topics of the passages they stand in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter

import numpy as np
import torch

from feature_tracker.rule_labels.classes import FUNCTION_WORDS
from feature_tracker.rule_labels.context_likeness import ContextLikeness
from feature_tracker.rule_labels.factors import factorize
from feature_tracker.rule_labels.firings import Firings
from feature_tracker.rule_labels.lexicon import MOST, SPELLING, Lexicon, as_steps, assemble
from feature_tracker.rule_labels.words import SIGN_NAMES, UNREADABLE, same_stem, word_forms

_MADE_UP = 5
"""Positions at the features' own density that are added to every word's: a rare word's rates are drawn to it."""

_FAINT = 0.15
"""Less likeness than this is none."""

_TYPICAL = 16
"""Words that stand for a family."""

_NAMING = 8
"""The first of them, which give it its name."""

_ALIKE = 0.75
"""Share of a family's words that begin alike from which it is one of spelling."""


@dataclass(frozen=True, kw_only=True)
class LexiconConfig:
    """How large a lexicon is.

    Attributes:
        families: of words.
        topics: of passages.
        min_count: occurrences in the training text below which a word stays out: its firings say too little.
        steps: of either factorization.
        seed: of where they begin, and of the sample that near and passage are scaled on.
    """

    families: int = 1024
    topics: int = 48
    min_count: int = 8
    steps: int = 600
    seed: int = 0


def make_lexicon(train: Sequence[Firings], texts: Sequence[str], bos_id: int, config: LexiconConfig) -> Lexicon:
    """Learn a lexicon from where the features of every layer fire on the same training text.

    A family is a factor of the words' firing profiles, so that every feature's words are a sum of few families: words
    are alike where the features of all layers fire on them alike. A topic is a factor of the words of text windows.
    Both are non-negative factorizations, in which a word can belong to several.
    """
    forms, form_of = np.unique(word_forms(list(texts)), return_inverse=True)
    forms_at = form_of[train[0].token_ids]
    counts = np.bincount(forms_at[:, 1:].ravel(), minlength=len(forms))
    readable = np.array([bool(form) and UNREADABLE not in form for form in forms])
    known = np.flatnonzero((counts >= config.min_count) & readable)
    rates = np.concatenate([_rates(firings, form_of, counts)[known] for firings in train], axis=1)
    words, whole = forms[known], _whole_words(forms, forms_at)[known]
    families = _families(rates, counts[known], config)
    word_of = np.full(len(forms), len(known))
    word_of[known] = np.arange(len(known))
    may_tell = whole & (np.strings.str_len(words) > 2) & ~np.isin(words, list(FUNCTION_WORDS))
    topics = _topics(word_of[forms_at[:, 1:]], may_tell, config)
    unscaled = assemble(
        texts,
        bos_id,
        words=words,
        families=as_steps(families),
        typical_words=_typical_words(families, words, counts[known], whole),
        topics=as_steps(topics),
        topic_names=_topic_names(topics, words),
        near_low=np.zeros(0, np.float32),
        near_high=np.zeros(0, np.float32),
        passage_high=np.zeros(0, np.float32),
    )
    return _scaled(unscaled, train[0], np.random.default_rng(config.seed))


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
    return _likeness(factors / weights, 0.997)


def _whole_words(forms: np.ndarray, forms_at: np.ndarray) -> np.ndarray:
    """(n_forms,) bool: words, not signs, letters, or what mostly goes on a word or is gone on by a part of one.

    Args:
        forms: (n_forms,) str.
        forms_at: (n_windows, window) index of every token's form.
    """
    is_word = [
        form.isalpha() and (len(form) > 1 or form in FUNCTION_WORDS) and form not in SIGN_NAMES for form in forms
    ]
    goes_on = np.array([form.startswith("-") and form[1:].isalpha() for form in forms])
    gone_on = np.bincount(forms_at[:, :-1][goes_on[forms_at[:, 1:]]], minlength=len(forms))
    return np.array(is_word) & (gone_on <= np.bincount(forms_at.ravel(), minlength=len(forms)) / 2)


def _topics(words_at: np.ndarray, may_tell: np.ndarray, config: LexiconConfig) -> np.ndarray:
    """(n_words, n_topics) float32 likeness.

    Args:
        words_at: (n_windows, length) index of every word, n_words for a token that is none.
        may_tell: (n_words,) bool, words that can be telling of a topic.
    """
    found = np.zeros((len(words_at), len(may_tell) + 1), np.float32)
    np.add.at(found, (np.arange(len(words_at))[:, None], words_at), 1)
    found = found[:, :-1]
    windows = (found > 0).sum(axis=0)
    # Words of a few windows are telling of those alone, words of many of none.
    telling = np.flatnonzero(may_tell & (windows >= 20) & (windows < len(found) / 4))
    n_topics = min(config.topics, len(telling))
    likeness = np.zeros((len(may_tell), n_topics), np.float32)
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


def _typical_words(
    likeness: np.ndarray, words: np.ndarray, counts: np.ndarray, whole: np.ndarray
) -> dict[str, list[str]]:
    """By a name for each family, no two the same, what stands best for it: like it and few others, common, a word."""
    likeness = np.minimum(likeness, MOST)
    alone = np.sqrt(likeness / np.maximum(likeness.sum(axis=1, keepdims=True), 1e-9))
    clear = [1 if is_whole else 0.8 if word in SIGN_NAMES or word.isdigit() else 0.4
             for word, is_whole in zip(words, whole, strict=True)]  # fmt: skip
    common = np.minimum(1, np.sqrt(counts / 100))
    order = np.argsort(-likeness * alone * (common * clear)[:, None], axis=0, kind="stable")
    found: dict[str, list[str]] = {}
    for column in order.T:
        best = words[column].tolist()
        name = next(name for name in _names(best) if name not in found)
        found[name] = best[:_TYPICAL]
    return found


def _names(words: list[str]) -> Iterator[str]:
    """What to call a family with these words, the most typical first: the best name, then others.

    "words in dep-" where it is one of spelling; else "loan/credit", two words that don't begin alike, so that they
    show what spreads the family and not one stem.
    """
    for length in (4, 3, 2, 1):
        beginnings = Counter(word[:length] for word in words[:_NAMING] if word.isalpha() and len(word) > length)
        beginning, n = max(beginnings.items(), key=itemgetter(1), default=("", 0))
        if n >= _ALIKE * _NAMING:
            yield f"{SPELLING}{beginning}-"
            break
    first, *others = words
    near = others[: _NAMING // 2]
    yield from (f"{first}/{other}" for other in near if not same_stem(other, first))
    yield from (f"{first}/{other}" for other in others)
    yield f"{first}/…"


def _topic_names(topics: np.ndarray, words: np.ndarray) -> list[str]:
    order = np.argsort(-topics, axis=0, kind="stable")
    names: list[str] = []
    for column in order.T:
        length = 2
        while (name := "/".join(words[column[:length]])) in names and length < len(words):
            length += 1
        names.append(name)
    return names


def _scaled(lexicon: Lexicon, firings: Firings, rng: np.random.Generator) -> Lexicon:
    """The lexicon with what counts as none and as full near a token and in its passage, seen on training text."""
    n = min(20_000, firings.n_tokens)
    contexts = ContextLikeness(firings.token_ids, np.sort(rng.choice(firings.n_tokens, n, replace=False)), lexicon)
    near, passage = contexts.mean_near(), contexts.mean_passage()
    low = np.median(near, axis=0).astype(np.float32)
    return replace(
        lexicon,
        near_low=low,
        near_high=np.quantile(near, 0.99, axis=0).astype(np.float32),
        passage_high=np.quantile(passage, 0.97, axis=0).astype(np.float32),
    )
