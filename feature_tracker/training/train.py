"""Train a top-k SAE on rows of a residual stream."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from feature_tracker.errors import TrackerError
from feature_tracker.sae.topk import Sae
from feature_tracker.tracing.attention_sinks import attention_sinks
from feature_tracker.training.checkpoint import Checkpoint
from feature_tracker.training.scaled import ScaledSae, StreamScale, stream_scale
from feature_tracker.training.slow import slow_target

log = logging.getLogger(__name__)

_LOG_STEPS = 400
_CHECKPOINT_SECONDS = 60.0


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
        seed: of the initial directions and of the order of the tokens.
        n_slow: the first so many latents alone also reconstruct the slow target, see `training.slow`; 0 for a plain
            SAE.
        slow_reach: tokens to either side that the slow target is a mean over.
        slow_weight: of the slow target's share of variance unexplained, relative to the stream's.
        slow_norm: norm of the slow latents' decoder rows in training, where the others' is 1. Below 1 their activations
            are larger, and win places among the k largest.
    """

    n_latents: int = 400
    k: int = 32
    epochs: float = 2.0
    batch: int = 2048
    lr: float = 4e-3
    warmup: int = 200
    decay: float = 0.8
    seed: int = 0
    n_slow: int = 0
    slow_reach: int = 24
    slow_weight: float = 1.0
    slow_norm: float = 0.5

    def __post_init__(self) -> None:
        if not 1 <= self.k <= self.n_latents:
            raise TrackerError(f"k must lie between 1 and n_latents = {self.n_latents}, found {self.k}.")
        if self.epochs <= 0 or self.batch < 1 or self.lr <= 0:
            raise TrackerError(
                f"epochs, batch and lr must be above 0; found {self.epochs:g}, {self.batch} and {self.lr:g}."
            )
        if not 0 < self.decay <= 1:
            raise TrackerError(f"decay must lie in (0, 1], found {self.decay}.")
        if not 0 <= self.n_slow <= self.n_latents or self.slow_reach < 1 or self.slow_norm <= 0:
            raise TrackerError(
                f"n_slow must lie between 0 and {self.n_latents} latents, slow_reach be at least 1 and slow_norm above "
                f"0; found {self.n_slow}, {self.slow_reach} and {self.slow_norm:g}."
            )


class TrainingRows(NamedTuple):
    """The rows of a residual stream that an SAE is trained on, in the memory of the CPU.

    Attributes:
        resid: (n_windows * tokens_per_window, d_model) of any dtype, windows one after the other, BOS left out.
        counted: (n_windows * tokens_per_window,) bool, False on attention sinks: one of them outweighs its whole batch.
        tokens_per_window: rows of a window.
    """

    resid: torch.Tensor
    counted: torch.Tensor
    tokens_per_window: int

    @classmethod
    def from_resid(cls, resid: torch.Tensor, tokens_per_window: int) -> TrainingRows:
        """All rows but attention sinks."""
        windows = resid.view(-1, tokens_per_window, resid.shape[1])
        counted = torch.cat([~attention_sinks(part) for part in windows.split(64)])
        return cls(resid, counted.flatten(), tokens_per_window)


class _Batch(NamedTuple):
    """One step's tokens on the scaled stream; `target` is `None` without slow latents. Both (batch, d_model)."""

    x: torch.Tensor
    target: torch.Tensor | None


