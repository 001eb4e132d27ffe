"""Score labels of top words as rules on held-out text: the feature fires on these words, or in passages with them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from feature_tracker.corpus.top_words import TopWords
from feature_tracker.corpus.word_sums import word_firings
from feature_tracker.corpus.words import NO_WORD, BatchWords, passage_means
from feature_tracker.labels.scores import TOP_WORDS
from feature_tracker.tracing.run import Encoded


class WordScores:
    """Running sums of how well the labels of one layer's features predict where these fire, over every token.

    Attention sinks are left out; what is no word is covered by no label.

    Args:
        labels: of every latent, in order.
        n_words: different words in the text that the labels were made from.
    """

    def __init__(self, labels: Sequence[TopWords], n_words: int) -> None:
        n = len(labels)
        pairs = np.array([(word, latent) for latent, label in enumerate(labels) for word in label.words], np.int64)
        words, latents = pairs.reshape(-1, 2).T
        # The last row is that of `NO_WORD`, which indexes from the end.
        self._in_label = csr_array((np.ones(len(words), bool), (words, latents)), shape=(n_words + 1, n))
        self._slow = np.flatnonzero([label.slow for label in labels])
        self._pairs = np.sort(words * n + latents)
        self._n_tokens = np.zeros(1, np.int64)
        self._activation, self._covered_activation = np.zeros(n), np.zeros(n)
        self._firing, self._covered, self._covered_firing = (np.zeros(n, np.int64) for _ in range(3))
        self._occurrences, self._fired = (np.zeros(len(pairs), np.int64) for _ in range(2))

    def add(self, encoded: Encoded, words: BatchWords) -> None:
        """Add a batch of held-out text."""
        n = len(self._activation)
        covered = self._in_label[words.words].toarray()
        self._add_occurrences(encoded, words, covered)
        if len(self._slow):
            covered[:, self._slow] = passage_means(covered[:, self._slow], words.windows) > 0
        counted = ~encoded.attention_sink.numpy()
        values, indices = encoded.values.numpy(), encoded.indices.numpy()
        tokens, columns = np.nonzero((values > 0) & counted[:, None])
        latents, activations = indices[tokens, columns], values[tokens, columns].astype(float)
        is_covered = covered[tokens, latents]
        self._n_tokens += counted.sum()
        self._activation += np.bincount(latents, activations, minlength=n)
        self._firing += np.bincount(latents, minlength=n)
        self._covered += covered[counted].sum(axis=0)
        self._covered_activation += np.bincount(latents[is_covered], activations[is_covered], minlength=n)
        self._covered_firing += np.bincount(latents[is_covered], minlength=n)

    def frame(self) -> pd.DataFrame:
        """One row a latent, in order: the columns of the label table with a label's scores.

        With r the share of a feature's activation that lies on tokens that its label covers, and q the share of silent
        tokens that it covers: `recall` is r, `precision` r / (r + q), `f1` their harmonic mean 2 r / (1 + r + q),
        `balanced_accuracy` (1 + r - q) / 2. They are NaN for a feature that fires on no token, or on all.
        `n_positive` and `n_negative` count firing and silent tokens.
        """
        n_silent = self._n_tokens - self._firing
        with np.errstate(invalid="ignore", divide="ignore"):
            r = self._covered_activation / self._activation
            q = (self._covered - self._covered_firing) / n_silent
            r, q = np.where(np.isnan(q), np.nan, r), np.where(np.isnan(r), np.nan, q)
            precision = np.where(r + q == 0, 0.0, r / (r + q))
        return pd.DataFrame(
            {
                "f1": 2 * r / (1 + r + q), "precision": precision, "recall": r, "balanced_accuracy": (1 + r - q) / 2,
                "n_positive": self._firing, "n_negative": n_silent, "f1_method": TOP_WORDS,
            }
        )  # fmt: skip

    @property
    def words_confirmed(self) -> tuple[int, int]:
        """How many of the labels' words occur in the text, and on how many of them their feature fires mostly."""
        return int((self._occurrences > 0).sum()), int((2 * self._fired > self._occurrences).sum())

    def _add_occurrences(self, encoded: Encoded, words: BatchWords, in_label: np.ndarray) -> None:
        n = len(self._activation)
        counted = np.flatnonzero(~encoded.attention_sink.numpy() & (words.words != NO_WORD))
        first = counted[np.diff(words.occurrences[counted], prepend=-1) != 0]
        tokens, latents = np.nonzero(in_label[first])
        self._occurrences += self._counts(words.words[first[tokens]] * n + latents)
        firings = word_firings(encoded, words, n)
        self._fired += self._counts(firings.words * n + firings.latents)

    def _counts(self, pairs: np.ndarray) -> np.ndarray:
        """How often each pair of a label's word and its latent is among pairs, of which others may be."""
        mine = pairs[np.isin(pairs, self._pairs)]
        return np.bincount(np.searchsorted(self._pairs, mine), minlength=len(self._pairs))
