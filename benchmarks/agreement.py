"""How far two ways of finding a text's active features agree."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from feature_tracker.errors import TrackerError
from feature_tracker.sae.topk import TopK

Found = Mapping[int, TopK | torch.Tensor]
"""By layer, what a way gives: the k largest of each token, or (n_tokens, n_latents) activations, mostly 0."""


def same_features(expected: Found, found: Found, n_latents: Mapping[int, int]) -> float:
    """Share of (token, layer) pairs on which both have exactly the same features active.

    Raises:
        TrackerError: they don't cover the same layers and tokens.
    """
    if expected.keys() != found.keys():
        raise TrackerError(f"Expected layers {sorted(expected)}, found {sorted(found)}.")
    equal = [
        _same_rows(active_latents(expected[layer], n_latents[layer]), active_latents(found[layer], n_latents[layer]))
        for layer in expected
    ]
    return float(torch.cat(equal).double().mean())


def active_latents(found: TopK | torch.Tensor, n_latents: int) -> torch.Tensor:
    """(n_tokens, n_latents) bool: which latents fire on each token."""
    if isinstance(found, torch.Tensor):
        return found.reshape(-1, n_latents) > 0
    values, indices = found.values.flatten(0, -2), found.indices.flatten(0, -2).long()
    return torch.zeros(len(values), n_latents, device=values.device).scatter_(-1, indices, values) > 0


def _same_rows(expected: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
    if expected.shape != found.shape:
        raise TrackerError(f"Expected {len(expected)} tokens, found {len(found)}: the tokens don't correspond.")
    return (expected == found).all(dim=-1)
