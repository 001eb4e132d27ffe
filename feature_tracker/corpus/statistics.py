"""Statistics of a layer's features over a corpus, summed batch by batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from feature_tracker.corpus.passages import PassageSums
from feature_tracker.corpus.quantiles import FiringQuantiles
from feature_tracker.tracing.run import Encoded

_QUANTILES = {"q50": 0.5, "q90": 0.9, "q99": 0.99}
"""By column, the share of a feature's firing tokens that are no stronger."""
_GENERAL, _FINANCE = 0, 1
"""Rows of the sums."""


class LayerSums:
    """Running sums of one layer's activations on finance text and on general text, attention sinks left out.

    Args:
        n_latents: latents of the layer's SAE.
    """

    def __init__(self, n_latents: int) -> None:
        self._sums = np.zeros((2, n_latents))
        self._tokens = np.zeros(2, np.int64)
        self._fired = np.zeros(n_latents, np.int64)
        self._largest = np.zeros(n_latents, np.float32)
        self._sinks = np.zeros(1, np.int64)
        self._quantiles = FiringQuantiles(n_latents)
        self._passages = PassageSums(n_latents)

    @property
    def n_attention_sinks(self) -> int:
        """Tokens that were left out."""
        return int(self._sinks[0])

    def add(self, encoded: Encoded, lengths: Sequence[int], *, finance: bool) -> None:
        """Add the activations of windows of one kind of text.

        Args:
            encoded: of all their tokens.
            lengths: tokens of each window, BOS excluded.
        """
        kind = _FINANCE if finance else _GENERAL
        values, indices, sinks = (part.numpy() for part in encoded)
        fires = (values > 0) & ~sinks[:, None]
        latents, activations = indices[fires], values[fires]
        n_latents = len(self._fired)
        self._tokens[kind] += np.count_nonzero(~sinks)
        self._sinks += np.count_nonzero(sinks)
        self._sums[kind] += np.bincount(latents, weights=activations.astype(float), minlength=n_latents)
        self._fired += np.bincount(latents, minlength=n_latents)
        np.maximum.at(self._largest, latents, activations)
        self._quantiles.add(latents, activations)
        ends = np.cumsum(lengths)
        for start, end in zip(ends - lengths, ends, strict=True):
            self._passages.add(values[start:end], indices[start:end], ~sinks[start:end])

    def frame(self) -> pd.DataFrame:
        """One row per latent, in order.

        Returns:
            `specialization` (mean activation per token on finance text minus the same on general text),
            `specialization_index` ((f - g) / (f + g), NaN for a latent that fires on neither), `finance_mean,
            general_mean, finance_tokens, general_tokens, density, mean_activation, max_activation`, `q50, q90, q99` of
            the activations on the tokens on which the latent fires, and what `PassageSums.columns` gives. A kind
            without text has NaN for its mean.
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
                **self._passages.columns(),
            }
        )

    def state(self) -> dict[str, np.ndarray]:
        """Everything added so far, as arrays for `restore`."""
        return {
            "sums": self._sums, "tokens": self._tokens, "fired": self._fired, "largest": self._largest,
            "sinks": self._sinks, **self._quantiles.state(), **self._passages.state(),
        }  # fmt: skip

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Continue from the `state` of an earlier run."""
        self._sums, self._tokens = state["sums"], state["tokens"]
        self._fired, self._largest, self._sinks = state["fired"], state["largest"], state["sinks"]
        self._quantiles.restore(state)
        self._passages.restore(state)
