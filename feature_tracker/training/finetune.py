"""Tune a trained SAE so that the model predicts the same next tokens from its reconstructions.

Squared error counts every direction of the residual stream alike; the model doesn't. A short tuning on the model's own
predictions recovers much of the cross-entropy that a reconstruction costs. Source: Karvonen 2025, Revisiting End-To-End
Sparse Autoencoder Training; Braun et al. 2024, Identifying Functionally Important Features with End-to-End Sparse
Dictionary Learning.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch
from torch import nn

from feature_tracker.errors import TrackerError
from feature_tracker.model.hooks import replaced_residual
from feature_tracker.model.load import LanguageModel
from feature_tracker.sae.topk import Sae
from feature_tracker.training.train import ScaledSae, loss_weight

log = logging.getLogger(__name__)

_CHUNK = 512  # rows of logits in float32 at once: a vocabulary of 50,000 makes 100 MB of them


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """How an SAE is tuned.

    Attributes:
        steps: of Adam, each on new windows.
        windows: a step.
        lr: Adam's largest learning rate, on a stream of unit variance; it falls to 0 over the last four fifths.
        kl_share: weight of the model's predictions against that of the squared error.
        seed: of the order of the windows.
    """

    steps: int = 250
    windows: int = 4
    lr: float = 5e-4
    kl_share: float = 1.0
    seed: int = 0


def finetune_sae(
    sae: Sae, layer: int, language_model: LanguageModel, token_ids: torch.Tensor, scale: float, config: FinetuneConfig
) -> Sae:
    """Tune one layer's SAE on `mse + kl_share * kl * (mse / kl)`, the fraction held constant so that both weigh alike.

    `kl` is the divergence of the next-token distribution with the reconstruction in place of the stream after `layer`
    from the one without, in nats a token; `mse` the squared error that `train_sae` minimizes.

    Args:
        token_ids: (n_windows, window) int64, BOS first; the first `steps * windows` of their order by seed are used.
        scale: of the stream, see `training.train.stream_scale`.

    Raises:
        TrackerError: the SAE is not a top-k one; `ScaledSae`, which is tuned, always is.
    """
    if sae.activation != "topk":
        raise TrackerError(
            f"Layer {layer}: only top-k SAEs can be tuned, and this one is of the kind {sae.activation}. Leave the "
            "layer out: name the others by --layer."
        )
    model = language_model.model.requires_grad_(False)
    weights = ScaledSae.from_sae(sae.to(language_model.layer_device(layer)), scale)
    optimizer = torch.optim.Adam(weights.parameters(), lr=config.lr, fused=True)
    order = torch.randperm(len(token_ids), generator=torch.Generator().manual_seed(config.seed))
    batches = order.split(config.windows)[: config.steps]
    seen_mse = seen_kl = 0.0
    for step, batch in enumerate(batches):
        optimizer.param_groups[0]["lr"] = config.lr * min((step + 1) / 10, 1.0, (1 - step / len(batches)) / 0.8)
        rows = token_ids[batch].to(model.device)
        squared_error: list[torch.Tensor] = []

        def reconstruct(resid: torch.Tensor) -> torch.Tensor:
            x = (resid.float() - weights.centre) / scale
            x_hat, _ = weights(x.flatten(0, 1), sae.k)
            error = (x_hat - x.flatten(0, 1)).pow(2).mean(dim=1)
            squared_error.append((loss_weight(x.flatten(0, 1)) * error).mean())  # noqa: B023, called within the step
            return (x_hat * scale + weights.centre).view_as(resid)

        with torch.no_grad():
            wanted = model(input_ids=rows, use_cache=False).logits
        with replaced_residual(language_model.decoder, layer, reconstruct):
            found = model(input_ids=rows, use_cache=False).logits
        mse, kl = squared_error[0], _divergence(wanted[:, 1:].flatten(0, 1), found[:, 1:].flatten(0, 1))
        kl = kl.to(mse.device)  # the head may lie on another GPU than the layer
        loss = mse + config.kl_share * kl * (mse / kl).detach()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        weights.normalize_decoder()
        seen_mse, seen_kl = seen_mse + mse.item(), seen_kl + kl.item()
        if (step + 1) % 25 == 0:
            log.info("step %d of %d: squared error %.4f, KL %.4f", step + 1, len(batches), seen_mse / 25, seen_kl / 25)
            seen_mse = seen_kl = 0.0
    return weights.folded(sae.k)


def _divergence(wanted: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
    """KL(wanted || found), nats a row, of logits (n, vocabulary)."""
    parts = [
        nn.functional.kl_div(
            nn.functional.log_softmax(b.float(), dim=-1), nn.functional.log_softmax(a.float(), dim=-1),
            reduction="sum", log_target=True,
        )
        for a, b in zip(wanted.split(_CHUNK), found.split(_CHUNK), strict=True)
    ]  # fmt: skip
    return torch.stack(parts).sum() / len(wanted)
