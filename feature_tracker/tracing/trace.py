"""A trace: what the SAEs of every layer found in each token of a text."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from feature_tracker.feature import Feature
from feature_tracker.model.tokens import TokenizedText


@dataclass(frozen=True)
class LayerTrace:
    """Top-k activations of one layer's SAE on the tokens of a text, BOS not among them.

    Attributes:
        layer: 0-based decoder block.
        values: (n_tokens, k) float32, in no order, never negative. k is the SAE's, or for a kind without one the most
            activations that a token of this text has.
        indices: (n_tokens, k) int32 latent indices.
        n_latents: latents of the SAE.
    """

    layer: int
    values: np.ndarray
    indices: np.ndarray
    n_latents: int

    def dense(self) -> np.ndarray:
        """(n_tokens, n_latents) float32, 0 where a latent is not among the top k."""
        out = np.zeros((len(self.values), self.n_latents), np.float32)
        np.put_along_axis(out, self.indices.astype(np.int64), self.values, axis=1)
        return out

    def column(self, index: int) -> np.ndarray:
        """(n_tokens,) float32 activations of one latent."""
        return np.where(self.indices == index, self.values, 0).sum(axis=1, dtype=np.float32)


@dataclass(frozen=True)
class Trace:
    """A text's tokens and their top-k activations in every SAE layer.

    Attributes:
        tokens: the text and its tokens, BOS not among them.
        layers: by layer, ascending.
    """

    tokens: TokenizedText
    layers: dict[int, LayerTrace]

    @property
    def n_tokens(self) -> int:
        """Tokens without BOS."""
        return self.tokens.n_tokens

    @property
    def token_texts(self) -> list[str]:
        """What each token reads in the text."""
        return self.tokens.token_texts

    @property
    def counted(self) -> np.ndarray:
        """Positions that rankings and correlations count: all but the first token of every window at a cut.

        The text was cut there, so the model saw no words before it, and such a token can become an attention sink on
        which many features fire at once, far above what they do elsewhere. It is a trait of the cut, not of the text.
        """
        cuts = self.tokens.window_starts[0 if self.tokens.is_cut else 1 :]
        kept = np.delete(np.arange(self.n_tokens), cuts)
        return kept if len(kept) else np.arange(self.n_tokens)

    def peak(self, feature: Feature) -> int:
        """Where a feature fires most, of the positions that count."""
        counted = self.counted
        return int(counted[self.column(feature)[counted].argmax()])

    def column(self, feature: Feature) -> np.ndarray:
        """(n_tokens,) float32 activations of one feature."""
        return self.layers[feature.layer].column(feature.index)
