"""On which words the features of a layer fire, and in which passages, summed batch by batch over a corpus."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array

from feature_tracker.corpus.words import NO_WORD, BatchWords, passage_means
from feature_tracker.tracing.run import Encoded

_FOLD_AT = 2_000_000
"""Values that wait before they are summed: 32 MB."""
_SILENT = 1e-6
"""A passage's mean activation below which the latent is silent: what rounding leaves of 0 is a million times less."""


class WordFirings(NamedTuple):
    """A batch's occurrences of words, each with a latent that fires on any of its tokens.

    Attributes:
        words: (n,) int64 number of the word.
        latents: (n,) int64.
        activations: (n,) float32, the largest over the occurrence's tokens.
    """

    words: np.ndarray
    latents: np.ndarray
    activations: np.ndarray


def word_firings(encoded: Encoded, words: BatchWords, n_latents: int) -> WordFirings:
    """Where latents fire on words; attention sinks and what is no word are left out."""
    values, indices = encoded.values.numpy(), encoded.indices.numpy()
    tokens, columns = np.nonzero((values > 0) & _counted(encoded, words)[:, None])
    latents, activations = indices[tokens, columns].astype(np.int64), values[tokens, columns]
    pairs = words.occurrences[tokens] * n_latents + latents
    order = np.argsort(pairs, kind="stable")
    if len(order) == 0:
        return WordFirings(words.words[tokens], latents, activations)
    begins = np.flatnonzero(np.diff(pairs[order], prepend=-1))
    first = order[begins]
    return WordFirings(words.words[tokens[first]], latents[first], np.maximum.reduceat(activations[order], begins))


def _counted(encoded: Encoded, words: BatchWords) -> np.ndarray:
    return ~encoded.attention_sink.numpy() & (words.words != NO_WORD)


