"""How much each upstream feature contributes to a downstream one, estimated by gradients.

For a downstream feature j of layer d with activation a_j(t) on token t, summed over the tokens, and the residual stream
x_u(s) of an upstream SAE layer u at position s, let

    g(s)   = d sum_t a_j(t) / d x_u(s)                      one backward pass, for all upstream layers at once
    x_u(s) = sum_i a_i(s) W_i + b_dec + error(s)             the SAE's reconstruction and what it leaves out

Then feature i's contribution is sum_s a_i(s) g(s).W_i, the error's sum_s g(s).error(s), the bias's sum_s g(s).b_dec,
and BOS's, which has no features, g(BOS).x_u(BOS). They add up to sum_s g(s).x_u(s): the change from the zero stream to
this one, linearized here. Source: Marks et al. 2024, Sparse Feature Circuits, eq. 1 and section 3.1.

Between neighbouring SAE layers that is all there is, so an edge is direct and complete. To a deeper layer it is a total
effect through every feature between, and gradients are a poor estimate of it: use `circuits.ablation` for those.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from feature_tracker.errors import TrackerError
from feature_tracker.feature import Feature
from feature_tracker.model.replay import Replay
from feature_tracker.progress import Progress, silent
from feature_tracker.sae.topk import Sae
from feature_tracker.tracing.recording import Recording


@dataclass(frozen=True)
class LayerAttribution:
    """What one upstream layer contributes to the targets.

    Attributes:
        layer: the upstream layer.
        values: (n_targets, n_tokens, k) contributions of the latents in `indices`.
        indices: (n_tokens, k) int32 upstream latents that fire, as in the recording's trace.
        error: (n_targets, n_tokens) contributions of the SAE's reconstruction error.
        bias: (n_targets, n_tokens) contributions of b_dec.
        bos: (n_targets,) contribution of the windows' BOS positions.
        n_latents: of the upstream SAE.
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
        flat = self.indices.ravel()
        return np.stack([np.bincount(flat, own.ravel(), minlength=self.n_latents) for own in self.values])

    def total(self) -> np.ndarray:
        """(n_targets,) contributions of features, error, bias and BOS together."""
        return self.values.sum(axis=(1, 2)) + self.error.sum(axis=1) + self.bias.sum(axis=1) + self.bos


@dataclass(frozen=True)
class Attribution:
    """Contributions to the summed activation of each target.

    Attributes:
        targets: downstream features, all of one layer.
        activation: (n_targets,) their activations summed over the tokens.
        upstream: by layer, the SAE layers before the targets' that were looked at.
    """

    targets: tuple[Feature, ...]
    activation: np.ndarray
    upstream: dict[int, LayerAttribution]


def attribute(
    recording: Recording,
    targets: Sequence[Feature],
    progress: Progress = silent,
    *,
    next_layer_only: bool = False,
) -> Attribution:
    """Contributions of every upstream feature, error, bias and BOS to the targets: one backward pass a target.

    Top-k is taken as it fell: the gradient flows through the latents that were kept.

    Args:
        next_layer_only: look at the SAE layer before the targets' alone, which is cheaper.

    Raises:
        TrackerError: the targets lie in several layers, or in the first.
    """
    layers = {target.layer for target in targets}
    if len(layers) != 1 or not targets or targets[0].layer not in recording.layers[1:]:
        raise TrackerError(
            f"Attribution needs targets of one SAE layer after the first ({recording.layers[1:]}); found "
            f"{sorted(layers)}."
        )
    upstream = [layer for layer in recording.layers if layer < targets[0].layer][-1 if next_layer_only else 0 :]
    parts = []
    for number, window in enumerate(recording.windows):
        progress("Attributing", number / len(recording.windows))
        parts.append(_attribute_window(window, recording, upstream, targets))
    progress("Attributing", 1.0)
    found = {}
    for layer in upstream:
        values, error, bias, bos = zip(*(part[layer] for part in parts), strict=True)
        own = recording.trace.layers[layer]
        found[layer] = LayerAttribution(
            layer, np.concatenate(values, axis=1), own.indices, np.concatenate(error, axis=1),
            np.concatenate(bias, axis=1), np.sum(bos, axis=0), own.n_latents,
        )  # fmt: skip
    activation = np.array([recording.trace.column(target).sum(dtype=float) for target in targets])
    return Attribution(tuple(targets), activation, found)


def _attribute_window(
    window: Replay, recording: Recording, upstream: Sequence[int], targets: Sequence[Feature]
) -> dict[int, tuple[np.ndarray, ...]]:
    """By upstream layer, (values, error, bias, bos) of one window; see `LayerAttribution`."""
    first, last = upstream[0], targets[0].layer
    start = window.resid[first][None].detach().requires_grad_()
    streams = {first: start, **window.run(first, start, [*upstream[1:], last])}
    pre = recording.saes[last].pre_activations(streams[last][0, 1:])
    top = recording.saes[last].keep(pre.detach())
    kept = torch.zeros_like(pre).scatter(-1, top.indices, (top.values > 0).to(pre.dtype))
    summed = (pre * kept).sum(dim=0)
    inputs = [streams[layer] for layer in upstream]
    found: dict[int, list[tuple[np.ndarray, ...]]] = {layer: [] for layer in upstream}
    for number, target in enumerate(targets):
        gradients = torch.autograd.grad(summed[target.index], inputs, retain_graph=number + 1 < len(targets))
        for layer, gradient in zip(upstream, gradients, strict=True):
            resid = streams[layer][0].detach()
            found[layer].append(_contributions(recording.saes[layer], resid, gradient[0]))
    return {layer: tuple(np.stack(part) for part in zip(*rows, strict=True)) for layer, rows in found.items()}


def _contributions(sae: Sae, resid: torch.Tensor, gradient: torch.Tensor) -> tuple[np.ndarray, ...]:
    """(values (n_tokens, k), error (n_tokens,), bias (n_tokens,), bos ()) of one target in one window."""
    gradient, resid = gradient.to(sae.b_dec.dtype), resid.to(sae.b_dec.dtype)
    top = sae.encode(resid[1:])
    values = (gradient[1:] @ sae.decoder.T).gather(-1, top.indices) * top.values
    error = (gradient[1:] * (resid[1:] - sae.decode(top))).sum(dim=-1)
    bias = gradient[1:] @ sae.b_dec
    bos = (gradient[0] * resid[0]).sum()
    return tuple(part.double().cpu().numpy() for part in (values, error, bias, bos))
