"""Where the features of one layer fire on a corpus."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import torch

from feature_tracker.corpus.statistics import QUANTILES, statistics_frame
from feature_tracker.sae.topk import Sae
from feature_tracker.training.harvest import Harvest

_CHUNK = 16_384


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
        for start, rows in enumerate(harvest.resid(layer)[:n_tokens].split(_CHUNK)):
            top = sae.encode(rows)
            here = slice(start * _CHUNK, start * _CHUNK + len(rows))
            values[here], indices[here] = top.values.numpy(), top.indices.numpy()
    return Firings(harvest.token_ids[:n_windows], harvest.finance[:n_windows], values, indices, sae.n_latents)


def feature_statistics(firings: Firings) -> pd.DataFrame:
    """Measures of every latent of a layer from its post-top-k activations; columns as `statistics_frame`."""
    finance = firings.is_finance
    values_of = [firings.of(latent)[1] for latent in range(firings.n_latents)]
    sums = []
    for chosen in (finance, ~finance):
        indices, values = firings.indices[chosen].ravel(), firings.values[chosen].ravel()
        sums.append(np.bincount(indices, weights=values.astype(float), minlength=firings.n_latents))
    return statistics_frame(
        finance_sum=sums[0],
        general_sum=sums[1],
        finance_tokens=int(finance.sum()),
        general_tokens=int((~finance).sum()),
        fired=np.array([len(v) for v in values_of]),
        largest=np.array([float(v.max()) if len(v) else 0.0 for v in values_of]),
        quantiles=np.array([np.quantile(v, QUANTILES) if len(v) else np.zeros(3) for v in values_of]),
    )
