"""How much of a target the kept features carry: alone, and by their absence.

In every SAE layer below the target, the features that are not in question are put at their mean; the others are encoded
from the changed stream. The SAEs' errors, BOS and attention sinks stay as they were. Source: Marks et al. 2024, Sparse
Feature Circuits, section 3.2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from feature_tracker.circuits.circuit import Faithfulness, Node
from feature_tracker.circuits.measure import summed
from feature_tracker.circuits.question import NextWord, WhatFeeds
from feature_tracker.circuits.streams import WindowStream, asked_place, logit, question_windows, run_on
from feature_tracker.labels.table import LabelTable
from feature_tracker.model.forward_queue import Turn
from feature_tracker.sae.topk import Sae
from feature_tracker.tracing.recording import Recording

Masks = Mapping[int, torch.Tensor]
"""By SAE layer, (n_latents,) bool."""


def mean_activations(labels: LabelTable, saes: Mapping[int, Sae]) -> dict[int, torch.Tensor] | None:
    """By layer, (n_latents,) mean activations on ordinary text; `None` where the table doesn't know all of them."""
    frame = labels.frame
    if "mean_activation" not in frame or frame["mean_activation"].isna().any():
        return None
    means = {layer: torch.zeros(sae.n_latents) for layer, sae in saes.items()}
    for (layer, index), mean in zip(frame.index, frame["mean_activation"], strict=True):
        means[layer][index] = mean
    return means


def measure_faithfulness(
    recording: Recording,
    question: WhatFeeds | NextWord,
    targets: Sequence[Node],
    kept: Masks,
    means: Mapping[int, torch.Tensor],
    turn: Turn,
) -> Faithfulness:
    """The target with the kept features alone, with none, and without them, as shares of what it is.

    Args:
        targets: the nodes that are asked about.
        kept: by SAE layer below the targets.
        means: by the same layers, (n_latents,) mean activations on ordinary text.
        turn: taken three times in each window.
    """
    numbers = question_windows(recording, question)
    none = {layer: torch.zeros_like(mask) for layer, mask in kept.items()}
    without = {layer: ~mask for layer, mask in kept.items()}
    whole = np.array([node.activation for node in targets])
    shares = []
    for masks in (kept, none, without):
        values = np.zeros(len(targets))
        for number in numbers:
            with turn():
                values += _value(recording, question, number, targets, masks, means)
        shares.append(float((values / whole).mean()))
    return Faithfulness(*shares)


@torch.inference_mode()
def _value(
    recording: Recording,
    question: WhatFeeds | NextWord,
    number: int,
    targets: Sequence[Node],
    masks: Masks,
    means: Mapping[int, torch.Tensor],
) -> np.ndarray:
    layers = sorted(masks)
    is_logit = targets[0].kind == "logit"
    end = recording.last_block if is_logit else targets[0].layer
    resid = WindowStream(recording, number, layers[0]).resid[None] if layers else recording.windows[number].resid[end]
    for layer, stop in zip(layers, [*layers[1:], end], strict=True):
        resid = run_on(recording, number, layer, _with_means(recording, number, layer, resid[0], masks, means), stop)
    if is_logit and isinstance(question, NextWord):
        _, position = asked_place(recording, question)
        return logit(recording, resid, position, question.token, question.against).double().cpu().numpy()
    return summed(recording, question, number, resid, targets)[0]


def _with_means(
    recording: Recording,
    number: int,
    layer: int,
    resid: torch.Tensor,
    masks: Masks,
    means: Mapping[int, torch.Tensor],
) -> torch.Tensor:
    """(1, window, d_model): a changed stream with all features but the masked ones at their means."""
    stream = WindowStream(recording, number, layer)
    sae, counts = stream.sae, stream.counts.to(resid.device)[:, None]
    top = sae.encode(resid)
    dense = torch.zeros(len(resid), sae.n_latents, dtype=sae.b_dec.dtype, device=resid.device)
    dense.scatter_(-1, top.indices, top.values)
    mask = masks[layer].to(resid.device)
    features = torch.where(mask, dense, means[layer].to(dense))
    rebuilt = stream.decoded(features) + sae.offset(stream.resid) + stream.error
    return torch.where(counts, rebuilt.to(resid.dtype), stream.resid)[None]
