"""Measure an SAE on held-out text: what it leaves unexplained, how its latents are used, what it costs the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import nn

from feature_tracker.corpus.harvest import Harvest
from feature_tracker.feature import ALWAYS_ON
from feature_tracker.model.hooks import replaced_residual
from feature_tracker.model.load import LanguageModel
from feature_tracker.sae.topk import Sae

_CHUNK = 16_384


class SaeQuality(NamedTuple):
    """One layer's quality on held-out text, BOS left out.

    Attributes:
        layer: 0-based block.
        tokens: number of tokens on which all but the cross-entropies are measured.
        fvu: fraction of variance unexplained, sum |x - x_hat|^2 / sum |x - mean(x)|^2.
        l0: mean number of latents that fire on a token.
        dead_share: share of latents that fire on no token.
        always_on: number of latents with a density above `ALWAYS_ON`.
        max_density: largest density of a latent.
        ce: mean cross-entropy of the next token, in nats, of the model as it is.
        ce_sae: likewise, with the residual stream after this block replaced by its reconstruction.
        ce_mean: likewise, with that stream replaced by its mean over the text.
        ce_recovered: (ce_mean - ce_sae) / (ce_mean - ce).
        ce_tokens: number of predictions that the cross-entropies are means of.
    """

    layer: int
    tokens: int
    fvu: float
    l0: float
    dead_share: float
    always_on: int
    max_density: float
    ce: float
    ce_sae: float
    ce_mean: float
    ce_recovered: float
    ce_tokens: int


@torch.inference_mode()
def measure_saes(
    saes: Mapping[int, Sae], harvest: Harvest, language_model: LanguageModel, *, windows: int = 64
) -> list[SaeQuality]:
    """Measure SAEs on a harvest of held-out text, and cross-entropies on its first `windows` windows."""
    token_ids = torch.from_numpy(harvest.token_ids[:windows]).long().to(language_model.model.device)
    ce = _cross_entropy(language_model, token_ids)
    return [_measure_sae(layer, sae, harvest, language_model, token_ids, ce) for layer, sae in saes.items()]


def _measure_sae(
    layer: int, sae: Sae, harvest: Harvest, language_model: LanguageModel, token_ids: torch.Tensor, ce: float
) -> SaeQuality:
    device = language_model.layer_device(layer)
    sae, resid = sae.to(device), harvest.resid(layer)
    mean = torch.stack([rows.double().sum(dim=0) for rows in resid.split(_CHUNK)]).sum(dim=0) / len(resid)
    mean = mean.float().to(device)
    error = total = 0.0
    fired = torch.zeros(sae.n_latents, device=device)
    for x, top in harvest.encoded(layer, sae):
        error += (x - sae.decode(top)).pow(2).sum().item()
        total += (x - mean).pow(2).sum().item()
        fired += torch.bincount(top.indices[top.values > 0], minlength=sae.n_latents)
    density = fired / len(resid)

    def reconstruct(stream: torch.Tensor) -> torch.Tensor:
        return sae.decode(sae.encode(stream))

    def average(stream: torch.Tensor) -> torch.Tensor:
        return mean.expand_as(stream)

    with replaced_residual(language_model.decoder, layer, reconstruct):
        ce_sae = _cross_entropy(language_model, token_ids)
    with replaced_residual(language_model.decoder, layer, average):
        ce_mean = _cross_entropy(language_model, token_ids)
    return SaeQuality(
        layer=layer,
        tokens=len(resid),
        fvu=error / total,
        l0=float(fired.sum() / len(resid)),
        dead_share=float((fired == 0).float().mean()),
        always_on=int((density > ALWAYS_ON).sum()),
        max_density=float(density.max()),
        ce=ce,
        ce_sae=ce_sae,
        ce_mean=ce_mean,
        ce_recovered=(ce_mean - ce_sae) / (ce_mean - ce),
        ce_tokens=token_ids[:, 1:].numel(),
    )


def _cross_entropy(language_model: LanguageModel, token_ids: torch.Tensor) -> float:
    """Mean cross-entropy of the next token, in nats."""
    total = 0.0
    for rows in token_ids.split(4):
        logits = language_model.model(input_ids=rows, use_cache=False).logits[:, :-1].float()
        total += nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten(), reduction="sum").item()
    return total / token_ids[:, 1:].numel()


def quality_table(measured: list[SaeQuality]) -> str:
    """The quality of each layer as a Markdown table."""
    lines = [
        "| layer | FVU | L0 | dead | always-on | largest density | cross-entropy recovered |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.layer} | {row.fvu:.3f} | {row.l0:.1f} | {row.dead_share:.1%} | {row.always_on} | "
        f"{row.max_density:.2f} | {row.ce_recovered:.3f} |"
        for row in measured
    ]
    return "\n".join(lines)
