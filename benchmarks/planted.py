"""Traces with planted activations, for benchmarks and tests of correlations."""

from __future__ import annotations

import numpy as np

from feature_tracker.feature import Feature
from feature_tracker.model.tokens import TokenizedText
from feature_tracker.tracing.trace import LayerTrace, Trace

_BURN_IN = 200  # steps that the process needs to forget its start at 0, for rho up to 0.95


def trace_of(dense_by_layer: dict[int, np.ndarray]) -> Trace:
    """A trace with the given activations (n_tokens, n_latents) by layer. Every token is the letter `x`."""
    n_tokens = len(next(iter(dense_by_layer.values())))
    layers = {
        layer: LayerTrace(
            layer,
            np.asarray(dense, np.float32),
            np.tile(np.arange(np.shape(dense)[1], dtype=np.int32), (n_tokens, 1)),
            np.shape(dense)[1],
        )
        for layer, dense in dense_by_layer.items()
    }
    positions = np.arange(n_tokens)
    offsets = np.stack([positions, positions + 1], axis=1)
    return Trace(TokenizedText("x" * n_tokens, positions, offsets, 512), layers)


def all_features(trace: Trace) -> list[Feature]:
    """Every latent of every layer, whether it fires or not."""
    return [Feature(layer, index) for layer in trace.layers for index in range(trace.layers[layer].n_latents)]


def bursts(n_tokens: int, n_features: int, *, rho: float, density: float, generator: np.random.Generator) -> np.ndarray:
    """Independent activations (n_tokens, n_features) that come in bursts: an AR(1) process above a threshold.

    Args:
        rho: correlation of the process between neighbouring tokens; 0 makes tokens independent.
        density: share of all activations that are above 0.
    """
    noise = generator.standard_normal((n_tokens + _BURN_IN, n_features))
    state = np.zeros_like(noise)
    for step in range(1, len(noise)):
        state[step] = rho * state[step - 1] + np.sqrt(1 - rho**2) * noise[step]
    return np.maximum(state[_BURN_IN:] - np.quantile(state[_BURN_IN:], 1 - density), 0)