class WordSums:
    """Running sums of one layer over the words of a corpus.

    Args:
        n_latents: latents of the layer's SAE.
        slow: (n_slow,) latents for which passages are summed too, ascending.
    """

    def __init__(self, n_latents: int, slow: np.ndarray) -> None:
        self.n_latents, self.slow = n_latents, slow
        self._occurrences = np.zeros(0, np.int64)
        self._windows = np.zeros(0, np.int64)
        self._held, self._fired = _PairSums(n_latents), _PairSums(n_latents)
        self._passages = _PairSums(len(slow))

    def add(self, encoded: Encoded, words: BatchWords) -> None:
        """Add a batch."""
        counted = np.flatnonzero(_counted(encoded, words))
        occurrences = counted[np.diff(words.occurrences[counted], prepend=-1) != 0]
        self._occurrences = _add_counts(self._occurrences, words.words[occurrences])
        firings = word_firings(encoded, words, self.n_latents)
        self._held.add(firings.words, firings.latents, firings.activations)
        self._fired.add(firings.words, firings.latents, np.ones(len(firings.words), np.float32))

        # A word counts once a window, so that the names of one document don't crowd out the words of many.
        n_words = int(words.words.max(initial=0)) + 1
        in_window, which = np.unique(words.windows[counted] * n_words + words.words[counted], return_inverse=True)
        self._windows = _add_counts(self._windows, in_window % n_words)
        if len(self.slow):
            n_tokens = np.bincount(which)
            shape = (len(in_window), len(words.words))
            mean_over_tokens = csr_array((1 / n_tokens[which], (which, counted)), shape=shape)
            means = mean_over_tokens @ passage_means(self._slow_activations(encoded), words.windows)
            rows, columns = np.nonzero(means > _SILENT)
            self._passages.add(in_window[rows] % n_words, columns, means[rows, columns])

    @property
    def occurrences(self) -> np.ndarray:
        """(n_words,) occurrences of each word, those that are attention sinks left out."""
        return self._occurrences

    @property
    def windows(self) -> np.ndarray:
        """(n_words,) windows in which each word occurs."""
        return self._windows

    def held(self) -> csr_array:
        """(n_words, n_latents) sums of each latent's activations over the occurrences of each word."""
        return self._held.total(len(self._windows))

    def fired(self) -> csr_array:
        """(n_words, n_latents) occurrences of each word on which each latent fires."""
        return self._fired.total(len(self._windows))

    def passages(self) -> csr_array:
        """(n_words, n_slow) sums of slow latents' mean activations in the passages around a word.

        The mean over its occurrences in a window counts once.
        """
        return self._passages.total(len(self._windows))

    def state(self) -> dict[str, np.ndarray]:
        """Everything added so far, as arrays for `restore`."""
        sums = {"held": self._held, "fired": self._fired, "passages": self._passages}
        arrays = {f"{name}.{part}": array for name, pairs in sums.items() for part, array in pairs.state().items()}
        return {"slow": self.slow, "occurrences": self._occurrences, "windows": self._windows, **arrays}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Continue from the `state` of an earlier run."""
        self._occurrences, self._windows = state["occurrences"], state["windows"]
        for name, pairs in (("held", self._held), ("fired", self._fired), ("passages", self._passages)):
            pairs.restore(state[f"{name}.row_ends"], state[f"{name}.columns"], state[f"{name}.values"])

    def _slow_activations(self, encoded: Encoded) -> np.ndarray:
        """(n_tokens, n_slow) float32, 0 on attention sinks."""
        values = encoded.values.numpy() * ~encoded.attention_sink.numpy()[:, None]
        column_of = np.full(self.n_latents, -1)
        column_of[self.slow] = np.arange(len(self.slow))
        columns = column_of[encoded.indices.numpy()]
        tokens, kept = np.nonzero((values > 0) & (columns >= 0))
        out = np.zeros((len(values), len(self.slow)), np.float32)
        out[tokens, columns[tokens, kept]] = values[tokens, kept]
        return out


class _PairSums:
    """Sums by word and latent. Most pairs never meet, so that only those are stored that did.

    Args:
        n_columns: number of latents.
    """

    def __init__(self, n_columns: int) -> None:
        self._n_columns = n_columns
        self._n_rows, self._sums = 0, csr_array((0, n_columns), dtype=np.float32)
        self._waiting: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._n_waiting = 0

    def add(self, rows: np.ndarray, columns: np.ndarray, values: np.ndarray) -> None:
        """Add values, each of its pair of row and column."""
        self._waiting.append((rows.astype(np.int32), columns.astype(np.int32), values.astype(np.float32)))
        self._n_waiting += len(rows)
        if self._n_waiting > max(_FOLD_AT, self._sums.nnz):
            self._fold()

    def total(self, n_rows: int) -> csr_array:
        """(n_rows, n_columns) float32 sums; `n_rows` beyond every row that was added."""
        self._fold()
        self._n_rows = n_rows
        self._sums.resize((n_rows, self._n_columns))
        return self._sums

    def state(self) -> dict[str, np.ndarray]:
        self._fold()
        return {"row_ends": self._sums.indptr, "columns": self._sums.indices, "values": self._sums.data}

    def restore(self, row_ends: np.ndarray, columns: np.ndarray, values: np.ndarray) -> None:
        self._n_rows = len(row_ends) - 1
        self._sums = csr_array((values, columns, row_ends), shape=(self._n_rows, self._n_columns))
        self._waiting, self._n_waiting = [], 0

    def _fold(self) -> None:
        if not self._n_waiting:
            return
        rows, columns, values = (np.concatenate(parts) for parts in zip(*self._waiting, strict=True))
        self._n_rows = max(self._n_rows, int(rows.max()) + 1)
        shape = (self._n_rows, self._n_columns)
        self._sums.resize(shape)
        self._sums = self._sums + csr_array((values, (rows, columns)), shape=shape)
        self._waiting, self._n_waiting = [], 0


def _add_counts(counts: np.ndarray, words: np.ndarray) -> np.ndarray:
    """`counts` by word, plus how often each is among `words`."""
    more = np.bincount(words, minlength=len(counts))
    more[: len(counts)] += counts
    return more
