"""Read the residual stream of a causal language model with forward hooks.

Layer N is the decoder block with 0-based index N; its hookpoint `layers.N` is the residual stream after that block,
before any final norm. For every block but the last it is what transformers calls `hidden_states[N + 1]`.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Generator, Sequence
from typing import Any

import torch
from torch import nn

from feature_tracker.errors import TrackerError

ResidReader = Callable[[int, torch.Tensor], None]
"""Called as reader(layer, resid) with resid (n_windows, window, d_model) in the model's dtype."""


ReplaceResid = Callable[[torch.Tensor], torch.Tensor]
"""Takes a residual stream without BOS, (n_windows, window - 1, d_model), and gives the one to go on with."""


class _Stop(Exception):
    """Raised by the hook on the last wanted layer: everything after it would be thrown away."""


def blocks_of(decoder: nn.Module) -> nn.ModuleList:
    """The decoder blocks, by layer: `.layers` in the Llama, Mistral, Qwen and Gemma families, `.h` in GPT-2's.

    Raises:
        TrackerError: the decoder has neither.
    """
    for name in ("layers", "h"):
        blocks = getattr(decoder, name, None)
        if isinstance(blocks, nn.ModuleList):
            return blocks
    raise TrackerError(
        f"{type(decoder).__name__} keeps its blocks neither in `.layers` nor in `.h`: this family of models isn't "
        "supported; docs/bundles.md names those that are."
    )


@contextlib.contextmanager
def reading_residuals(decoder: nn.Module, layers: Sequence[int], reader: ResidReader) -> Generator[None]:
    """Within it, a forward of this thread hands each wanted layer's stream to `reader` and ends after the last.

    What ends it leaves the block of the `with`, too; see `read_residuals` for the arguments.
    """
    blocks = blocks_of(decoder)
    last = max(layers)
    caller = threading.get_ident()

    def hook_for(layer: int) -> Callable[..., None]:
        def hook(_block: nn.Module, _args: object, output: torch.Tensor | tuple[torch.Tensor, ...]) -> None:
            # Hooks sit on the shared module, so another session's forward passes through them too.
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
    """Run token ids through the decoder and hand each wanted layer's residual stream to `reader`, in layer order.

    The forward ends after the last wanted layer; the language-model head never runs. Several threads may call this on
    one model at once: each reader sees its own thread's forward alone.

    Args:
        decoder: the stack of blocks without head (transformers' `LlamaModel`, say), see `blocks_of`.
        token_ids: (n_windows, window) int64, every row starting with BOS, no padding.
        layers: 0-based block indices.
        reader: called once a layer; an exception it raises reaches the caller, and no hook survives it.
    """
    with reading_residuals(decoder, layers, reader):
        decoder(input_ids=token_ids, use_cache=False)


@contextlib.contextmanager
def replaced_residual(decoder: nn.Module, layer: int, replace: ReplaceResid) -> Generator[None]:
    """Within it, forwards of this thread go on after block `layer` with `replace`'s stream; BOS positions stay."""
    caller = threading.get_ident()

    def hook(_block: nn.Module, _args: object, output: Any) -> Any:
        if threading.get_ident() != caller:
            return None
        resid = output if isinstance(output, torch.Tensor) else output[0]
        changed = resid.clone()
        changed[:, 1:] = replace(resid[:, 1:]).to(resid)
        return changed if isinstance(output, torch.Tensor) else (changed, *output[1:])

    handle = blocks_of(decoder)[layer].register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