class _Run(nn.Module):
    """The parameters in training, and their loss."""

    def __init__(self, config: TrainConfig, scale: StreamScale) -> None:
        super().__init__()
        self._config = config
        d_model = len(scale.centre)
        norms = torch.ones(config.n_latents)
        norms[: config.n_slow] = config.slow_norm
        self.sae = ScaledSae.random(norms, d_model, config.k, scale, seed=config.seed)
        self.slow_bias = nn.Parameter(torch.zeros(d_model))

    def loss(self, batch: _Batch) -> torch.Tensor:
        """The stream's mean squared error, plus the slow target's in the proportion that `slow_weight` states."""
        n_slow = self._config.n_slow
        x_hat, acts = self.sae(batch.x, self._config.k)
        loss = (x_hat - batch.x).pow(2).mean()
        if batch.target is None:
            return loss
        slow = acts[:, :n_slow] @ self.sae.decoder[:n_slow] + self.slow_bias
        proportion = self._config.slow_weight * batch.x.var() / batch.target.var()
        return loss + proportion * (slow - batch.target).pow(2).mean()


def train_sae(rows: TrainingRows, config: TrainConfig, *, checkpoint: Path | None = None) -> Sae:
    """Train an SAE with Adam, in float32, on the squared error of the stream and of the slow target.

    For training, the stream is centred and scaled to unit variance at the median token; both are folded into the
    weights that are returned.

    Args:
        checkpoint: file that keeps the state once a minute, from which a later call goes on; removed at the end.

    Raises:
        TrackerError: the checkpoint is damaged, of other options or other rows, or can't be written.
    """
    scale = stream_scale(rows.resid, rows.counted, seed=config.seed)
    run = _Run(config, scale)
    optimizer = torch.optim.Adam(run.parameters(), lr=config.lr, betas=(0.9, 0.999), fused=True)
    kept = Checkpoint(checkpoint, run, optimizer, f"{config} on {len(rows.resid)} rows of scale {scale.scale:.6g}")
    target = None
    if config.n_slow:
        target = slow_target(
            rows.resid, rows.counted, tokens_per_window=rows.tokens_per_window, reach=config.slow_reach
        )
    n_steps = max(1, round(config.epochs * _steps_per_epoch(rows, config)))
    started, first = time.monotonic(), kept.steps_done
    losses: list[float] = []
    for step, batch in enumerate(_batches(rows, target, scale, config, range(first, n_steps)), start=first):
        optimizer.param_groups[0]["lr"] = config.lr * _schedule(step, n_steps, config)
        loss = run.loss(batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        run.sae.normalize_decoder()
        losses.append(loss.item())
        if (step + 1) % _LOG_STEPS == 0 or step + 1 == n_steps:
            speed = (step + 1 - first) * config.batch / (time.monotonic() - started)
            log.info("step %d of %d: loss %.4f, %.0f tokens/s", step + 1, n_steps, sum(losses) / len(losses), speed)
            losses.clear()
        kept.save_each(_CHECKPOINT_SECONDS, steps_done=step + 1)
    kept.discard()
    return run.sae.folded(config.k)


def _schedule(step: int, n_steps: int, config: TrainConfig) -> float:
    """Share of the largest learning rate: it rises over the warm-up, stays level, then falls to 0."""
    warmup = max(1, min(config.warmup, n_steps // 10))
    return min((step + 1) / warmup, 1.0, (1 - step / n_steps) / config.decay)


def _steps_per_epoch(rows: TrainingRows, config: TrainConfig) -> int:
    return math.ceil(int(rows.counted.sum()) / config.batch)


def _batches(
    rows: TrainingRows, target: torch.Tensor | None, scale: StreamScale, config: TrainConfig, steps: range
) -> Iterator[_Batch]:
    """The batches of some steps. An epoch's order depends on the seed and its number alone, so any step can be next."""
    counted = rows.counted.nonzero().flatten()
    per_epoch = _steps_per_epoch(rows, config)
    order: tuple[torch.Tensor, ...] = ()
    for step in steps:
        epoch, within = divmod(step, per_epoch)
        if not order or within == 0:
            generator = torch.Generator().manual_seed(config.seed * 1_000_003 + epoch)
            order = counted[torch.randperm(len(counted), generator=generator)].split(config.batch)
        chosen = order[within]
        yield _Batch(scale.scaled(rows.resid[chosen]), None if target is None else scale.scaled(target[chosen]))
