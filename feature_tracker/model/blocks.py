"""A decoder's blocks, and the one hook that each of them keeps for good.

Hooks that come and go race: PyTorch iterates over a module's hooks during a forward, which fails where another thread
adds or removes one meanwhile. So each block keeps one hook, which asks what the thread that runs the forward wants of
this block. transformers reads its own hidden states the same way.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Generator, Mapping
from typing import Any, cast

import torch
from torch import nn
from transformers import PreTrainedModel

from feature_tracker.errors import TrackerError

Tap = Callable[[tuple[Any, ...], dict[str, Any], Any], Any]
"""Called as tap(args, kwargs, output) after a block. What it returns replaces the output, unless it is `None`."""

_INSTALLING = threading.Lock()
_HAS_HOOK = "_feature_tracker_hook"


class _ThreadTaps(threading.local):
    """The taps of this thread, by block."""

    def __init__(self) -> None:
        self.by_block: dict[nn.Module, list[Tap]] = {}


_TAPS = _ThreadTaps()


def blocks_of(decoder: nn.Module) -> nn.ModuleList:
    """The decoder's blocks, in order: `.layers` in the Llama, Mistral, Qwen and Gemma families, `.h` in GPT-2's.

    Raises:
        TrackerError: the decoder has neither.
    """
    for name in ("layers", "h"):
        blocks = getattr(decoder, name, None)
        if isinstance(blocks, nn.ModuleList):
            return blocks
    raise TrackerError(
        f"{type(decoder).__name__} has its blocks neither in `.layers` nor in `.h`: this family of models is not "
        "supported. docs/bundles.md names the families that are."
    )


def block_device(decoder: nn.Module, layer: int) -> torch.device:
    """Device of the residual stream after a block of a decoder."""
    device = next(blocks_of(decoder)[layer].parameters()).device
    # A block that accelerate keeps in the host's memory has only meta weights between its runs; it runs on the GPU.
    return device if device.type != "meta" else torch.device("cuda", 0)


def install_hooks(decoder: nn.Module) -> None:
    """Give each block its hook, where it has none yet. It does nothing outside `tapped`, and it stays.

    `LanguageModel` calls this before any forward, because a hook that is added during another thread's forward races.

    Raises:
        TrackerError: one block stands in several layers, whose streams can't be told apart then.
    """
    blocks = blocks_of(decoder)
    if len(set(blocks)) < len(blocks):
        raise TrackerError(
            f"This {family_of(decoder)} model runs one block in several layers: this family of models is not "
            "supported. docs/bundles.md names the families that are."
        )
    with _INSTALLING:
        for block in blocks:
            if not hasattr(block, _HAS_HOOK):  # on the block itself, so that a copy of the model is right about its own
                setattr(block, _HAS_HOOK, True)
                block.register_forward_hook(_run_taps, with_kwargs=True)


@contextlib.contextmanager
def tapped(decoder: nn.Module, taps: Mapping[int, Tap]) -> Generator[None]:
    """Call `taps`, by layer, in the forwards that this thread runs in the body of the `with` statement.

    The forwards of other threads don't see them, and none survives an exception.
    """
    install_hooks(decoder)
    blocks = blocks_of(decoder)
    by_block = _TAPS.by_block
    try:
        for layer, tap in taps.items():
            by_block.setdefault(blocks[layer], []).append(tap)
        yield
    finally:
        for layer, tap in taps.items():
            waiting = by_block.get(blocks[layer], [])
            if tap in waiting:
                waiting.remove(tap)
            if not waiting:
                by_block.pop(blocks[layer], None)


def _run_taps(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
    for tap in tuple(_TAPS.by_block.get(block, ())):
        changed = tap(args, kwargs, output)
        output = output if changed is None else changed
    return output


def resid_in(output: Any) -> torch.Tensor:
    """The residual stream in what a block returns: a tensor, or a tuple that begins with it."""
    return output if isinstance(output, torch.Tensor) else output[0]


def require_stream(decoder: nn.Module, layer: int, resid: Any, shape: tuple[int, int] | None = None) -> None:
    """Refuse a block's output that isn't one residual stream.

    Args:
        shape: (n_windows, window) of the tokens that were given; `None` where unknown.

    Raises:
        TrackerError: it is not (n_windows, window, d_model). Names the family of models.
    """
    found = tuple(resid.shape) if isinstance(resid, torch.Tensor) else ()
    d_model = cast(PreTrainedModel, decoder).config.get_text_config().hidden_size
    if len(found) == 3 and found[2] == d_model and shape in (None, found[:2]):
        return
    expected = (*(shape or ("windows", "tokens")), d_model)
    raise TrackerError(
        f"Block {layer} of this {family_of(decoder)} model gives {_dimensions(found) or type(resid).__name__} where "
        f"one residual stream of {_dimensions(expected)} is expected. Some families, such as Gemma 3n, carry several "
        "streams: what an SAE would read there is not defined, and they are not supported. docs/bundles.md names the "
        "families that are."
    )


def require_embedded(decoder: nn.Module, token_ids: torch.Tensor) -> None:
    """Refuse token ids that the model has no embedding for: on a GPU they would end the whole process.

    Raises:
        TrackerError: names an id, and how many embeddings there are.
    """
    if not token_ids.numel() or token_ids.is_meta:
        return
    smallest, largest = (int(bound) for bound in token_ids.aminmax())
    n_embeddings = cast(nn.Embedding, cast(PreTrainedModel, decoder).get_input_embeddings()).weight.shape[0]
    if smallest >= 0 and largest < n_embeddings:
        return
    raise TrackerError(
        f"The tokenizer gives the id {largest if largest >= n_embeddings else smallest:,}, but this "
        f"{family_of(decoder)} model has embeddings for ids 0 to {n_embeddings - 1:,} only: tokenizer and model don't "
        "belong together. Put the tokenizer files that were made for this model into its folder."
    )


def family_of(decoder: nn.Module) -> str:
    """The family of a model as transformers names it, such as `gemma3n`."""
    return str(getattr(decoder.config, "model_type", "") or type(decoder).__name__)


def _dimensions(shape: tuple[Any, ...]) -> str:
    return " x ".join(map(str, shape))
