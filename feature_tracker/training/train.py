"""Train a top-k SAE on rows of a residual stream."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn

from feature_tracker.errors import TrackerError
from feature_tracker.sae.topk import Sae

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How an SAE is trained.

    Attributes:
        n_latents: number of latents.
        k: activations kept per token.
        epochs: passes over the tokens.
        batch: tokens per step.
        lr: Adam's largest learning rate, on a stream scaled so that the median token has unit variance.
        warmup: steps over which the learning rate rises; at most a tenth of all steps.
        decay: share of the steps, at the end, over which the learning rate falls linearly to 0.
        outlier: a token whose squared norm is more than this many times the median counts less, by the square root
            of the excess.
        seed: of the initial directions and of the order of the tokens.
    """

    n_latents: int = 400
    k: int = 32
    epochs: float = 4.0
    batch: int = 2048
    lr: float = 2e-3
    warmup: int = 200
    decay: float = 0.8
    outlier: float = 4.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.k <= self.n_latents:
            raise TrackerError(f"k must lie between 1 and n_latents = {self.n_latents}, found {self.k}.")
        if self.epochs <= 0 or self.batch < 1 or self.lr <= 0:
            raise TrackerError(
                f"epochs, batch and lr must be above 0; found {self.epochs:g}, {self.batch} and {self.lr:g}."
            )
        if not 0 < self.decay <= 1 or self.outlier <= 0:
            raise TrackerError(f"decay must lie in (0, 1] and outlier above 0; found {self.decay} and {self.outlier}.")


class ScaledSae(nn.Module):
    """An SAE's parameters in training, on a stream that is centred and scaled."""

    def __init__(self, directions: torch.Tensor, centre: torch.Tensor, scale: float) -> None:
        super().__init__()
        self.centre, self.scale = centre, scale
        self.decoder = nn.Parameter(directions.clone())
        self.encoder = nn.Parameter(directions.clone())
        self.encoder_bias = nn.Parameter(directions.new_zeros(len(directions)))
        self.b_dec = nn.Parameter(directions.new_zeros(directions.shape[1]))

    @classmethod
    def from_sae(cls, sae: Sae, scale: float) -> ScaledSae:
        """The parameters of a trained SAE; `folded` gives it back."""
        scaled = cls(sae.decoder, sae.b_dec.clone(), scale)
        with torch.no_grad():
            scaled.encoder.copy_(sae.encoder_weight)
            scaled.encoder_bias.copy_(sae.encoder_bias / scale)
        return scaled

    def forward(self, x: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Reconstruct x (batch, d_model): (reconstruction (batch, d_model), indices (batch, k))."""
        # W (x - b_dec) + b_enc, with both biases folded into one: a product less in the backward pass.
        pre = nn.functional.linear(x, self.encoder, self.encoder_bias - self.encoder @ self.b_dec)
        values, indices = pre.topk(k, dim=-1, sorted=False)
        dense = torch.zeros_like(pre).scatter(-1, indices, values.relu())
        return dense @ self.decoder + self.b_dec, indices

    @torch.no_grad()
    def normalize_decoder(self) -> None:
        """Give every decoder direction unit norm."""
        self.decoder.copy_(nn.functional.normalize(self.decoder, dim=1))

    @torch.no_grad()
    def folded(self, k: int) -> Sae:
        """The SAE of the unscaled stream: activations in that stream's units, decoder rows of unit norm."""
        return Sae(
            encoder_weight=self.encoder.detach().clone(),
            encoder_bias=self.encoder_bias.detach() * self.scale,
            decoder=self.decoder.detach().clone(),
            b_dec=self.centre + self.b_dec.detach() * self.scale,
            k=k,
        )


def loss_weight(x: torch.Tensor, outlier: float = 4.0) -> torch.Tensor:
    """Each token's weight in the loss, (batch,), for a scaled stream x (batch, d_model).

    A first token that becomes an attention sink has hundreds of times the squared norm of other tokens: unweighted, one
    of them outweighs its whole batch. The square root leaves sinks enough weight to be learnt although they are rare.
    """
    return (outlier / x.pow(2).mean(dim=1)).sqrt().clamp(max=1.0)


class StreamScale(NamedTuple):
    """What centres and scales a residual stream.

    Attributes:
        centre: (d_model,) mean of the tokens.
        scale: square root of the median token's variance; the mean would follow a few sinks, which can hold most of it.
    """

    centre: torch.Tensor
    scale: float


def stream_scale(rows: torch.Tensor, generator: torch.Generator) -> StreamScale:
    """Centre and scale of rows (n_tokens, d_model), estimated on a sample."""
    sample = rows[torch.randint(len(rows), (min(len(rows), 65_536),), generator=generator)].float()
    centre = sample.mean(dim=0)
    return StreamScale(centre, float((sample - centre).pow(2).mean(dim=1).median().sqrt()))


def train_sae(rows: torch.Tensor, config: TrainConfig) -> Sae:
    """Train on rows (n_tokens, d_model) of any dtype, in float32, with Adam on the squared error.

    For training, the stream is centred and scaled to unit variance at the median token. Centre and scale are folded
    into the weights that are returned; their decoder rows have unit norm.
    """
    generator = torch.Generator().manual_seed(config.seed)
    centre, scale = stream_scale(rows, generator)
    directions = torch.randn(config.n_latents, rows.shape[1], generator=generator)
    weights = ScaledSae(nn.functional.normalize(directions, dim=1), centre, scale)
    optimizer = torch.optim.Adam(weights.parameters(), lr=config.lr, betas=(0.9, 0.999), fused=True)
    n_steps = max(1, round(config.epochs * len(rows) / config.batch))
    fired = torch.zeros(config.n_latents)
    start, sum_loss = time.monotonic(), 0.0
    for step, batch in enumerate(_batches(rows, config.batch, n_steps, generator)):
        optimizer.param_groups[0]["lr"] = config.lr * _schedule(step, n_steps, config)
        x = (batch.float() - centre) / scale
        x_hat, indices = weights(x, config.k)
        loss = (loss_weight(x, config.outlier) * (x_hat - x).pow(2).mean(dim=1)).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        weights.normalize_decoder()
        fired += torch.bincount(indices.flatten(), minlength=config.n_latents)
        sum_loss += loss.item()
        if (step + 1) % 200 == 0 or step + 1 == n_steps:
            n = (step % 200) + 1
            density = fired / (n * config.batch)
            log.info(
                "step %d of %d: loss %.4f, silent %d, densest %.2f, %.0f tokens/s",
                step + 1, n_steps, sum_loss / n, int((fired == 0).sum()), float(density.max()),
                (step + 1) * config.batch / (time.monotonic() - start),
            )  # fmt: skip
            fired.zero_()
            sum_loss = 0.0
    return weights.folded(config.k)


def _schedule(step: int, n_steps: int, config: TrainConfig) -> float:
    """Share of the largest learning rate: it rises over the warm-up, stays level, then falls to 0."""
    warmup = max(1, min(config.warmup, n_steps // 10))
    return min((step + 1) / warmup, 1.0, (1 - step / n_steps) / config.decay)


def _batches(rows: torch.Tensor, batch: int, n_steps: int, generator: torch.Generator) -> Iterator[torch.Tensor]:
    done = 0
    while done < n_steps:
        order = torch.randperm(len(rows), generator=generator)
        for chunk in order.split(batch)[: n_steps - done]:
            yield rows[chunk]
            done += 1
