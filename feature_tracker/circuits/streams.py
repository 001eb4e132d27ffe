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

from feature_tracker.circuits.question import NextWord, Question, WhatFeeds
from feature_tracker.model.hooks import EMBEDDINGS
from feature_tracker.model.next_token import logits_of
from feature_tracker.sae.topk import Sae
from feature_tracker.tracing.recording import Recording

_SOURCE_PARTS = 2
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
        return self.encoded(self.resid)

    def encoded(self, resid: torch.Tensor) -> torch.Tensor:
        """(window, n_latents) activations of a changed stream (window, d_model), 0 where nothing counts."""
        top = self.sae.encode(resid)
        dense = resid.new_zeros(len(resid), self.sae.n_latents, dtype=self.sae.b_dec.dtype)
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

    def without_half(self, part: torch.Tensor) -> torch.Tensor:
        """(window, d_model) the stream with half of some latents taken out; all of it where these are all latents."""
        if len(part) == self.sae.n_latents:
            return self.resid
        only = torch.zeros_like(self.activations)
        only[:, part] = self.activations[:, part]
        return (self.resid - self.decoded(only) / 2).to(self.resid)

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


def source_parts(recording: Recording, layer: int) -> list[torch.Tensor]:
    """The latents of a layer in parts, each with a gradient of its own, (n,) int64 each.

    A gradient is the slope at one point, and taking a feature out is a long step. At the first SAE layer the stream is
    short, a feature is a large part of it, and the slope alone misleads. There the gradient of each part is taken
    where half of the part is out. docs/circuits.md has the figures.
    """
    n_latents = recording.saes[layer].n_latents
    if layer != recording.layers[0]:
        return [torch.arange(n_latents)]
    strongest = recording.trace.layers[layer].dense().sum(axis=0).argsort(kind="stable")[::-1].copy()
    return [torch.from_numpy(strongest[number::_SOURCE_PARTS].copy()) for number in range(_SOURCE_PARTS)]


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


def position_mask(recording: Recording, number: int, positions: Sequence[int] | np.ndarray) -> torch.Tensor:
    """(window,) bool: which positions of a window are these tokens of the text."""
    chosen = np.zeros(recording.trace.n_tokens, dtype=bool)
    chosen[np.asarray(positions, dtype=np.int64)] = True
    first = np.zeros(recording.first, dtype=bool)
    return torch.from_numpy(np.concatenate([first, chosen[recording.tokens_of(number)]]))


def asked_positions(recording: Recording, question: Question) -> np.ndarray:
    """The tokens on which the answer is read: where a feature is asked about, or the one before the next word."""
    trace = recording.trace
    if isinstance(question, NextWord):
        return np.array([trace.n_tokens - 1 if question.position is None else question.position])
    if isinstance(question, WhatFeeds) and question.positions is not None:
        return np.array(question.positions)
    return trace.counted


def positions_before(recording: Recording, question: Question) -> np.ndarray:
    """The tokens that count and can bear on the answer: of the windows in question, up to the last word asked about."""
    counted, asked = recording.trace.counted, asked_positions(recording, question)
    numbers = question_windows(recording, question)
    spans = [recording.tokens_of(number) for number in numbers]
    return np.concatenate(
        [counted[(counted >= span.start) & (counted < span.stop) & (counted <= asked.max())] for span in spans]
    )


def read_positions(recording: Recording, question: Question, layer: int) -> np.ndarray:
    """The tokens over which nodes of a layer are summed: those asked about, in the layer that is asked about."""
    is_asked = isinstance(question, WhatFeeds) and layer == question.features[0].layer
    return asked_positions(recording, question) if is_asked else positions_before(recording, question)


def question_windows(recording: Recording, question: Question) -> list[int]:
    """Numbers of the windows that bear on the answer: those in which what is asked about fires."""
    asked = asked_positions(recording, question)
    if not isinstance(question, NextWord):
        features = question.features if isinstance(question, WhatFeeds) else (question.feature,)
        fires = np.any([recording.trace.column(feature)[asked] > 0 for feature in features], axis=0)
        asked = asked[fires]
    numbers = np.searchsorted(recording.starts, asked, side="right") - 1
    return sorted({int(number) for number in numbers})


def asked_place(recording: Recording, question: NextWord) -> tuple[int, int]:
    """The window, and the position in it, after which the next word would stand."""
    (position,) = asked_positions(recording, question).tolist()
    (number,) = question_windows(recording, question)
    return number, position - recording.starts[number] + recording.first
