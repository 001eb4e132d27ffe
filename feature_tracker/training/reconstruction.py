"""What an SAE's reconstruction leaves unexplained, and what it costs the model's predictions."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

from feature_tracker.corpus.harvest import Harvest
from feature_tracker.feature import ALWAYS_ON
from feature_tracker.model.hooks import replaced_residual
from feature_tracker.model.load import LanguageModel
from feature_tracker.sae.topk import Sae
from feature_tracker.tracing.attention_sinks import attention_sinks

_WINDOWS_AT_ONCE = 32


class Reconstruction(NamedTuple):
    """One layer's reconstruction of held-out text, BOS left out.

    Attributes:
        tokens: number of tokens that fractions and densities are measured on.
        fvu: fraction of variance unexplained, sum |x - x_hat|^2 / sum |x - mean(x)|^2.
        l0: mean number of latents that fire on a token.
        dead_share: share of latents that fire on no token.
        always_on: number of latents with a density above `ALWAYS_ON`.
        max_density: largest density of a latent.
        ce_sae: mean cross-entropy of the next token, in nats, with the stream after this block reconstructed.
        ce_recovered: (ce_mean - ce_sae) / (ce_mean - ce), see `Baseline`.
    """

    tokens: int
    fvu: float
    l0: float
    dead_share: float
    always_on: int
    max_density: float
    ce_sae: float
    ce_recovered: float


class Baseline(NamedTuple):
    """What a reconstruction's cross-entropy is held against, both means over the next token, in nats.

    Attributes:
        ce: of the model as it is.
        ce_mean: with the stream after a block replaced by its mean over the text.
    """

    ce: float
    ce_mean: float


def mean_baseline(layer: int, harvest: Harvest, language_model: LanguageModel, ce: float, windows: int) -> Baseline:
    """The baseline of a layer, with the cross-entropy `ce` of the model as it is."""
    mean = _mean(layer, harvest, with_sinks=True).to(language_model.layer_device(layer))
    with replaced_residual(language_model.decoder, layer, mean.expand_as, first=language_model.first_token):
        return Baseline(ce, cross_entropy(harvest, language_model, windows))


def reconstruction(
    layer: int,
    sae: Sae,
    harvest: Harvest,
    language_model: LanguageModel,
    *,
    with_sinks: bool,
    baseline: Baseline,
    windows: int,
) -> Reconstruction:
    """Measure an SAE on a harvest of held-out text.

    Args:
        with_sinks: whether attention sinks are counted and replaced like any other token. Without them, their stream
            stays as it is, as BOS's does.
        windows: the first so many windows measure the cross-entropy.
    """
    mean = _mean(layer, harvest, with_sinks=with_sinks).to(sae.decoder.device)
    error = total = 0.0
    n_tokens = 0
    fired = torch.zeros(sae.n_latents, device=sae.decoder.device)
    for part in _windows(layer, harvest):
        x = part.to(sae.decoder.device)[_counted(part, with_sinks=with_sinks)].float()
        top = sae.encode(x)
        error += (x - sae.decode(top, x)).pow(2).sum().item()
        total += (x - mean).pow(2).sum().item()
        fired += torch.bincount(top.indices[top.values > 0], minlength=sae.n_latents)
        n_tokens += len(x)
    density = fired / n_tokens

    def reconstruct(stream: torch.Tensor) -> torch.Tensor:
        reconstructed = sae.decode(sae.encode(stream), stream)
        return torch.where(_counted(stream, with_sinks=with_sinks)[..., None], reconstructed, stream.float())

    with replaced_residual(language_model.decoder, layer, reconstruct, first=language_model.first_token):
        ce_sae = cross_entropy(harvest, language_model, windows)
    return Reconstruction(
        tokens=n_tokens,
        fvu=error / total,
        l0=float(fired.sum() / n_tokens),
        dead_share=float((fired == 0).float().mean()),
        always_on=int((density > ALWAYS_ON).sum()),
        max_density=float(density.max()),
        ce_sae=ce_sae,
        ce_recovered=(baseline.ce_mean - ce_sae) / (baseline.ce_mean - baseline.ce),
    )


def cross_entropy(harvest: Harvest, language_model: LanguageModel, windows: int) -> float:
    """Mean cross-entropy of the next token, in nats, on a harvest's first windows."""
    stored = torch.from_numpy(harvest.token_ids[:windows]).long().to(language_model.model.device)
    token_ids = language_model.inputs(stored)
    total = 0.0
    for rows in token_ids.split(4):
        logits = language_model.model(input_ids=rows, use_cache=False).logits[:, :-1].float()
        total += nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten(), reduction="sum").item()
    return total / token_ids[:, 1:].numel()


def _windows(layer: int, harvest: Harvest) -> tuple[torch.Tensor, ...]:
    """A layer's stream in parts of some windows, (n, tokens, d_model)."""
    resid = harvest.resid(layer)
    return resid.view(harvest.n_done, -1, resid.shape[1]).split(_WINDOWS_AT_ONCE)


def _counted(windows: torch.Tensor, *, with_sinks: bool) -> torch.Tensor:
    """Which tokens of (n, tokens, d_model) count, (n, tokens) bool."""
    return torch.ones_like(windows[..., 0], dtype=torch.bool) if with_sinks else ~attention_sinks(windows)


def _mean(layer: int, harvest: Harvest, *, with_sinks: bool) -> torch.Tensor:
    """(d_model,) float32 mean of the tokens that count."""
    sums, n_tokens = torch.zeros((), dtype=torch.float64), 0
    for windows in _windows(layer, harvest):
        x = windows[_counted(windows, with_sinks=with_sinks)]
        sums, n_tokens = sums + x.double().sum(dim=0), n_tokens + len(x)
    return (sums / n_tokens).float()
