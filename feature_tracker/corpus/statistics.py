"""Statistics of every feature of a layer over a corpus, summed up batch by batch, and how financial each feature is."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from feature_tracker.corpus.quantiles import FiringQuantiles

QUANTILES = [0.5, 0.9, 0.99]
"""Shares of a feature's firing tokens, for the columns `q50, q90, q99`."""


class LayerSums:
    """Running sums of one layer's activations on two kinds of text, finance and general.

    Args:
        n_latents: latents of the layer's SAE.
    """

    def __init__(self, n_latents: int) -> None:
        self._sums = np.zeros((2, n_latents))  # general, finance
        self._tokens = np.zeros(2, np.int64)
        self._fired = np.zeros(n_latents, np.int64)
        self._largest = np.zeros(n_latents, np.float32)
        self._quantiles = FiringQuantiles(n_latents)

    def add(self, values: np.ndarray, indices: np.ndarray, *, finance: bool) -> None:
        """Add top-k activations (n_tokens, k) of one kind of text, BOS not among the tokens."""
        fires = values > 0
        latents, activations = indices[fires], values[fires]
        n_latents = len(self._fired)
        self._tokens[int(finance)] += len(values)
        self._sums[int(finance)] += np.bincount(latents, weights=activations.astype(float), minlength=n_latents)
        self._fired += np.bincount(latents, minlength=n_latents)
        np.maximum.at(self._largest, latents, activations)
        self._quantiles.add(latents, activations)

    def frame(self) -> pd.DataFrame:
        """One row a latent, in order.

        Returns:
            `specialization` (mean activation a token on finance text minus the same on general text),
            `specialization_index` ((f - g) / (f + g), NaN for a latent that fires on neither), `finance_mean,
            general_mean, finance_tokens, general_tokens, density, mean_activation, max_activation`, and `q50, q90,
            q99` of the activations on the tokens on which the latent fires. Means of a kind without text are NaN.
        """
        with np.errstate(invalid="ignore", divide="ignore"):
            general, finance = self._sums / self._tokens[:, None]
            index = (finance - general) / (finance + general)
        n_tokens = int(self._tokens.sum())
        quantiles = self._quantiles.quantiles(QUANTILES)
        return pd.DataFrame(
            {
                "specialization": finance - general,
                "specialization_index": index,
                "finance_mean": finance,
                "general_mean": general,
                "finance_tokens": int(self._tokens[1]),
                "general_tokens": int(self._tokens[0]),
                "density": self._fired / n_tokens,
                "mean_activation": self._sums.sum(axis=0) / n_tokens,
                "max_activation": self._largest.astype(float),
                "q50": quantiles[:, 0],
                "q90": quantiles[:, 1],
                "q99": quantiles[:, 2],
            }
        )

    def state(self) -> dict[str, np.ndarray]:
        """Everything added so far, as arrays that `restore` takes."""
        return {
            "sums": self._sums, "tokens": self._tokens, "fired": self._fired, "largest": self._largest,
            **self._quantiles.state(),
        }  # fmt: skip

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Go on from the state of an earlier run."""
        self._sums, self._tokens = state["sums"], state["tokens"]
        self._fired, self._largest = state["fired"], state["largest"]
        self._quantiles.restore(state)
