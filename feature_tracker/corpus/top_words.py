"""Label features by their top words: those that hold most of a feature's activation, or those around a slow feature.

Every word shown is one on which the feature fires more often than not.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.sparse import csc_array

from feature_tracker.corpus.word_sums import WordSums
from feature_tracker.text import is_word

ON_NO_WORD = "fires on no word in particular"
"""Label of a feature that fires more often than not on no word."""
_ON_WORDS, _IN_PASSAGES = "fires on: ", "in passages with: "
_MOST_WORDS = 6
_LONGEST = 60
"""Characters of a label."""
_WORTH = 0.05
"""A further word must add so much of what the words before it have together."""
_FEWEST = 3
"""Occurrences of a word that is shown where no word is sure."""
_CONFIDENCE = 2.33
"""Standard errors from a word's share to its lower limit, which lies above the true share once in 100 times."""
_PRIOR_WINDOWS = 5.0
"""Windows with the latent's mean activation that are added to each word's, since rare words are rich by chance."""

# What is left of "increase", "increases", "increased" and "increasing" is the same, and so it is of "tax" and "taxes".
_ENDING = re.compile(r"(?:(?<=...)(?:(?<!s)s|es|ed|e|d|ing)|(?<=....)(?:y|ies|ied))?(?:['’]s?)?$")


class TopWords(NamedTuple):
    """The label of one feature.

    Attributes:
        label: as it is shown.
        words: numbers of the words in it; none with the label `ON_NO_WORD`.
        slow: whether they are words of the passages in which it fires, else the words on which it does.
    """

    label: str
    words: list[int]
    slow: bool


def choose_top_words(sums: WordSums, shown: Sequence[str], documents: np.ndarray) -> list[TopWords]:
    """The label of every latent of a layer, in order.

    A feature that isn't slow is labelled with the words that hold most of its activation. For a slow one, words are
    ranked by how sure it is that passages around them are richer in its activation than passages in general: by
    n log(lift)^2, with n a word's windows weighed by activation, which is the order of the z-scores of log-odds
    (Monroe et al. 2008, Fightin' Words, eq. 22).

    A word is shown only if the latent fires on more than half of its occurrences: at the lower end of Wilson's
    interval, counting one occurrence a document, because those of one text are alike. Where no word is so sure, those
    of at least `_FEWEST` occurrences count by their plain share. Of words that differ in their ending, one is shown.
    Runs of signs tell little of a passage and are left out there.

    Args:
        sums: of the training text.
        shown: each word as it is shown, `WordReader.shown`.
        documents: (n_words,) in how many documents each word occurs.
    """
    held, fired, passages = sums.held().tocsc(), sums.fired().tocsc(), sums.passages().tocsc()
    slow_column = {int(latent): column for column, latent in enumerate(sums.slow)}
    is_name = np.array([is_word(word) for word in shown], bool)
    labels = []
    for latent in range(sums.n_latents):
        if latent in slow_column:
            worth = evidence(_column(passages, slow_column[latent]), sums.windows) * is_name
        else:
            worth = _column(held, latent)
        shares = _column(fired, latent) / np.maximum(sums.occurrences, 1)
        candidates = (worth > 0) & (_wilson_lower(shares, np.maximum(documents, 1)) > 0.5)
        if not candidates.any():
            candidates = (worth > 0) & (shares > 0.5) & (sums.occurrences >= _FEWEST)
        labels.append(_label(np.where(candidates, worth, 0.0), shown, slow=latent in slow_column))
    return labels


def _column(matrix: csc_array, column: int) -> np.ndarray:
    return matrix[:, [column]].toarray().ravel().astype(float)


def evidence(passages: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """(n_words,) z^2 of each word's log-odds, 0 where it is not richer than the mean; see `choose_top_words`.

    Args:
        passages: (n_words,) sums over windows of a slow latent's mean activation around the word.
        windows: (n_words,) windows in which the word occurs.
    """
    if not passages.any():
        return passages
    weighed = passages / (passages.sum() / windows.sum()) + _PRIOR_WINDOWS
    return weighed * np.maximum(np.log(weighed / (windows + _PRIOR_WINDOWS)), 0.0) ** 2


def _wilson_lower(shares: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Lower end of the confidence interval of shares seen in n cases each (Wilson 1927)."""
    z = _CONFIDENCE
    centre, spread = shares + z**2 / (2 * n), z * np.sqrt(shares * (1 - shares) / n + (z / (2 * n)) ** 2)
    return (centre - spread) / (1 + z**2 / n)


def _label(worth: np.ndarray, shown: Sequence[str], *, slow: bool) -> TopWords:
    """Word the label from the words of most worth; those of none are left out."""
    start = _IN_PASSAGES if slow else _ON_WORDS
    label, total = start, 0.0
    words: list[int] = []
    stems: set[str] = set()
    for word in map(int, np.argsort(-worth, kind="stable")[: np.count_nonzero(worth)]):
        stem = _ENDING.sub("", shown[word].casefold())
        longer = f"{label}, {shown[word]}" if words else label + shown[word]
        if stem in stems or len(longer) > _LONGEST:
            continue
        if worth[word] < _WORTH * total or len(words) == _MOST_WORDS:
            break
        label, total = longer, total + worth[word]
        words.append(word)
        stems.add(stem)
    return TopWords(label if words else ON_NO_WORD, words, slow)
