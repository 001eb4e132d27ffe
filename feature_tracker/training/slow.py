"""The slow target: what the stream holds around a token, rather than on it.

Plain reconstruction spends latents on what changes from token to token. Latents that must also reconstruct the mean of
the stream over the tokens around learn what a passage is about, because that is what a mean over many tokens keeps.
A similar aim by another loss: Temporal SAEs (arXiv 2511.05541).
"""

from __future__ import annotations

import torch

_WINDOWS_AT_ONCE = 64  # 64 windows of 511 tokens and 576 dimensions take 75 MB in float32


def slow_target(rows: torch.Tensor, counted: torch.Tensor, *, tokens_per_window: int, reach: int) -> torch.Tensor:
    """The mean of the counted rows within `reach` tokens to either side, in the same window.

    Args:
        rows: (n_windows * tokens_per_window, d_model), windows one after the other.
        counted: (n_windows * tokens_per_window,) bool; the others enter no mean.

    Returns:
        As `rows`, in their dtype. Where no row within reach is counted, the mean is 0.
    """
    target = torch.empty_like(rows)
    at_once = _WINDOWS_AT_ONCE * tokens_per_window
    positions = torch.arange(tokens_per_window)
    start, stop = (positions - reach).clamp(min=0), (positions + reach + 1).clamp(max=tokens_per_window)
    for part, counts, out in zip(rows.split(at_once), counted.split(at_once), target.split(at_once), strict=True):
        weights = counts.float().view(-1, tokens_per_window, 1)
        windows = part.float().view(len(weights), tokens_per_window, -1) * weights
        sums, numbers = (_running_sums(values) for values in (windows, weights))
        means = (sums[:, stop] - sums[:, start]) / (numbers[:, stop] - numbers[:, start]).clamp(min=1)
        out.copy_(means.flatten(0, 1))
    return target


def _running_sums(values: torch.Tensor) -> torch.Tensor:
    """Sums of the first 0, 1, … n tokens of (n_windows, n, d): (n_windows, n + 1, d)."""
    return torch.nn.functional.pad(values.cumsum(dim=1), (0, 0, 1, 0))
