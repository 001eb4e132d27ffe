"""Attribution: a gradient estimate of how much each upstream feature contributes to a downstream one.

For a downstream feature j of layer d with activation a_j(t) on token t, summed over the tokens, and the residual stream
x_u(s) of an upstream SAE layer u at position s, let

    g(s)   = d sum_t a_j(t) / d x_u(s)                      one backward pass, for all upstream layers at once
    x_u(s) = sum_i a_i(s) W_i + b_dec + error(s)             the SAE's reconstruction plus its error

(with a normalization, a_i(s) W_i counts times the token's scale, and b_dec is what is decoded from no activation)

Feature i then contributes sum_s a_i(s) g(s).W_i, the error sum_s g(s).error(s), the bias sum_s g(s).b_dec, and the BOS
position, which has no features, g(BOS).x_u(BOS). The contributions add up to sum_s g(s).x_u(s): the change from the
zero stream to this one, linearized at this one. Source: Marks et al. 2024, Sparse Feature Circuits, eq. 1 and section
3.1.

Between neighbouring SAE layers the upstream layer's features and error are the whole residual stream, so an edge is
direct and complete. On a deeper layer a contribution is a total effect through all features in between, and gradients
estimate it poorly: use `circuits.ablation` for those.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from feature_tracker.errors import TrackerError
from feature_tracker.feature import Feature
from feature_tracker.model.forward_queue import Turn
from feature_tracker.sae.topk import TopK
from feature_tracker.tracing.recording import Recording


@dataclass(frozen=True)
class LayerAttribution:
    """Contributions of one upstream layer to the targets.

    Attributes:
        layer: the upstream layer.
        values: (n_targets, n_tokens, k) contributions of the latents in `indices`.
        indices: (n_tokens, k) int32 upstream latents that fire, as in the recording's trace.
        error: (n_targets, n_tokens) contributions of the SAE's reconstruction error.
        bias: (n_targets, n_tokens) contributions of b_dec.
        bos: (n_targets,) contribution of the windows' BOS positions.
        n_latents: latents of the upstream SAE.
    """

    layer: int
    values: np.ndarray
    indices: np.ndarray
    error: np.ndarray
    bias: np.ndarray
    bos: np.ndarray
    n_latents: int

    def by_feature(self) -> np.ndarray:
        """(n_targets, n_latents) contributions summed over the tokens."""
        latents = self.indices.ravel()
        return np.stack([np.bincount(latents, values.ravel(), minlength=self.n_latents) for values in self.values])

    def total(self) -> np.ndarray:
        """(n_targets,) contributions of features, error, bias and BOS together."""
        return self.values.sum(axis=(1, 2)) + self.error.sum(axis=1) + self.bias.sum(axis=1) + self.bos


@dataclass(frozen=True)
class Attribution:
    """Contributions to the summed activation of each target.

    Attributes:
        targets: downstream features, all of one layer.
        activation: (n_targets,) their activations summed over the tokens.
        upstream: by layer, contributions of the SAE layers before the targets'.
    """

    targets: tuple[Feature, ...]
    activation: np.ndarray
    upstream: dict[int, LayerAttribution]


class _Contributions(NamedTuple):
    """Contributions of one layer in one window, of one target or stacked over targets; see `LayerAttribution`."""

    values: np.ndarray
    error: np.ndarray
    bias: np.ndarray
    bos: np.ndarray


def attribute(
    recording: Recording,
    targets: Sequence[Feature],
    *,
    next_layer_only: bool = False,
    turn: Turn = nullcontext,
) -> Attribution:
    """Contributions of every upstream feature, error, bias and BOS to the targets: one backward pass per target.

    The target layer's top-k set is held fixed: the gradient flows through the latents that were kept.

    Args:
        next_layer_only: attribute only to the SAE layer just before the targets', which is cheaper.
        turn: taken `attribute_turns` times, where other threads run models, too.

    Raises:
        TrackerError: the targets lie in several layers, or in the first.
    """
    layers = {target.layer for target in targets}
    if len(layers) != 1 or not targets or targets[0].layer not in recording.layers[1:]:
        raise TrackerError(
            f"Attribution needs targets of one SAE layer after the first ({recording.layers[1:]}); found "
            f"{sorted(layers)}."
        )
    upstream = [layer for layer in recording.layers if layer < targets[0].layer]
    if next_layer_only:
        upstream = upstream[-1:]
    windows = [
        _attribute_window(recording, number, upstream, targets, turn) for number in range(len(recording.windows))
    ]
    by_layer = {layer: _joined(recording, layer, [window[layer] for window in windows]) for layer in upstream}
    activation = np.array([recording.trace.column(target).sum(dtype=float) for target in targets])
    return Attribution(tuple(targets), activation, by_layer)


def attribute_turns(recording: Recording, targets: Sequence[Feature]) -> int:
    """How many turns `attribute` takes: in each window one for the forward, and one for each target's gradient."""
    return len(recording.windows) * (1 + len(targets))


