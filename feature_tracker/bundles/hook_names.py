"""Names of places in a model, as files, folders, Delphi and Neuronpedia write them, and the stream that they mean.

Layer N is the residual stream after block N. SAEs and labels of the stream before block N are therefore those of layer
N - 1, and those of anything else (neurons, MLP, attention, the stream inside a block) belong to no layer.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

_NUMBER = r"(?P<block>[0-9]{1,4})"
_HOOK = re.compile(rf"\.?(?:(?P<root>.+)\.)?(?:layers|h|blocks)\.{_NUMBER}(?:\.(?P<part>.+))?")
_ROOTS = {
    "model", "language_model", "text_model", "transformer", "gpt_neox", "decoder", "base_model", "module",
}  # fmt: skip
_PLACES: dict[str, Literal["before", "after"]] = {
    "": "after", "output": "after", "hook_out": "after", "hook_resid_post": "after",
    "input": "before", "hook_in": "before", "hook_resid_pre": "before",
}  # fmt: skip
_LAYER_FOLDERS = (
    re.compile(rf"layers?[._-]?{_NUMBER}(?:_width_.*)?"),  # Gemma Scope's, and sparsify's in other spellings
    re.compile(rf"resid_post_layer_{_NUMBER}"),  # dictionary_learning's
    re.compile(rf"Llama3_1-8B-Base-L{_NUMBER}R-[0-9]+x"),
)
_SOURCE = re.compile(r"(?P<block>[0-9]{1,4}|e)(?:-(?P<set>.+))?")
_RESIDUAL = {"res", "resid", "residual"}
_ELSEWHERE = {
    "att", "attn", "attention", "mlp", "transcoder", "transcoders", "crosscoder", "crosscoders", "clt", "tc",
    "neurons", "embedding",
}  # fmt: skip
_LLAMA_SCOPE = re.compile(r"-L[0-9]+(?:A|M|TC)-")  # attention, MLP, transcoders


class Stream(NamedTuple):
    """The stream that an SAE reads.

    Attributes:
        block: the decoder block that the name counts by, from 0.
        place: of the residual stream `before` or `after` that block; `elsewhere` where it is another stream.
        certain: whether the name says so; without, it is the custom of those who name SAEs so.
    """

    block: int
    place: Literal["before", "after", "elsewhere"]
    certain: bool = True

    @property
    def layer(self) -> int | None:
        """The layer whose SAE reads it; `None` for streams that are after no block."""
        layer = self.block - (self.place == "before")
        return None if self.place == "elsewhere" or layer < 0 else layer


def stream_of_hook(name: str) -> Stream | None:
    """The stream of a hook of transformers, TransformerLens or its bridge; `None` where the name has another form.

    `model.layers.8` and `blocks.8.hook_resid_post` are after block 8, `blocks.8.hook_resid_pre` is before it. A block
    of anything but the decoder, such as a vision tower's, is elsewhere.
    """
    match = _HOOK.fullmatch(name)
    if match is None:
        return None
    part, block = match["part"] or "", int(match["block"])
    if part not in _PLACES or not _ROOTS.issuperset((match["root"] or "model").split(".")):
        return Stream(block, "elsewhere")
    return Stream(block, _PLACES[part])


def stream_of_folder(name: str) -> Stream | None:
    """As `stream_of_hook`, also for names that only folders have, such as Gemma Scope's `layer_20`."""
    matches = (pattern.fullmatch(name) for pattern in _LAYER_FOLDERS)
    without_size = re.sub(r"(_pre|_post)_[0-9]+$", r"\1", name)  # blocks.8.hook_resid_pre_768, of 768 latents
    return next((Stream(int(match["block"]), "after") for match in matches if match), stream_of_hook(without_size))


def stream_of_source(source: str, model: str = "") -> Stream | None:
    """The stream of one of Neuronpedia's sources, such as `20-gemmascope-res-16k`; `None` where it isn't named so.

    A number alone is a layer's MLP neurons. Sources named `pre` are before their block, and so are those of GPT-2 that
    end in `jb` and `ajt`, while Gemma's `res-jb` is after it: see `pretrained_saes.yaml` in SAELens, which gives the
    hook of each.

    Args:
        model: Neuronpedia's name of the model.
    """
    match = _SOURCE.fullmatch(source)
    if match is None:
        return None
    block = 0 if match["block"] == "e" else int(match["block"])
    name = (match["set"] or "neurons").split("__")[0]
    words = _words(name)
    is_elsewhere = is_other_stream(name) or "mid" in words or "neuronpedia" in words  # the last: steering vectors
    if is_elsewhere or not words & _RESIDUAL:
        return Stream(block, "elsewhere", certain=is_elsewhere)
    is_before = "pre" in words or "ajt" in words or ("jb" in words and not model.casefold().startswith("gemma"))
    if match["block"] == "e" or is_before:
        return Stream(block, "before")
    return Stream(block, "after", certain="post" in words)


def is_other_stream(name: str) -> bool:
    """Whether a name speaks of attention, MLP, neurons or the like, not of the residual stream between blocks."""
    words = _words(name)
    is_inside = "mid" in words and bool(words & _RESIDUAL)
    return is_inside or bool(words & _ELSEWHERE) or {"hook", "z"} <= words or bool(_LLAMA_SCOPE.search(name))


def _words(name: str) -> set[str]:
    return set(re.split(r"[-_./]+", name.casefold()))
