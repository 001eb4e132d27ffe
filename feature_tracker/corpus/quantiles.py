"""Quantiles of each latent's activations over a stream of tokens, in bounded memory.

Values are stored as they are until there are too many. From then on they are counted in bins of 1/256 of an octave, so
that a quantile is off by at most 0.4 % of itself, whatever the distribution.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np

_SUBBINS = 8  # bits of the mantissa that tell bins apart: 256 bins per octave
_SHIFT = 23 - _SUBBINS


class FiringQuantiles:
    """Collects the activations (positive float32) of a layer's latents, and gives their quantiles.

    Args:
        n_latents: latents of the layer.
        max_exact: how many values are stored as they are, at 8 bytes each.
    """

    def __init__(self, n_latents: int, *, max_exact: int = 4_000_000) -> None:
        self._n_latents = n_latents
        self._max_exact = max_exact
        self._latents: list[np.ndarray] = []
        self._values: list[np.ndarray] = []
        self._n_exact = 0
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
        self._n_exact += len(values)
        if self._n_exact > self._max_exact:
            self._fold()

    def quantiles(self, shares: list[float]) -> np.ndarray:
        """Quantiles of each latent's activations, (n_latents, len(shares)); 0 for a latent that never fired.

        They are linear between neighbours, as in `numpy.quantile`. The values in one bin count as evenly spread.
        """
        if self.exact:
            return self._exact_quantiles(shares)
        self._fold()
        return self._binned_quantiles(shares)

    def state(self) -> dict[str, np.ndarray]:
        """Everything added so far, as arrays for `restore`."""
        return {
            "latents": np.concatenate(self._latents) if self._latents else np.zeros(0, np.int32),
            "values": np.concatenate(self._values) if self._values else np.zeros(0, np.float32),
            "bins": self._bins,
            "counts": self._counts,
        }

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Continue from the `state` of an earlier run."""
        self._latents, self._values = [state["latents"]], [state["values"]]
        self._n_exact = len(state["values"])
        self._bins, self._counts = state["bins"], state["counts"]

    def _exact_quantiles(self, shares: list[float]) -> np.ndarray:
        out = np.zeros((self._n_latents, len(shares)))
        if self._n_exact == 0:
            return out
        latents, values = np.concatenate(self._latents), np.concatenate(self._values)
        order = np.argsort(latents, kind="stable")
        bounds = np.searchsorted(latents[order], np.arange(self._n_latents + 1))
        values = values[order]
        for latent, (start, end) in enumerate(pairwise(bounds)):
            if end > start:
                out[latent] = np.quantile(values[start:end], shares)
        return out

    def _binned_quantiles(self, shares: list[float]) -> np.ndarray:
        out = np.zeros((self._n_latents, len(shares)))
        bounds = np.searchsorted(self._bins >> 32, np.arange(self._n_latents + 1))
        top_bits = (self._bins & 0xFFFFFFFF).astype(np.uint32)
        lower = (top_bits << _SHIFT).view(np.float32).astype(float)
        upper = ((top_bits + 1) << _SHIFT).view(np.float32).astype(float)
        for latent, (start, end) in enumerate(pairwise(bounds)):
            if end > start:
                bins = self._counts[start:end], lower[start:end], upper[start:end]
                ranks = np.array(shares) * (self._counts[start:end].sum() - 1)
                floor = np.floor(ranks)
                below, above = _values_at(floor, *bins), _values_at(np.ceil(ranks), *bins)
                out[latent] = below + (ranks - floor) * (above - below)
        return out

    def _fold(self) -> None:
        """Move the stored values into bins."""
        if not self._n_exact:
            return
        latents, values = np.concatenate(self._latents), np.concatenate(self._values)
        # Positive floats sort as their bits do, so the top bits of a value are its bin.
        new = (latents.astype(np.int64) << 32) | (values.view(np.uint32) >> _SHIFT)
        bins, counts = np.unique(new, return_counts=True)
        merged, position = np.unique(np.concatenate([self._bins, bins]), return_inverse=True)
        self._counts = np.bincount(position, weights=np.concatenate([self._counts, counts])).astype(np.int64)
        self._bins = merged
        self._latents, self._values, self._n_exact = [], [], 0


def _values_at(ranks: np.ndarray, counts: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """The values at some ranks (from 0) of one latent, whose bins have these counts and bounds."""
    n_before = np.cumsum(counts) - counts
    bins = np.searchsorted(n_before, ranks, side="right") - 1
    within = (ranks - n_before[bins] + 0.5) / counts[bins]
    return lower[bins] + within * (upper[bins] - lower[bins])
