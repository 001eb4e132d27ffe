"""Which words of a family a label shows: two on which its own feature fires.

A family is graded and can be mixed, and one feature fires on other words of it than the next. Any two of its typical
words that no other family shares stand for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from itertools import combinations

import numpy as np

from feature_tracker.rule_labels.context_likeness import Where
from feature_tracker.rule_labels.firings import Firings
from feature_tracker.rule_labels.lexicon import SPELLING, Lexicon
from feature_tracker.rule_labels.rules import Mention, Rule
from feature_tracker.rule_labels.words import SIGN_NAMES, same_stem

_MADE_UP = 20
"""Positions at the feature's own density that are added to every word's: a rare word's rate is drawn to it."""

_FADING = 4
"""A family's fifth word must be fired on twice as often as its first to be shown in its place."""


def word_rates(firings: Firings, lexicon: Lexicon) -> dict[Where, np.ndarray]:
    """How often each latent fires on a word (`token`) and right after it (`previous`), (n_words, n_latents) each."""
    tokens: dict[Where, np.ndarray] = {"token": firings.token_ids[:, 1:], "previous": firings.token_ids[:, :-1]}
    return {where: _rates(firings, lexicon.word_of[ids].ravel(), len(lexicon.words)) for where, ids in tokens.items()}


def _rates(firings: Firings, words: np.ndarray, n_words: int) -> np.ndarray:
    """Args: words: (n_tokens,) which word is looked at from each position, `n_words` where it is none."""
    fires = firings.values > 0
    keys = (words[:, None].astype(np.int64) * firings.n_latents + firings.indices)[fires]
    fired = np.bincount(keys, minlength=(n_words + 1) * firings.n_latents).reshape(n_words + 1, firings.n_latents)
    density = fired.sum(axis=0) / max(len(words), 1)
    counts = np.bincount(words, minlength=n_words + 1)[:, None]
    return ((fired + _MADE_UP * density) / (counts + _MADE_UP))[:-1].astype(np.float32)


def show_words(rule: Rule, latent: int, rates: Mapping[Where, np.ndarray], lexicon: Lexicon) -> Rule:
    """The rule with the words it shows for each family: typical ones on which it fires, or doesn't if ruled out.

    Families that are looked for near or in the passage, where one word says little, keep their names.
    """
    families = lexicon.families_of

    def shown(mention: Mention, *, fires: bool) -> Mention:
        if mention.where not in rates or mention.name not in lexicon.typical_words or SPELLING in mention.name:
            return mention
        typical = lexicon.typical_words[mention.name]
        chance = rates[mention.where][[lexicon.place_of[word] for word in typical], latent]
        worth = (chance if fires else 1 - chance) / (1 + np.arange(len(typical)) / _FADING)
        ranked = [typical[place] for place in np.argsort(-worth, kind="stable") if _is_readable(typical[place])]
        for first, second in combinations(ranked, 2):
            if not same_stem(first, second) and len(families[first] & families[second]) == 1:
                return mention._replace(shown=f"{first}/{second}")
        return mention

    like, unlike = partial(shown, fires=True), partial(shown, fires=False)
    return Rule(tuple(map(like, rule.like)), tuple(map(unlike, rule.unlike)))


def _is_readable(word: str) -> bool:
    """A word, a number or a sign with a name; no part of a word and no knot of signs."""
    return word.isalnum() or word in SIGN_NAMES


def firing_on_shown(rules: Mapping[int, Rule], rates: np.ndarray, lexicon: Lexicon) -> float:
    """How often features fire on the words that their labels show, the mean over all mentions of families.

    Args:
        rules: by latent; what they rule out, and what they look for elsewhere than at the token, is left out.
        rates: (n_words, n_latents) of `word_rates`, at the token.
    """
    places = lexicon.place_of
    shown = [
        rates[places[word], latent]
        for latent, rule in rules.items()
        for mention in rule.like
        if mention.where == "token" and mention.name in lexicon.typical_words
        for word in (mention.shown or mention.name).split("/")
        if word in places
    ]
    return float(np.mean(shown)) if shown else float("nan")
