"""A trace: the SAE activations of every layer on each token of a text."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from feature_tracker.feature import Feature
from feature_tracker.model.tokens import TokenizedText


@dataclass(frozen=True)
class LayerTrace:
    """Top-k activations of one layer's SAE on the tokens of a text, without BOS.

    Attributes:
        layer: 0-based decoder block.
        values: (n_tokens, k) float32, never negative, in no particular order. k is the SAE's; for a kind of SAE without
            one it is the largest number of activations on any token of this text.
        indices: (n_tokens, k) int32 latent indices.
        n_latents: latents of the SAE.
    """

    layer: int
    values: np.ndarray
    indices: np.ndarray
    n_latents: int

    def dense(self) -> np.ndarray:
        """(n_tokens, n_latents) float32 activations, 0 where a latent is not among the top k."""
        out = np.zeros((len(self.values), self.n_latents), np.float32)
        np.put_along_axis(out, self.indices.astype(np.int64), self.values, axis=1)
        return out

    def column(self, index: int) -> np.ndarray:
        """(n_tokens,) float32 activations of one latent."""
        return np.where(self.indices == index, self.values, 0).sum(axis=1, dtype=np.float32)

    def largest(self, positions: np.ndarray) -> np.ndarray:
        """(n_latents,) float32 each latent's largest activation on these tokens; 0 where there are none."""
        out = np.zeros(self.n_latents, np.float32)
        np.maximum.at(out, self.indices[positions], self.values[positions])
        return out


@dataclass(frozen=True)
class Trace:
    """A text's tokens and their top-k activations in every SAE layer.

    Attributes:
        tokens: the text and its tokens, without BOS.
        layers: activations by layer, ascending.
        attention_sink: (n_tokens,) bool, which tokens are attention sinks in a layer; `None` where none is.
    """

    tokens: TokenizedText
    layers: dict[int, LayerTrace]
    attention_sink: np.ndarray | None = None

    @property
    def n_tokens(self) -> int:
        """Number of tokens, without BOS."""
        return self.tokens.n_tokens

    @property
    def token_texts(self) -> list[str]:
        """The text of each token."""
        return self.tokens.token_texts

    @property
    def counted(self) -> np.ndarray:
        """Positions that count in rankings and correlations, the same in all layers.

        Left out are attention sinks, on which many features fire at once and far more strongly than on any word, and
        the first token after each cut between windows, before which the model sees no words. Where nothing else is
        left, all count.
        """
        starts = self.tokens.window_starts
        counts = np.ones(self.n_tokens, bool)
        counts[list(starts if self.tokens.is_cut else starts[1:])] = False
        if self.attention_sink is not None:
            counts &= ~self.attention_sink
        return np.flatnonzero(counts) if counts.any() else np.arange(self.n_tokens)

    def peak(self, feature: Feature) -> int:
        """The counted position on which a feature fires most strongly."""
        counted = self.counted
        return int(counted[self.column(feature)[counted].argmax()])

    def by_word(self, activations: np.ndarray) -> np.ndarray:
        """(n_words,) the largest of (n_tokens,) activations on each word's counted tokens; 0 where none counts."""
        words = self.tokens.words
        largest = np.zeros(len(words.spans))
        np.maximum.at(largest, words.word_of[self.counted], activations[self.counted])
        return largest

    def column(self, feature: Feature) -> np.ndarray:
        """(n_tokens,) float32 activations of one feature."""
        return self.layers[feature.layer].column(feature.index)
