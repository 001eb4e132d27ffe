"""Run a decoder from its middle: from the residual stream after one block to the streams after later blocks.

Model families call their blocks with different arguments (attention mask, rotary positions), so the arguments of a real
forward are recorded and passed again, whatever they are.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from feature_tracker.model.hooks import ResidReader, reading_residuals
from feature_tracker.model.load import blocks_of


@dataclass(frozen=True)
class Replay:
    """The residual streams of one window, and the arguments of the blocks that computed them.

    Attributes:
        blocks: the decoder's blocks, in order.
        calls: by layer, the block's positional arguments after the residual stream, and its keyword arguments.
        resid: by recorded layer, (window, d_model), BOS first where windows start with it.
    """

    blocks: nn.ModuleList
    calls: dict[int, tuple[tuple[Any, ...], dict[str, Any]]]
    resid: dict[int, torch.Tensor]

    def run(self, start: int, resid: torch.Tensor, stops: Sequence[int]) -> dict[int, torch.Tensor]:
        """Compute the residual streams after the blocks `stops` from `resid`, the stream after block `start`.

        Args:
            start: 0-based block.
            resid: (n, window, d_model), BOS first: n variants of this window's stream.
            stops: layers above `start`; nothing above the last of them is computed.

        Returns:
            By layer of `stops`, (n, window, d_model). Gradients flow back to `resid` where it requires them.
        """
        streams: dict[int, torch.Tensor] = {}
        for layer in range(start + 1, max(stops) + 1):
            arguments, keywords = self.calls[layer]
            output = self.blocks[layer](resid, *arguments, **keywords)
            resid = output if isinstance(output, torch.Tensor) else output[0]
            if layer in stops:
                streams[layer] = resid
        return streams


@torch.no_grad()
def record_window(
    decoder: nn.Module, token_ids: torch.Tensor, layers: Sequence[int], reader: ResidReader | None = None
) -> Replay:
    """Run one window, and record what it takes to run its upper blocks again.

    Args:
        decoder: the stack of blocks without the head.
        token_ids: (1, window) int64, BOS first.
        layers: the blocks whose residual streams are recorded; those above the first of them can run again.
        reader: also called with each of these streams, as `read_residuals` calls it.
    """
    blocks = blocks_of(decoder)
    calls: dict[int, tuple[tuple[Any, ...], dict[str, Any]]] = {}
    resid: dict[int, torch.Tensor] = {}
    caller = threading.get_ident()

    def record_call(layer: int) -> Callable[..., None]:
        def hook(_block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if threading.get_ident() == caller:  # the forwards of other threads pass through this hook too
                calls[layer] = args[1:], kwargs

        return hook

    def record_resid(layer: int, stream: torch.Tensor) -> None:
        resid[layer] = stream[0].clone()
        if reader is not None:
            reader(layer, stream)

    with contextlib.ExitStack() as hooks:
        for layer in range(min(layers) + 1, max(layers) + 1):
            hooks.callback(blocks[layer].register_forward_pre_hook(record_call(layer), with_kwargs=True).remove)
        hooks.enter_context(reading_residuals(decoder, layers, record_resid))
        decoder(input_ids=token_ids, use_cache=False)
    return Replay(blocks, calls, resid)
