"""Run a decoder on from its middle: from the residual stream after one block to the stream after later ones.

What a block is called with beside the residual stream (attention mask, rotary positions) differs from family to family,
so it is taken from a real forward and given again, whatever it is.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from feature_tracker.model.hooks import blocks_of, reading_residuals


@dataclass(frozen=True)
class Replay:
    """One window's residual streams, and what its blocks were called with.

    Attributes:
        blocks: the decoder's, by layer.
        calls: by layer, the block's arguments after the residual stream, and its keyword arguments.
        resid: by wanted layer, (window, d_model), BOS first.
    """

    blocks: nn.ModuleList
    calls: dict[int, tuple[tuple[Any, ...], dict[str, Any]]]
    resid: dict[int, torch.Tensor]

    def run(self, start: int, resid: torch.Tensor, stops: Sequence[int]) -> dict[int, torch.Tensor]:
        """The residual streams after the blocks `stops`, going on from `resid` after block `start`.

        Args:
            resid: (n, window, d_model), BOS first: n variants of this window's stream.
            stops: layers after `start`; nothing beyond the last is computed.

        Returns:
            By layer of `stops`, (n, window, d_model). Gradients flow back to a `resid` that wants them.
        """
        found: dict[int, torch.Tensor] = {}
        for layer in range(start + 1, max(stops) + 1):
            arguments, named = self.calls[layer]
            output = self.blocks[layer](resid, *arguments, **named)
            resid = output if isinstance(output, torch.Tensor) else output[0]
            if layer in stops:
                found[layer] = resid
        return found


@torch.no_grad()
def record_window(decoder: nn.Module, token_ids: torch.Tensor, layers: Sequence[int]) -> Replay:
    """Run one window and keep what going on from its middle needs.

    Args:
        decoder: the stack of blocks without head.
        token_ids: (window,) int64, BOS first.
        layers: whose residual streams are kept; the blocks after the first of them can be run again.
    """
    blocks = blocks_of(decoder)
    calls: dict[int, tuple[tuple[Any, ...], dict[str, Any]]] = {}
    resid: dict[int, torch.Tensor] = {}
    caller = threading.get_ident()

    def keep_call(layer: int) -> Callable[..., None]:
        def hook(_block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if threading.get_ident() == caller:  # another session's forward passes through the same hook
                calls[layer] = args[1:], kwargs

        return hook

    def keep_resid(layer: int, stream: torch.Tensor) -> None:
        resid[layer] = stream[0].clone()

    with contextlib.ExitStack() as hooks:
        for layer in range(min(layers) + 1, max(layers) + 1):
            hooks.callback(blocks[layer].register_forward_pre_hook(keep_call(layer), with_kwargs=True).remove)
        hooks.enter_context(reading_residuals(decoder, layers, keep_resid))
        decoder(input_ids=token_ids[None], use_cache=False)
    return Replay(blocks, calls, resid)
