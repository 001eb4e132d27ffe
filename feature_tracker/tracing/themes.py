"""Themes: features of all layers that stand out in a text on the same words, told as one thing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.ndimage import convolve1d

from feature_tracker.feature import Feature
from feature_tracker.labels.columns import KEYS
from feature_tracker.labels.table import LabelTable
from feature_tracker.sae.topk import Sae
from feature_tracker.text import FUNCTION_WORDS, is_word, sentence_spans
from feature_tracker.tracing.rows import feature_of, features_of, rows_of
from feature_tracker.tracing.trace import Trace

MOST_CANDIDATES = 80
"""Features that are grouped, the most telling first."""
UNUSUAL = 0.05
"""A feature is a candidate if at most this share of ordinary passages fires it, or makes it peak, as much."""
_MOST_PASSAGES = 1e6
"""Of a rarer feature, no corpus of this size could tell how rare it is."""
_APART = 0.6
"""Average distance within a theme: 0 for features on the same words, 1 for unrelated ones."""
_REACH = 4.0
"""Words over which a feature's firing fades when two features are compared: they may fire on neighbours."""
_FARTHEST = 20
"""Words beyond which nothing is left of it."""
_DIRECTION = 0.3
"""Weight of the decoder directions beside the words when two features are compared."""
_NOTABLE = 0.6
"""A theme is named by a feature at least this telling, as a share of its most telling one."""
_KIND_WEIGHT = {"topic": 1.5, "mixture": 0.6}
"""A subject tells more about a text than a word does, and a mixture of words less."""
_SUBJECT_WEIGHT = 0.5
"""How much more a feature of the text's own kind tells, and how much less one of the other, finance or general."""
_LEAN = 4.0
"""A text is wholly of one kind if the mean specialization of what is unusual in it is a quarter or more."""
_UNKNOWN_F1 = 0.5
_TRUST_BASE = 0.5
"""What a feature tells by being unusual, whatever its label's F1 adds."""


@dataclass(frozen=True)
class Theme:
    """What several features have in common in a text.

    Attributes:
        features: the feature whose label names the theme, then the others from the most to the least telling.
        score: how telling the most telling of them is; see `find_themes`.
        label: of the first feature.
        one_in: of each feature, the N in "one ordinary passage in N of this length makes it stand out as much".
        kind: of the first feature's label.
        f1: of the first feature's label; NaN where it was not scored.
        reliable: whether it beats guessing.
        words: of the text, on which its features fire most; function words and numbers left out.
        excerpts: (start, end) characters of the sentences in which its features fire most, strongest first.
        activation: (n_tokens,) how strongly it fires on each token, from 0 to 1.
    """

    features: tuple[Feature, ...]
    score: float
    label: str
    one_in: tuple[float, ...]
    kind: str
    f1: float
    reliable: bool
    words: tuple[str, ...]
    excerpts: tuple[tuple[int, int], ...]
    activation: np.ndarray


def find_themes(trace: Trace, fired: pd.DataFrame, saes: Mapping[int, Sae]) -> list[Theme]:
    """The themes of a text, the most telling first.

    A feature tells the more, the fewer ordinary passages make it stand out as much (by the logarithm of their number),
    the more it is a subject, the more its specialization goes with that of the text, and the better its label's F1.

    Two features belong together where they fire on the same or neighbouring words and their decoder directions are
    alike, which for features of different layers is their lineage.

    Args:
        fired: all rows of `rank_features` that may count, such as those that aren't about form.
        saes: by layer.
    """
    candidates = _candidates(fired)
    if candidates.empty:
        return []
    features = features_of(candidates)
    profiles = np.stack([_profile(trace, feature) for feature in features])
    groups = _groups(profiles, np.stack([_direction(saes, feature) for feature in features]))
    sentences = sentence_spans(trace.tokens.text)
    themes = [
        _theme(trace, candidates[groups == group], profiles[groups == group], sentences) for group in np.unique(groups)
    ]
    return sorted(themes, key=lambda theme: -theme.score)


def members_of(themes: Sequence[Theme], labels: LabelTable) -> pd.DataFrame:
    """The features of some themes, one row each.

    Returns:
        `theme`, its number from 0, `theme_label, layer, feature, label, one_in`.
    """
    rows = [
        (number, theme.label, *feature, labels.name(feature), one_in)
        for number, theme in enumerate(themes)
        for feature, one_in in zip(theme.features, theme.one_in, strict=True)
    ]
    return pd.DataFrame(rows, columns=["theme", "theme_label", *KEYS, "label", "one_in"])