def _joined(recording: Recording, layer: int, windows: Sequence[_Contributions]) -> LayerAttribution:
    """One layer's contributions in all windows."""
    layer_trace = recording.trace.layers[layer]
    return LayerAttribution(
        layer,
        values=np.concatenate([window.values for window in windows], axis=1),
        indices=layer_trace.indices,
        error=np.concatenate([window.error for window in windows], axis=1),
        bias=np.concatenate([window.bias for window in windows], axis=1),
        bos=np.sum([window.bos for window in windows], axis=0),
        n_latents=layer_trace.n_latents,
    )


def _attribute_window(
    recording: Recording, number: int, upstream: Sequence[int], targets: Sequence[Feature], turn: Turn
) -> dict[int, _Contributions]:
    """By upstream layer, the contributions in one window, stacked over targets."""
    window, tokens = recording.windows[number], recording.tokens_of(number)
    first, last = upstream[0], targets[0].layer
    start = window.resid[first][None].detach().requires_grad_()
    with turn():
        streams = {first: start, **window.run(first, start, [*upstream[1:], last])}
        pre = recording.saes[last].pre_activations(streams[last][0, recording.first :])
        top = recording.saes[last].keep(pre.detach())
        mask = torch.zeros_like(pre).scatter(-1, top.indices, (top.values > 0).to(pre.dtype))
        summed = (pre * mask).sum(dim=0)
    inputs = [streams[layer] for layer in upstream]
    by_layer: dict[int, list[_Contributions]] = {layer: [] for layer in upstream}
    for place, target in enumerate(targets):
        with turn():
            gradients = torch.autograd.grad(summed[target.index], inputs, retain_graph=place + 1 < len(targets))
            for layer, gradient in zip(upstream, gradients, strict=True):
                resid = streams[layer][0].detach()
                by_layer[layer].append(_contributions(recording, layer, tokens, resid, gradient[0]))
    return {
        layer: _Contributions(*(np.stack(parts) for parts in zip(*contributions, strict=True)))
        for layer, contributions in by_layer.items()
    }


def _contributions(
    recording: Recording, layer: int, tokens: slice, resid: torch.Tensor, gradient: torch.Tensor
) -> _Contributions:
    """Contributions to one target: values (n_tokens, k), error and bias (n_tokens,), bos ().

    The activations are the trace's, so that they stand in its order and number.
    """
    sae, layer_trace = recording.saes[layer], recording.trace.layers[layer]
    gradient, resid = gradient.to(sae.b_dec.dtype), resid.to(sae.b_dec.dtype)
    before, on_tokens, stream = gradient[: recording.first], gradient[recording.first :], resid[recording.first :]
    top = TopK(
        torch.from_numpy(layer_trace.values[tokens]).to(sae.b_dec),
        torch.from_numpy(layer_trace.indices[tokens]).to(sae.b_dec.device, torch.int64),
    )
    values = (on_tokens @ sae.decoder.T).gather(-1, top.indices) * top.values * sae.scale(stream)
    error = (on_tokens * (stream - sae.decode(top, stream))).sum(dim=-1)
    bias = (on_tokens * sae.offset(stream)).sum(dim=-1)
    bos = (before * resid[: recording.first]).sum()
    return _Contributions(*(part.double().cpu().numpy() for part in (values, error, bias, bos)))
