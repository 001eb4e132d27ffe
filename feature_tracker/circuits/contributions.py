"""What features contribute to those of the next layer, by gradients; see docs/circuits.md.

A node H of the next layer, with weights w_j(s) of its activations, has at the stream x the gradient
g_H(s) = d sum_{j in H, s} w_j(s) a_j(s) / d x(s), and feature i contributes a_i(s) g_H(s).W_i to it. The next layer's
choice of top-k latents is held fixed. Source: Marks et al. 2024, Sparse Feature Circuits, section 3.1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import NamedTuple

import numpy as np
import torch

from feature_tracker.circuits.circuit import Node
from feature_tracker.circuits.question import NextWord, WhatFeeds
from feature_tracker.circuits.streams import WindowStream, asked_place, logit, question_windows, run_on, source_parts
from feature_tracker.model.forward_queue import Turn
from feature_tracker.model.hooks import EMBEDDINGS
from feature_tracker.tracing.recording import Recording


class Contributions(NamedTuple):
    """What a layer contributes to the nodes above it, over all windows.

    Attributes:
        signed, size: (n_targets, n_latents) sums over the tokens of the contributions and of their absolute values; of
            `EMBEDDINGS` (n_targets, n_tokens).
        error, error_size: (n_targets,) of the SAE's error.
        sinks, sinks_size: (n_targets,) of BOS and attention sinks.
        weights: by window, (window, n_latents) how much an activation of 1 adds to the targets together.
    """

    signed: np.ndarray
    size: np.ndarray
    error: np.ndarray
    error_size: np.ndarray
    sinks: np.ndarray
    sinks_size: np.ndarray
    weights: dict[int, torch.Tensor]


def contributions_to(
    recording: Recording,
    question: WhatFeeds | NextWord,
    targets: Sequence[Node],
    weights: Mapping[int, torch.Tensor],
    layer: int,
    turn: Turn = nullcontext,
) -> Contributions:
    """What a layer contributes to nodes of the next one, or to a logit.

    Args:
        targets: of one layer.
        weights: by window in question, (window, n_latents) how much each activation of the targets' layer counts; not
            read for a logit.
        layer: the SAE layer before the targets', or `EMBEDDINGS`.
        turn: taken once for each forward, and once for each target's gradient.
    """
    n_targets, n_tokens = len(targets), recording.trace.n_tokens
    n_sources = n_tokens if layer == EMBEDDINGS else recording.saes[layer].n_latents
    signed, size = np.zeros((n_targets, n_sources)), np.zeros((n_targets, n_sources))
    error, error_size, sinks, sinks_size = (np.zeros(n_targets) for _ in range(4))
    passed_on: dict[int, torch.Tensor] = {}
    for number in question_windows(recording, question):
        stream = WindowStream(recording, number, layer)
        parts = [None] if layer == EMBEDDINGS else source_parts(recording, layer)
        if layer != EMBEDDINGS:
            passed_on[number] = torch.zeros_like(stream.activations)
        for part in parts:
            total = torch.zeros_like(stream.resid)
            for row, gradient in enumerate(_gradients(recording, question, stream, targets, weights, part, turn)):
                total += gradient
                if part is None:
                    tokens = recording.tokens_of(number)
                    words = (gradient * stream.words).sum(dim=-1)[recording.first :]
                    signed[row, tokens], size[row, tokens] = words.cpu(), words.abs().cpu()
                else:
                    by_feature = (stream.activations * _weights(stream, gradient))[:, part]
                    columns = part.cpu().numpy()
                    signed[row, columns] += by_feature.sum(dim=0).double().cpu().numpy()
                    size[row, columns] += by_feature.abs().sum(dim=0).double().cpu().numpy()
                    by_token = (gradient * stream.error).sum(dim=-1)
                    error[row] += float(by_token.sum()) / len(parts)
                    error_size[row] += float(by_token.abs().sum()) / len(parts)
                by_sink = (gradient * stream.unusual).sum(dim=-1)
                sinks[row] += float(by_sink.sum()) / len(parts)
                sinks_size[row] += float(by_sink.abs().sum()) / len(parts)
            if part is not None:
                passed_on[number][:, part] = _weights(stream, total)[:, part]
    return Contributions(signed, size, error, error_size, sinks, sinks_size, passed_on)


def _weights(stream: WindowStream, gradient: torch.Tensor) -> torch.Tensor:
    """(window, n_latents) how much an activation of 1 adds to the target, by a gradient (window, d_model)."""
    return (gradient.to(stream.sae.decoder) @ stream.sae.decoder.T) * stream.sae.scale(stream.resid)


def _gradients(
    recording: Recording,
    question: WhatFeeds | NextWord,
    stream: WindowStream,
    targets: Sequence[Node],
    weights: Mapping[int, torch.Tensor],
    part: torch.Tensor | None,
    turn: Turn,
) -> list[torch.Tensor]:
    """(window, d_model) gradient of each node of the level above, with half of some latents' activations taken out."""
    start = stream.resid if part is None else stream.without_half(part)
    resid = start[None].detach().clone().requires_grad_()
    with turn():
        if isinstance(question, NextWord) and targets[0].kind == "logit":
            deeper = run_on(recording, stream.number, stream.layer, resid, recording.last_block)
            _, position = asked_place(recording, question)
            values = [logit(recording, deeper, position, question.token, question.against)[0]]
        else:
            deeper = run_on(recording, stream.number, stream.layer, resid, targets[0].layer)
            sae = recording.saes[targets[0].layer]
            pre = sae.pre_activations(deeper[0])
            top = sae.keep(pre.detach())
            fires = torch.zeros_like(pre).scatter(-1, top.indices, (top.values > 0).to(pre.dtype))
            weighted = (pre * fires * weights[stream.number]).sum(dim=0)
            values = [weighted[[feature.index for feature in node.members]].sum() for node in targets]
    gradients = []
    for row, (node, value) in enumerate(zip(targets, values, strict=True)):
        if not node.members and node.kind != "logit":  # errors and sinks are leaves
            gradients.append(torch.zeros_like(stream.resid))
            continue
        with turn():
            (gradient,) = torch.autograd.grad(value, resid, retain_graph=row + 1 < len(values))
        gradients.append(gradient[0].float())
    return gradients
