"""Statistics of a layer's features over a corpus, summed batch by batch: density, quantiles, specialization."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from feature_tracker.corpus.quantiles import FiringQuantiles

_QUANTILES = {"q50": 0.5, "q90": 0.9, "q99": 0.99}
"""By column, the share of a feature's firing tokens that are no stronger."""
_GENERAL, _FINANCE = 0, 1
"""Rows of the sums."""


class LayerSums:
    """Running sums of one layer's activations on finance text and on general text.

    Args:
        n_latents: latents of the layer's SAE.
    """

    def __init__(self, n_latents: int) -> None:
        self._sums = np.zeros((2, n_latents))
        self._tokens = np.zeros(2, np.int64)
        self._fired = np.zeros(n_latents, np.int64)
        self._largest = np.zeros(n_latents, np.float32)
        self._quantiles = FiringQuantiles(n_latents)

    def add(self, values: np.ndarray, indices: np.ndarray, *, finance: bool) -> None:
        """Add the top-k activations (n_tokens, k) of text of one kind, BOS excluded."""
        kind = _FINANCE if finance else _GENERAL
        fires = values > 0
        latents, activations = indices[fires], values[fires]
        n_latents = len(self._fired)
        self._tokens[kind] += len(values)
        self._sums[kind] += np.bincount(latents, weights=activations.astype(float), minlength=n_latents)
        self._fired += np.bincount(latents, minlength=n_latents)
        np.maximum.at(self._largest, latents, activations)
        self._quantiles.add(latents, activations)

    def frame(self) -> pd.DataFrame:
        """One row per latent, in order.

        Returns:
            `specialization` (mean activation per token on finance text minus the same on general text),
            `specialization_index` ((f - g) / (f + g), NaN for a latent that fires on neither), `finance_mean,
            general_mean, finance_tokens, general_tokens, density, mean_activation, max_activation`, and `q50, q90,
            q99` of the activations on the tokens on which the latent fires. A kind without text has NaN for its mean.
        """
        with np.errstate(invalid="ignore", divide="ignore"):
            means = self._sums / self._tokens[:, None]
            finance, general = means[_FINANCE], means[_GENERAL]
            index = (finance - general) / (finance + general)
        n_tokens = int(self._tokens.sum())
        quantiles = self._quantiles.quantiles(list(_QUANTILES.values()))
        return pd.DataFrame(
            {
                "specialization": finance - general,
                "specialization_index": index,
                "finance_mean": finance,
                "general_mean": general,
                "finance_tokens": int(self._tokens[_FINANCE]),
                "general_tokens": int(self._tokens[_GENERAL]),
                "density": self._fired / n_tokens,
                "mean_activation": self._sums.sum(axis=0) / n_tokens,
                "max_activation": self._largest.astype(float),
                **dict(zip(_QUANTILES, quantiles.T, strict=True)),
            }
        )

    def state(self) -> dict[str, np.ndarray]:
        """Everything added so far, as arrays for `restore`."""
        return {
            "sums": self._sums, "tokens": self._tokens, "fired": self._fired, "largest": self._largest,
            **self._quantiles.state(),
        }  # fmt: skip

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Continue from the `state` of an earlier run."""
        self._sums, self._tokens = state["sums"], state["tokens"]
        self._fired, self._largest = state["fired"], state["largest"]
        self._quantiles.restore(state)
