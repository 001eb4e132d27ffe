"""Made-up activations on made-up words, and what follows from them by definition."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from feature_tracker.corpus.words import BatchWords
from feature_tracker.tracing.run import Encoded


class Planted(NamedTuple):
    """A batch.

    Attributes:
        dense: (n_tokens, n_latents) float32 activations.
        sinks: (n_tokens,) bool.
        words: as a `WordReader` gives them.
    """

    dense: np.ndarray
    sinks: np.ndarray
    words: BatchWords

    @property
    def encoded(self) -> Encoded:
        """The activations in no particular order, as an SAE gives them."""
        order = np.random.default_rng(0).permuted(
            np.broadcast_to(np.arange(self.dense.shape[1]), self.dense.shape), axis=1
        )
        values = np.take_along_axis(self.dense, order, axis=1)
        return Encoded(torch.from_numpy(values), torch.from_numpy(order.astype(np.int32)), torch.from_numpy(self.sinks))

    @property
    def counted(self) -> np.ndarray:
        """(n_tokens, n_latents) activations, 0 on attention sinks."""
        return np.where(self.sinks[:, None], 0, self.dense)

    def occurrences(self) -> list[tuple[int, int, list[int]]]:
        """(word, window, its tokens that are no sinks) of each occurrence that has such tokens and is a word."""
        found = []
        for occurrence in np.unique(self.words.occurrences):
            tokens = np.flatnonzero((self.words.occurrences == occurrence) & ~self.sinks).tolist()
            if tokens and self.words.words[tokens[0]] >= 0:
                found.append((int(self.words.words[tokens[0]]), int(self.words.windows[tokens[0]]), tokens))
        return found


def plant(
    lines: list[list[int]], activations: dict[int, dict[int, float]], *, n_latents: int, sinks: tuple[int, ...] = ()
) -> Planted:
    """A batch of windows.

    Args:
        lines: the words of each window; every word is one token.
        activations: by latent, how strongly it fires on each word; on others it is silent.
        sinks: positions of attention sinks.
    """
    words = np.concatenate([np.array(line, np.int64) for line in lines])
    dense = np.zeros((len(words), n_latents), np.float32)
    for latent, by_word in activations.items():
        for word, activation in by_word.items():
            dense[words == word, latent] = activation
    windows = np.repeat(np.arange(len(lines)), [len(line) for line in lines])
    is_sink = np.isin(np.arange(len(words)), sinks)
    return Planted(dense, is_sink, BatchWords(words, np.arange(len(words)), windows))


def random_batch(generator: np.random.Generator, *, n_latents: int, n_words: int, n_windows: int = 3) -> Planted:
    """A batch of windows of 60 to 90 tokens, in which latents fire at random; words have one to three tokens."""
    lengths = generator.integers(60, 90, n_windows)
    windows = np.repeat(np.arange(n_windows), lengths)
    begins = (generator.random(lengths.sum()) < 0.7) | (np.diff(windows, prepend=-1) != 0)
    occurrences = np.cumsum(begins) - 1
    words = generator.integers(-1, n_words, occurrences[-1] + 1)[occurrences]
    dense = np.where(generator.random((len(words), n_latents)) < 0.3, generator.random((len(words), n_latents)), 0)
    return Planted(
        dense.astype(np.float32), generator.random(len(words)) < 0.05, BatchWords(words, occurrences, windows)
    )
