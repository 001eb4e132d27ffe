"""A recorded stream taken apart: what features, the SAE's error and attention sinks each contribute to it.

At an SAE layer the residual stream of a token is

    x = sum_i a_i s W_i + offset + error

with activations a_i, decoder directions W_i and the scale s of a normalized SAE (1 without). On attention sinks, BOS
and the first token after a cut, nothing is told apart: there the whole stream is one part, against the mean of the
others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from feature_tracker.model.hooks import EMBEDDINGS
from feature_tracker.model.next_token import logits_of
from feature_tracker.sae.topk import Sae
from feature_tracker.tracing.recording import Recording

WORD_SWAPS = 3
"""A word is replaced by this many others in turn, and effects are means over them."""


@dataclass(frozen=True, eq=False)
class WindowStream:
    """The stream of one window at one layer, taken apart.

    Attributes:
        recording: that it belongs to.
        number: of the window.
        layer: an SAE layer, or `EMBEDDINGS`.
    """

    recording: Recording
    number: int
    layer: int

    @property
    def resid(self) -> torch.Tensor:
        """(window, d_model), BOS first where windows start with it."""
        return self.recording.windows[self.number].resid[self.layer]

    @cached_property
    def counts(self) -> torch.Tensor:
        """(window,) bool: which positions are tokens that count; see `Trace.counted`."""
        counted = np.zeros(self.recording.trace.n_tokens, dtype=bool)
        counted[self.recording.trace.counted] = True
        first = np.zeros(self.recording.first, dtype=bool)
        return torch.from_numpy(np.concatenate([first, counted[self.recording.tokens_of(self.number)]]))

    @cached_property
    def activations(self) -> torch.Tensor:
        """(window, n_latents), 0 where nothing counts."""
        top = self.sae.encode(self.resid)
        dense = self.resid.new_zeros(len(self.resid), self.sae.n_latents, dtype=self.sae.b_dec.dtype)
        return dense.scatter_(-1, top.indices, top.values) * self.counts.to(dense)[:, None]

    @property
    def sae(self) -> Sae:
        """Of this layer."""
        return self.recording.saes[self.layer]

    def decoded(self, activations: torch.Tensor) -> torch.Tensor:
        """(window, d_model) what activations (window, n_latents) add to the stream."""
        return (activations @ self.sae.decoder) * self.sae.scale(self.resid)

    @cached_property
    def error(self) -> torch.Tensor:
        """(window, d_model) what the SAE leaves out, 0 where nothing counts."""
        reconstructed = self.decoded(self.activations) + self.sae.offset(self.resid)
        return (self.resid - reconstructed) * self.counts.to(reconstructed)[:, None]

    @cached_property
    def unusual(self) -> torch.Tensor:
        """(window, d_model) how BOS and attention sinks differ from the mean of the tokens that count, 0 on these."""
        resid = self.resid.to(torch.float32)
        mean = resid[self.counts].mean(dim=0) if self.counts.any() else resid.mean(dim=0)
        return (resid - mean) * (~self.counts).to(resid)[:, None]

    @cached_property
    def words(self) -> torch.Tensor:
        """(window, d_model) how the embeddings of tokens that count differ from their mean, 0 elsewhere."""
        resid = self.resid.to(torch.float32)
        mean = resid[self.counts].mean(dim=0) if self.counts.any() else resid.mean(dim=0)
        return (resid - mean) * self.counts.to(resid)[:, None]

    def word_swap(self, positions: Sequence[int], swap: int) -> torch.Tensor:
        """(window, d_model) what is subtracted from the embeddings to replace some words by others of the text.

        A mean of embeddings is no word, and the model parks attention on it; another word is one that it knows.

        Args:
            positions: tokens of the text.
            swap: which replacement, below `WORD_SWAPS`.
        """
        first, start = self.recording.first, self.recording.tokens_of(self.number).start
        inside = [
            position - start + first for position in positions if first <= position - start + first < len(self.resid)
        ]
        others = np.setdiff1d(np.flatnonzero(self.counts.numpy()), inside)
        difference = torch.zeros_like(self.resid)
        if len(others):
            places = (np.array(inside, dtype=np.int64) * 7 + (2 * swap + 1) * len(others) // (2 * WORD_SWAPS)) % len(
                others
            )
            difference[inside] = self.resid[inside] - self.resid[others[places]]
        return difference


def next_layer(recording: Recording, layer: int) -> int:
    """The SAE layer after a layer; the last block where there is none."""
    deeper = [stop for stop in recording.layers if stop > layer]
    return deeper[0] if deeper else recording.last_block


def layer_before(recording: Recording, layer: int) -> int:
    """The SAE layer before a layer; `EMBEDDINGS` where there is none."""
    before = [stop for stop in recording.layers if stop < layer]
    return before[-1] if before else EMBEDDINGS


def run_on(recording: Recording, number: int, layer: int, resid: torch.Tensor, stop: int) -> torch.Tensor:
    """(n, window, d_model) streams after block `stop` of variants (n, window, d_model) of a window's stream."""
    if stop == layer:  # the last SAE layer may be the last block
        return resid
    return recording.windows[number].run(layer, resid, [stop])[stop]


def logit(recording: Recording, resid: torch.Tensor, position: int, token: int, against: int | None) -> torch.Tensor:
    """(n,) logit of a token at a window's position, minus another's, or minus the mean of the vocabulary.

    Args:
        resid: (n, window, d_model) streams after the last block.
    """
    logits = logits_of(recording.language_model, resid[:, position])
    return logits[:, token] - (logits.mean(dim=-1) if against is None else logits[:, against])


def windows_with(recording: Recording, positions: Sequence[int]) -> list[int]:
    """Numbers of the windows that hold any of these tokens."""
    numbers = np.searchsorted(recording.starts, np.asarray(positions, dtype=np.int64), side="right") - 1
    return sorted({int(number) for number in numbers})
