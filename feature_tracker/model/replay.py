"""Run a decoder from its middle: from the residual stream after one block to the streams after later blocks.

Model families call their blocks with different arguments (attention mask, rotary positions), so the arguments of a real
forward are recorded and passed again, whatever they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from feature_tracker.model.blocks import blocks_of, resid_in
from feature_tracker.model.hooks import BlockCall, ResidReader, run_to_last


@dataclass(frozen=True)
class Replay:
    """The residual streams of one window, and the arguments of the blocks that computed them.

    Attributes:
        blocks: the decoder's blocks, in order.
        calls: by layer, from above the first recorded one, how the block was called.
        resid: by recorded layer, (window, d_model), BOS first where windows start with it.
    """

    blocks: nn.ModuleList
    calls: dict[int, BlockCall]
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
            resid = resid_in(self.blocks[layer](resid, *arguments, **keywords))
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
    calls: dict[int, BlockCall] = {}
    streams: dict[int, torch.Tensor] = {}

    def record(layer: int, stream: torch.Tensor) -> None:
        streams[layer] = stream[0].clone()
        if reader is not None:
            reader(layer, stream)

    run_to_last(decoder, token_ids, layers, record, calls)
    return Replay(blocks_of(decoder), calls, streams)
