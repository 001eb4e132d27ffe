"""Read the residual stream of a causal language model with forward hooks.

Layer N is the decoder block with 0-based index N. Its hookpoint `layers.N` is the residual stream after that block,
before any final norm; for every block but the last, transformers calls it `hidden_states[N + 1]`.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Generator, Sequence
from typing import Any

import torch
from torch import nn

from feature_tracker.model.load import blocks_of

ResidReader = Callable[[int, torch.Tensor], None]
"""Called as reader(layer, resid), with resid (n_windows, window, d_model) in the model's dtype."""

ReplaceResid = Callable[[torch.Tensor], torch.Tensor]
"""Maps a residual stream without BOS, (n_windows, positions, d_model), to the one that replaces it."""


class _Stop(Exception):
    """Raised by the hook on the last layer that is read, to skip the blocks above it."""


@contextlib.contextmanager
def reading_residuals(decoder: nn.Module, layers: Sequence[int], reader: ResidReader) -> Generator[None]:
    """Hand the stream of each of `layers` to `reader` during this thread's forward, which ends after the last of them.

    Ending the forward also ends the body of the `with` statement. See `read_residuals` for the arguments.
    """
    blocks = blocks_of(decoder)
    last = max(layers)
    caller = threading.get_ident()

    def hook_for(layer: int) -> Callable[..., None]:
        def hook(_block: nn.Module, _args: object, output: torch.Tensor | tuple[torch.Tensor, ...]) -> None:
            # The module is shared, so the forwards of other threads pass through its hooks too.
            if threading.get_ident() != caller:
                return
            reader(layer, output if isinstance(output, torch.Tensor) else output[0])
            if layer == last:
                raise _Stop

        return hook

    handles = [blocks[layer].register_forward_hook(hook_for(layer)) for layer in sorted(set(layers))]
    try:
        with contextlib.suppress(_Stop):
            yield
    finally:
        for handle in handles:
            handle.remove()


@torch.inference_mode()
def read_residuals(decoder: nn.Module, token_ids: torch.Tensor, layers: Sequence[int], reader: ResidReader) -> None:
    """Run token ids through the decoder and hand the residual stream of each of `layers` to `reader`, in layer order.

    The forward ends after the last of these layers; the language-model head never runs. Several threads may call this
    on one model at once: each reader sees only its own thread's forward.

    Args:
        decoder: the stack of blocks without the head, such as transformers' `LlamaModel`; see `blocks_of`.
        token_ids: (n_windows, window) int64, BOS first; shorter rows are padded at their end.
        layers: 0-based block indices.
        reader: called once per layer. An exception that it raises reaches the caller, and no hook survives it.
    """
    with reading_residuals(decoder, layers, reader):
        decoder(input_ids=token_ids, use_cache=False)


@contextlib.contextmanager
def replaced_residual(decoder: nn.Module, layer: int, replace: ReplaceResid, *, first: int = 1) -> Generator[None]:
    """Replace the residual stream after block `layer` in this thread's forwards; BOS positions stay as they are.

    Args:
        first: position of the first token that is replaced: 1 after BOS, 0 in forwards that continue a cache.
    """
    caller = threading.get_ident()

    def hook(_block: nn.Module, _args: object, output: Any) -> Any:
        if threading.get_ident() != caller:
            return None
        resid = output if isinstance(output, torch.Tensor) else output[0]
        changed = resid.clone()
        changed[:, first:] = replace(resid[:, first:]).to(resid)
        return changed if isinstance(output, torch.Tensor) else (changed, *output[1:])

    handle = blocks_of(decoder)[layer].register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
