"""Where the features of one layer fire on a corpus."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import torch

from feature_tracker.corpus.harvest import Harvest
from feature_tracker.corpus.statistics import LayerSums
from feature_tracker.sae.topk import Sae


@dataclass(frozen=True)
class Firings:
    """Top-k activations of one layer on windows of text, BOS left out.

    A position is a row: window r // body, token 1 + r % body of that window, with body = window - 1.

    Attributes:
        token_ids: (n_windows, window) int32, BOS first.
        finance: (n_windows,) bool.
        values: (n_tokens, k) float32, 0 where fewer than k latents fire.
        indices: (n_tokens, k) latent indices, int16 where the SAE has no more than 32,768 latents, else int32.
        n_latents: latents of the SAE.
    """

    token_ids: np.ndarray
    finance: np.ndarray
    values: np.ndarray
    indices: np.ndarray
    n_latents: int

    @property
    def n_tokens(self) -> int:
        """Positions."""
        return len(self.values)

    @property
    def current(self) -> np.ndarray:
        """(n_tokens,) the token at each position."""
        return self.token_ids[:, 1:].ravel()

    @property
    def is_finance(self) -> np.ndarray:
        """(n_tokens,) bool."""
        return np.repeat(self.finance, self.token_ids.shape[1] - 1)

    @cached_property
    def _by_latent(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        fires = self.values > 0
        rows = np.repeat(np.arange(self.n_tokens, dtype=np.int32), fires.sum(axis=1))
        latents, values = self.indices[fires], self.values[fires]
        order = np.argsort(latents, kind="stable")
        bounds = np.searchsorted(latents[order], np.arange(self.n_latents + 1))
        return rows[order], values[order], bounds

    def of(self, latent: int) -> tuple[np.ndarray, np.ndarray]:
        """(positions on which the latent fires, ascending; its activations there)."""
        rows, values, bounds = self._by_latent
        own = slice(bounds[latent], bounds[latent + 1])
        return rows[own], values[own]

    def statistics(self) -> pd.DataFrame:
        """One row a latent, in order; see `LayerSums.frame`."""
        sums = LayerSums(self.n_latents)
        for finance in (True, False):
            rows = self.is_finance == finance
            sums.add(self.values[rows], self.indices[rows], finance=finance)
        return sums.frame()

    def token_counts(self, vocabulary: int) -> np.ndarray:
        """(vocabulary, n_latents) int64: on how many positions of each token each latent fires."""
        fires = self.values > 0
        keys = (self.current[:, None].astype(np.int64) * self.n_latents + self.indices)[fires]
        return np.bincount(keys, minlength=vocabulary * self.n_latents).reshape(vocabulary, self.n_latents)


def encode_harvest(harvest: Harvest, layer: int, sae: Sae, *, windows: int | None = None) -> Firings:
    """Encode the first `windows` windows of a harvest (all where None)."""
    n_windows = harvest.n_done if windows is None else min(windows, harvest.n_done)
    n_tokens = n_windows * (harvest.token_ids.shape[1] - 1)
    values = np.empty((n_tokens, sae.k), np.float32)
    indices = np.empty((n_tokens, sae.k), np.int16 if sae.n_latents <= 1 << 15 else np.int32)
    with torch.inference_mode():
        start = 0
        for rows, top in harvest.encoded(layer, sae, n_tokens=n_tokens):
            here = slice(start, start + len(rows))
            values[here], indices[here] = top.values.numpy(), top.indices.numpy()
            start += len(rows)
    return Firings(harvest.token_ids[:n_windows], harvest.finance[:n_windows], values, indices, sae.n_latents)
