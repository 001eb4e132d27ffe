"""How a layer's features fire over passages: their means over pieces of text, and how long their firing lasts."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from feature_tracker.tracing.distinctive import PIECES

LAG = 20
"""Tokens between the two of a pair: more than one phrase has, and fewer than a passage."""


class PassageSums:
    """Running sums over the windows of a corpus.

    For each length in `PIECES`, a window of n tokens is cut into max(1, round(n / length)) equal pieces. Pieces with
    fewer than length / 2 counted tokens are left out.

    Args:
        n_latents: latents of the layer's SAE.
    """

    def __init__(self, n_latents: int) -> None:
        self._n_pieces = np.zeros(len(PIECES), np.int64)
        self._piece_means = np.zeros((len(PIECES), n_latents))  # sums of the pieces' means
        self._piece_squares = np.zeros((len(PIECES), n_latents))  # sums of the squares of these means
        self._n_pairs = np.zeros(1, np.int64)
        self._sums = np.zeros((2, n_latents))  # over pairs: of the first tokens' activations, of the second ones'
        self._squares = np.zeros((2, n_latents))
        self._products = np.zeros(n_latents)

    def add(self, values: np.ndarray, indices: np.ndarray, counted: np.ndarray) -> None:
        """Add a window: top-k activations (n_tokens, k), and which tokens count, (n_tokens,) bool."""
        dense = np.zeros((len(values), len(self._products)), np.float32)
        np.put_along_axis(dense, indices.astype(np.int64), values * counted[:, None], axis=1)
        roots = np.sqrt(dense)
        for row, length in enumerate(PIECES):
            self._add_pieces(row, length, roots, counted)
        if len(values) > LAG:
            self._add_pairs(dense, counted)

    def _add_pieces(self, row: int, length: int, roots: np.ndarray, counted: np.ndarray) -> None:
        n_tokens = len(counted)
        n_pieces = max(1, round(n_tokens / length))
        starts = np.arange(n_pieces) * n_tokens // n_pieces
        n_counted = np.add.reduceat(counted, starts, dtype=np.int64)
        long_enough = n_counted >= length / 2
        means = np.add.reduceat(roots, starts, axis=0)[long_enough] / n_counted[long_enough, None]
        self._n_pieces[row] += len(means)
        self._piece_means[row] += means.sum(axis=0)
        self._piece_squares[row] += (means**2).sum(axis=0)

    def _add_pairs(self, dense: np.ndarray, counted: np.ndarray) -> None:
        pairs = counted[:-LAG] & counted[LAG:]
        in_pair = np.zeros((2, len(counted)), np.float32)
        in_pair[0, :-LAG] = in_pair[1, LAG:] = pairs
        self._n_pairs += pairs.sum()
        self._sums += in_pair @ dense
        self._squares += in_pair @ dense**2
        self._products += np.einsum("ti,ti->i", dense[:-LAG], dense[LAG:])  # a token that doesn't count is 0

    def columns(self) -> dict[str, np.ndarray]:
        """(n_latents,) each; NaN where there is too little text, and an autocorrelation where the latent never fires.

        Returns:
            `window_mean` and `window_sd`: mean and standard deviation, over the pieces of the first length, of a
            piece's mean of sqrt(activation). `window_sd_64`: the latter over the pieces of the second.
            `autocorrelation`: Pearson's r between a latent's activations on the two tokens of every pair `LAG` apart
            in one window.
        """
        n_pieces, n_pairs = self._n_pieces[:, None].astype(float), float(self._n_pairs[0])
        with np.errstate(invalid="ignore", divide="ignore"):
            means = self._piece_means / n_pieces
            variances = np.maximum(self._piece_squares - n_pieces * means**2, 0.0) / (n_pieces - 1)
            covariance = n_pairs * self._products - self._sums[0] * self._sums[1]
            spread = np.sqrt(np.prod(n_pairs * self._squares - self._sums**2, axis=0))
            autocorrelation = np.clip(covariance / spread, -1.0, 1.0)  # rounding can lead beyond
        sds = np.sqrt(variances)
        return {
            "window_mean": means[0], "window_sd": sds[0], "window_sd_64": sds[1], "autocorrelation": autocorrelation,
        }  # fmt: skip

    def state(self) -> dict[str, np.ndarray]:
        """Everything added so far, as arrays for `restore`."""
        return {
            "n_pieces": self._n_pieces, "piece_means": self._piece_means, "piece_squares": self._piece_squares,
            "n_pairs": self._n_pairs, "pair_sums": self._sums, "pair_squares": self._squares,
            "pair_products": self._products,
        }  # fmt: skip

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Continue from the `state` of an earlier run."""
        self._n_pieces = state["n_pieces"]
        self._piece_means, self._piece_squares = state["piece_means"], state["piece_squares"]
        self._n_pairs, self._sums = state["n_pairs"], state["pair_sums"]
        self._squares, self._products = state["pair_squares"], state["pair_products"]
