"""Read and replace the residual stream of a causal language model.

Layer N is the decoder block with 0-based index N. Its hookpoint `layers.N` is the residual stream after that block,
before any final norm; for every block but the last, transformers calls it `hidden_states[N + 1]`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Sequence
from typing import Any

import torch
from torch import nn

from feature_tracker.errors import TrackerError
from feature_tracker.model.blocks import Tap, family_of, require_embedded, require_stream, resid_in, tapped

ResidReader = Callable[[int, torch.Tensor], None]
"""Called as reader(layer, resid), with resid (n_windows, window, d_model) in the model's dtype."""

ReplaceResid = Callable[[torch.Tensor], torch.Tensor]
"""Maps a residual stream without BOS, (n_windows, tokens, d_model), to the one that replaces it."""

EMBEDDINGS = -1
"""Number of the layer before the first block."""

BlockCall = tuple[tuple[Any, ...], dict[str, Any]]
"""A block's positional arguments after the residual stream, and its keyword arguments."""


class _Stop(Exception):
    """Raised after the last layer that is read, to skip the blocks above it."""


@torch.inference_mode()
def read_residuals(decoder: nn.Module, token_ids: torch.Tensor, layers: Sequence[int], reader: ResidReader) -> None:
    """Run token ids through the decoder and hand the residual stream of each of `layers` to `reader`, in layer order.

    The forward ends after the last of these layers; the language-model head never runs. Several threads may call this
    on one model at once: each reader sees only its own thread's forward.

    Args:
        decoder: the stack of blocks without the head, such as transformers' `LlamaModel`; see `blocks_of`.
        token_ids: (n_windows, window) int64, BOS first; shorter rows are padded at their end.
        layers: 0-based block indices.
        reader: called once per layer. An exception that it raises reaches the caller, and no hook stays active.

    Raises:
        TrackerError: the model has no embedding for an id, or its blocks don't carry one residual stream.
    """
    run_to_last(decoder, token_ids, layers, reader)


def run_to_last(
    decoder: nn.Module,
    token_ids: torch.Tensor,
    layers: Sequence[int],
    reader: ResidReader,
    calls: dict[int, BlockCall] | None = None,
) -> None:
    """As `read_residuals`, in the caller's gradient mode.

    Args:
        layers: `EMBEDDINGS` is what the first block is given.
        calls: filled with the call of every block from above the first of `layers` to the last.
    """
    require_embedded(decoder, token_ids)
    first, last, unread = min(layers), max(layers), set(layers)
    n_windows, window = token_ids.shape

    def read(layer: int, resid: torch.Tensor) -> None:
        if layer in unread:
            unread.remove(layer)
            require_stream(decoder, layer, resid, (n_windows, window))
            reader(layer, resid)

    def tap_for(layer: int) -> Tap:
        def tap(args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            if layer == 0 and EMBEDDINGS in unread:
                read(EMBEDDINGS, args[0] if args else kwargs["hidden_states"])
            if calls is not None and layer > first:
                calls[layer] = args[1:], kwargs
            read(layer, resid_in(output))
            if layer == last:
                raise _Stop

        return tap

    tapped_layers = range(max(first, 0), last + 1) if calls is not None else sorted({*layers} - {EMBEDDINGS})
    with tapped(decoder, {layer: tap_for(layer) for layer in tapped_layers}), contextlib.suppress(_Stop):
        decoder(input_ids=token_ids, use_cache=False)
    if unread:
        raise TrackerError(
            f"This {family_of(decoder)} model doesn't run its blocks {sorted(unread)} one after the other, so their "
            "residual streams can't be read. docs/bundles.md names the supported families."
        )


@contextlib.contextmanager
def replaced_residual(decoder: nn.Module, layer: int, replace: ReplaceResid, *, first: int = 1) -> Generator[None]:
    """Replace the residual stream after block `layer` in this thread's forwards; BOS positions stay as they are.

    Args:
        first: position of a window's first token: 1 after BOS, 0 where windows start without it, and in
            forwards that continue a cache.
    """

    def tap(_args: tuple[Any, ...], _kwargs: dict[str, Any], output: Any) -> Any:
        resid = resid_in(output)
        require_stream(decoder, layer, resid)
        changed = resid.clone()
        changed[:, first:] = replace(resid[:, first:]).to(resid)
        return changed if isinstance(output, torch.Tensor) else (changed, *output[1:])

    with tapped(decoder, {layer: tap}):
        yield
