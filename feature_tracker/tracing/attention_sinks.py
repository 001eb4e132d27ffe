"""Attention sinks: tokens whose residual stream is many times longer than that of the tokens around them.

The model parks attention on them. Their streams say next to nothing about the text and make features fire many times
more strongly than any word does, so they are left out wherever features are compared, as BOS is.

Source: Sun et al. 2024, Massive Activations in Large Language Models.
"""

from __future__ import annotations

import torch

SINK_RATIO = 4.0
"""A token is a sink where its squared norm is more than this many times the median of its window.

In the built-in model there is almost nothing between 3 and 6: ordinary tokens end before, sinks begin after. By this
rule 1.7 % of tokens are sinks at layer 4 (nearly all of them ` the`), none at layer 10, and one in 10,000 at layers 16
to 28, where it is nearly always the first token after a cut.
"""


def attention_sinks(resid: torch.Tensor, is_token: torch.Tensor | None = None) -> torch.Tensor:
    """Which tokens are attention sinks, (..., n) bool.

    Args:
        resid: (..., n, d_model) residual streams of windows, BOS left out.
        is_token: (..., n) bool, False on padding; `None` if nothing is padded.
    """
    squared_norm = resid.float().pow(2).sum(dim=-1)
    if is_token is not None:
        squared_norm = squared_norm.masked_fill(~is_token.to(resid.device), torch.nan)
    return squared_norm > SINK_RATIO * squared_norm.nanmedian(dim=-1, keepdim=True).values
