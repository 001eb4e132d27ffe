"""Quantiles of each latent's activations over a stream of tokens, in bounded memory.

Values are kept exactly until there are too many. From then on they are counted in bins of 1/256 of an octave, so that a
quantile is off by at most 0.4 % of itself, whatever the distribution.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np

_SUBBINS = 8  # bits of the mantissa a bin keeps: 256 bins an octave
_SHIFT = 23 - _SUBBINS


class FiringQuantiles:
    """Collect activations (positive float32) of latents, and give their quantiles.

    Args:
        n_latents: latents of the layer.
        keep: values kept exactly; 8 bytes each.
    """

    def __init__(self, n_latents: int, *, keep: int = 4_000_000) -> None:
        self._n_latents = n_latents
        self._keep = keep
        self._latents: list[np.ndarray] = []
        self._values: list[np.ndarray] = []
        self._n_kept = 0
        self._bins = np.zeros(0, np.int64)  # latent << 32 | top bits of the value, ascending
        self._counts = np.zeros(0, np.int64)

    @property
    def exact(self) -> bool:
        """Whether no value has been binned yet."""
        return len(self._bins) == 0

    def add(self, latents: np.ndarray, values: np.ndarray) -> None:
        """Add activations: latents (n,) int, values (n,) float32, all positive."""
        self._latents.append(latents.astype(np.int32))
        self._values.append(values.astype(np.float32))
        self._n_kept += len(values)
        if self._n_kept > self._keep:
            self._fold()

    def quantiles(self, shares: list[float]) -> np.ndarray:
        """(n_latents, len(shares)) quantiles of each latent's activations, 0 for a latent that never fired.

        Linear between neighbours, as `numpy.quantile`; the values of one bin are taken as evenly spread.
        """
        if self.exact:
            return self._exact_quantiles(shares)
        self._fold()
        out = np.zeros((self._n_latents, len(shares)))
        bounds = np.searchsorted(self._bins >> 32, np.arange(self._n_latents + 1))
        low = (self._bins & 0xFFFFFFFF).astype(np.uint32)
        lower = (low << _SHIFT).view(np.float32).astype(float)
        upper = ((low + 1) << _SHIFT).view(np.float32).astype(float)
        for latent, (start, end) in enumerate(pairwise(bounds)):
            if end > start:
                before = np.cumsum(self._counts[start:end]) - self._counts[start:end]

                def value(rank: np.ndarray, start: int = start, before: np.ndarray = before) -> np.ndarray:
                    here = np.searchsorted(before, rank, side="right") - 1
                    inside = (rank - before[here] + 0.5) / self._counts[start + here]
                    return lower[start + here] + inside * (upper[start + here] - lower[start + here])

                ranks = np.array(shares) * (self._counts[start:end].sum() - 1)
                below = np.floor(ranks)
                out[latent] = value(below) + (ranks - below) * (value(np.ceil(ranks)) - value(below))
        return out

    def state(self) -> dict[str, np.ndarray]:
        """Everything added so far, as arrays that `restore` takes."""
        return {
            "kept_latents": np.concatenate(self._latents) if self._latents else np.zeros(0, np.int32),
            "kept_values": np.concatenate(self._values) if self._values else np.zeros(0, np.float32),
            "bins": self._bins,
            "counts": self._counts,
        }

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Go on from the state of an earlier run."""
        self._latents, self._values = [state["kept_latents"]], [state["kept_values"]]
        self._n_kept = len(state["kept_values"])
        self._bins, self._counts = state["bins"], state["counts"]

    def _exact_quantiles(self, shares: list[float]) -> np.ndarray:
        out = np.zeros((self._n_latents, len(shares)))
        if self._n_kept == 0:
            return out
        latents, values = np.concatenate(self._latents), np.concatenate(self._values)
        order = np.argsort(latents, kind="stable")
        bounds = np.searchsorted(latents[order], np.arange(self._n_latents + 1))
        values = values[order]
        for latent, (start, end) in enumerate(pairwise(bounds)):
            if end > start:
                out[latent] = np.quantile(values[start:end], shares)
        return out

    def _fold(self) -> None:
        """Count the kept values in their bins and forget them."""
        if not self._n_kept:
            return
        latents, values = np.concatenate(self._latents), np.concatenate(self._values)
        # The bits of positive floats are in the order of their values.
        new = (latents.astype(np.int64) << 32) | (values.view(np.uint32) >> _SHIFT)
        bins, counts = np.unique(new, return_counts=True)
        together, place = np.unique(np.concatenate([self._bins, bins]), return_inverse=True)
        self._counts = np.bincount(place, weights=np.concatenate([self._counts, counts])).astype(np.int64)
        self._bins = together
        self._latents, self._values, self._n_kept = [], [], 0