def _candidates(fired: pd.DataFrame) -> pd.DataFrame:
    """The most telling features, with `one_in`, `weight` and `score`; see `find_themes`."""
    chance_alone = np.maximum(fired["chance_alone"].to_numpy(dtype=float), 1 / _MOST_PASSAGES)
    one_in = np.fmax(1 / chance_alone, fired["rarity"].to_numpy(dtype=float))
    unusual = fired.assign(one_in=one_in)[one_in >= 1 / UNUSUAL]
    surprise = np.log(unusual["one_in"].to_numpy())
    specialization = unusual["specialization_index"].fillna(0.0).to_numpy(dtype=float)
    lean = np.clip(_LEAN * np.average(specialization, weights=surprise), -1, 1) if len(unusual) else 0.0
    kind = unusual["kind"].map(_KIND_WEIGHT).fillna(1.0).to_numpy(dtype=float)
    trust = _TRUST_BASE + _f1_or_guess(unusual)
    weight = kind * trust * (1 + _SUBJECT_WEIGHT * lean * specialization)
    measured = unusual.assign(weight=weight, score=weight * surprise)
    return measured.sort_values("score", ascending=False, kind="stable").head(MOST_CANDIDATES)


def _f1_or_guess(rows: pd.DataFrame) -> np.ndarray:
    """(n_rows,) F1 of each label; where there is none, 1 for the user's own labels and a guess for others."""
    guess = np.where(rows["reliable"], 1.0, _UNKNOWN_F1)
    return np.where(rows["f1"].isna(), guess, rows["f1"].astype(float))


def _profile(trace: Trace, feature: Feature) -> np.ndarray:
    """(n_words,) square root of the feature's largest activation on each word, scaled to at most 1."""
    by_word = trace.by_word(trace.column(feature))
    return np.sqrt(by_word / max(by_word.max(), 1e-12))


def _direction(saes: Mapping[int, Sae], feature: Feature) -> np.ndarray:
    direction = saes[feature.layer].decoder[feature.index].float().cpu().numpy()
    return direction / np.linalg.norm(direction)


def _groups(profiles: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """(n,) number of each feature's group."""
    if len(profiles) == 1:
        return np.ones(1, dtype=int)
    fading = np.exp(-np.abs(np.arange(-_FARTHEST, _FARTHEST + 1)) / _REACH)
    spread = convolve1d(profiles, fading, axis=1, mode="constant")
    spread -= spread.mean(axis=1, keepdims=True)
    spread /= np.linalg.norm(spread, axis=1, keepdims=True) + 1e-12
    alike = (1 - _DIRECTION) * spread @ spread.T + _DIRECTION * directions @ directions.T
    apart = np.maximum(1 - alike[np.triu_indices(len(alike), 1)], 0.0)  # rounding may fall below 0
    return fcluster(linkage(apart, "average"), _APART, "distance")


def _theme(trace: Trace, members: pd.DataFrame, profiles: np.ndarray, sentences: np.ndarray) -> Theme:
    one_in = members["one_in"].to_numpy()
    score = members["score"].to_numpy()
    quality = _f1_or_guess(members) * members["weight"].to_numpy()
    naming = np.where(score >= _NOTABLE * score.max(), quality, -1.0)
    first = int(naming.argmax())
    order = [first, *(row for row in range(len(members)) if row != first)]
    rows = rows_of(members)
    strength = profiles.mean(axis=0)
    words = trace.tokens.words
    return Theme(
        features=tuple(feature_of(rows[row]) for row in order),
        score=float(score.max()),
        label=str(rows[first]["label"]),
        one_in=tuple(float(one_in[row]) for row in order),
        kind=str(rows[first]["kind"]),
        f1=float(rows[first]["f1"]),
        reliable=bool(rows[first]["reliable"]),
        words=_words(trace.tokens.text, words.spans, strength),
        excerpts=_excerpts(words.spans, strength, sentences),
        activation=(strength / max(strength.max(), 1e-12))[words.word_of],
    )


def _words(text: str, spans: np.ndarray, strength: np.ndarray, most: int = 6) -> tuple[str, ...]:
    chosen: dict[str, str] = {}
    for row in np.argsort(-strength, kind="stable"):
        word = text[slice(*spans[row])]
        if strength[row] <= 0 or len(chosen) == most:
            break
        tells = is_word(word) and word.casefold() not in FUNCTION_WORDS and not any(map(str.isdigit, word))
        if tells:
            chosen.setdefault(word.casefold(), word)
    return tuple(chosen.values())


def _excerpts(spans: np.ndarray, strength: np.ndarray, sentences: np.ndarray) -> tuple[tuple[int, int], ...]:
    """Up to two sentences, in which the words together fire most."""
    edges = np.searchsorted(spans[:, 0], sentences[:, 0])
    total = np.add.reduceat(strength, edges)
    length = np.diff([*edges, len(spans)])
    order = np.argsort(-total / np.sqrt(length), kind="stable")[:2]
    return tuple((int(start), int(end)) for start, end in sentences[order[total[order] > 0]])
