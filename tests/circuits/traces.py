"""Traces with given activations."""

from __future__ import annotations

import numpy as np

from feature_tracker.feature import Feature
from feature_tracker.model.tokens import TokenizedText
from feature_tracker.tracing.trace import LayerTrace, Trace


def trace_of(dense_by_layer: dict[int, np.ndarray]) -> Trace:
    """A trace with the given dense activations (n_tokens, n_latents) a layer; every token reads `x`."""
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
    places = np.arange(n_tokens)
    return Trace(TokenizedText("x" * n_tokens, places, np.stack([places, places + 1], axis=1), 512), layers)


def features_of(trace: Trace) -> list[Feature]:
    return [Feature(layer, index) for layer, own in trace.layers.items() for index in range(own.n_latents)]


def bursts(n_tokens: int, n_features: int, *, rho: float, density: float, generator: np.random.Generator) -> np.ndarray:
    """Independent activations (n_tokens, n_features) that come in bursts: an AR(1) process above a threshold."""
    noise = generator.standard_normal((n_tokens + 200, n_features))
    state = np.zeros_like(noise)
    for step in range(1, len(noise)):
        state[step] = rho * state[step - 1] + np.sqrt(1 - rho**2) * noise[step]
    return np.maximum(state[200:] - np.quantile(state[200:], 1 - density), 0)
