"""Tune a trained SAE so that the model predicts the same next tokens from its reconstructions.

Squared error weighs every direction of the residual stream alike; the model doesn't. A short tuning on the model's own
predictions recovers much of the cross-entropy that a reconstruction costs.

Sources: Karvonen 2025, Revisiting End-To-End Sparse Autoencoder Training; Braun et al. 2024, Identifying Functionally
Important Features with End-to-End Sparse Dictionary Learning.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn

from feature_tracker.errors import TrackerError
from feature_tracker.model.hooks import replaced_residual
from feature_tracker.model.load import LanguageModel
from feature_tracker.sae.topk import Sae
from feature_tracker.tracing.attention_sinks import attention_sinks
from feature_tracker.training.scaled import ScaledSae

log = logging.getLogger(__name__)

_CHUNK = 512  # rows of logits in float32 at once: with a vocabulary of 50,000 they take 100 MB


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """How an SAE is tuned.

    Attributes:
        steps: of Adam, each on new windows.
        windows: per step.
        lr: Adam's largest learning rate, on a stream of unit variance; it falls to 0 over the last four fifths.
        kl_share: weight of the model's predictions relative to the squared error.
        seed: of the order of the windows.
    """

    steps: int = 120
    windows: int = 2
    lr: float = 5e-4
    kl_share: float = 1.0
    seed: int = 0


class _Losses(NamedTuple):
    """Two scalars on the layer's device.

    Attributes:
        mse: the stream's mean squared error, as in `train_sae`.
        kl: divergence of the next-token distribution with the reconstruction from the one without, nats per token.
    """

    mse: torch.Tensor
    kl: torch.Tensor


def finetune_sae(
    sae: Sae, layer: int, language_model: LanguageModel, token_ids: torch.Tensor, scale: float, config: FinetuneConfig
) -> Sae:
    """Tune one layer's SAE on `mse + kl_share * kl * (mse / kl)`, see `_Losses`.

    The fraction is held constant, so that both terms weigh alike. Attention sinks keep their stream, as BOS does, and
    enter no error. The slow latents of an SAE keep their norms; their own loss is not needed any more.

    Args:
        token_ids: (n_windows, window) int64, BOS first; `steps * windows` of them are used, in an order by `seed`.
        scale: of the stream, see `training.scaled.stream_scale`.

    Raises:
        TrackerError: the SAE is not a top-k one, as `ScaledSae` always is.
    """
    kind = sae.activation if sae.normalization == "none" else sae.normalization
    if kind != "topk":
        raise TrackerError(
            f"Layer {layer}: only top-k SAEs can be tuned, and this one is of the kind {kind}. Leave this "
            "layer out: name the others with --layer."
        )
    language_model.model.requires_grad_(False)
    weights = ScaledSae.from_sae(sae.to(language_model.layer_device(layer)), scale)
    optimizer = torch.optim.Adam(weights.parameters(), lr=config.lr, fused=True)
    order = torch.randperm(len(token_ids), generator=torch.Generator().manual_seed(config.seed))
    batches = order.split(config.windows)[: config.steps]
    sum_mse = sum_kl = 0.0
    for step, batch in enumerate(batches):
        optimizer.param_groups[0]["lr"] = config.lr * min((step + 1) / 10, 1.0, (1 - step / len(batches)) / 0.8)
        mse, kl = _losses(weights, sae.k, layer, language_model, token_ids[batch])
        loss = mse + config.kl_share * kl * (mse / kl).detach()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        weights.normalize_decoder()
        sum_mse, sum_kl = sum_mse + mse.item(), sum_kl + kl.item()
        if (step + 1) % 25 == 0:
            log.info("step %d of %d: squared error %.4f, KL %.4f", step + 1, len(batches), sum_mse / 25, sum_kl / 25)
            sum_mse = sum_kl = 0.0
    return weights.folded(sae.k)


def _losses(weights: ScaledSae, k: int, layer: int, language_model: LanguageModel, token_ids: torch.Tensor) -> _Losses:
    model = language_model.model
    token_ids, first = language_model.inputs(token_ids.to(model.device)), language_model.first_token
    mse = torch.zeros(())

    def reconstruct(resid: torch.Tensor) -> torch.Tensor:
        nonlocal mse
        counted = ~attention_sinks(resid)
        x = weights.scale.scaled(resid)
        x_hat, _ = weights(x.flatten(0, 1), k)
        x_hat = x_hat.view_as(x)
        mse = ((x_hat - x).pow(2).mean(dim=-1) * counted).sum() / counted.sum()
        reconstructed = x_hat * weights.scale.scale + weights.scale.centre
        return torch.where(counted[..., None], reconstructed, resid.float())

    with torch.no_grad():
        reference = model(input_ids=token_ids, use_cache=False).logits
    with replaced_residual(language_model.decoder, layer, reconstruct, first=first):
        logits = model(input_ids=token_ids, use_cache=False).logits
    kl = _divergence(reference[:, first:].flatten(0, 1), logits[:, first:].flatten(0, 1))
    return _Losses(mse, kl.to(mse.device))  # the head may lie on another GPU than the layer


def _divergence(reference: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """KL(reference || logits), mean nats per row, of logits (n, vocabulary)."""
    parts = [
        nn.functional.kl_div(
            nn.functional.log_softmax(b.float(), dim=-1), nn.functional.log_softmax(a.float(), dim=-1),
            reduction="sum", log_target=True,
        )
        for a, b in zip(reference.split(_CHUNK), logits.split(_CHUNK), strict=True)
    ]  # fmt: skip
    return torch.stack(parts).sum() / len(reference)
