"""How far two ways of finding a text's active features agree."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from feature_tracker.errors import TrackerError
from feature_tracker.sae.topk import TopK

Encoded = Mapping[int, TopK | torch.Tensor]
"""A text's activations by layer: the k largest of each token, or (n_tokens, n_latents), mostly 0."""


def same_features(expected: Encoded, encoded: Encoded, n_latents: Mapping[int, int]) -> float:
    """Share of (token, layer) pairs on which exactly the same features are active in both.

    Raises:
        TrackerError: the two cover different layers or tokens.
    """
    if expected.keys() != encoded.keys():
        raise TrackerError(f"Expected layers {sorted(expected)}, found {sorted(encoded)}.")
    equal = [
        _same_rows(active_latents(expected[layer], n_latents[layer]), active_latents(encoded[layer], n_latents[layer]))
        for layer in expected
    ]
    return float(torch.cat(equal).double().mean())


def active_latents(activations: TopK | torch.Tensor, n_latents: int) -> torch.Tensor:
    """(n_tokens, n_latents) bool: which latents fire on each token."""
    if isinstance(activations, torch.Tensor):
        return activations.reshape(-1, n_latents) > 0
    values, indices = activations.values.flatten(0, -2), activations.indices.flatten(0, -2).long()
    return torch.zeros(len(values), n_latents, device=values.device).scatter_(-1, indices, values) > 0


def _same_rows(expected: torch.Tensor, active: torch.Tensor) -> torch.Tensor:
    if expected.shape != active.shape:
        raise TrackerError(f"Expected {len(expected)} tokens, found {len(active)}: the tokens don't correspond.")
    return (expected == active).all(dim=-1)
