"""Which stream of a model an SAE reads, by the names that other tools give to hooks and SAEs.

Here layer N is the residual stream after block N. SAEs of the stream before block N are therefore those of layer N - 1,
and SAEs of anything else (neurons, MLP, attention, the stream inside a block) have no features here.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

_HOOK = re.compile(r"\.?(?:(?P<root>.+)\.)?(?:layers|h|blocks)\.(?P<block>\d{1,4})(?:\.(?P<part>.+))?")
_PLACES: dict[str, Literal["before", "after"]] = {
    "": "after", "hook_resid_post": "after", "hook_resid_pre": "before",
}  # fmt: skip
_ROOTS = {"model", "language_model", "text_model", "transformer", "gpt_neox", "decoder", "base_model"}
_SOURCE = re.compile(r"(?P<block>\d{1,4}|e)(?:-(?P<set>.+))?")
_RESIDUAL = {"res", "resid", "residual"}
# `neuronpedia`: users' steering vectors.
_ELSEWHERE = {"att", "attn", "attention", "mlp", "transcoder", "transcoders", "clt", "mid", "neurons", "neuronpedia"}


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


def stream_of_hook(hook: str) -> Stream | None:
    """The stream of a hook of transformers or TransformerLens; `None` where the name has another form.

    `model.layers.8` and `blocks.8.hook_resid_post` are after block 8, `blocks.8.hook_resid_pre` is before it. A block
    of anything but the decoder, such as a vision tower's, is elsewhere.
    """
    match = _HOOK.fullmatch(hook)
    if match is None:
        return None
    part, block = match["part"] or "", int(match["block"])
    if part not in _PLACES or not _ROOTS.issuperset((match["root"] or "model").split(".")):
        return Stream(block, "elsewhere")
    return Stream(block, _PLACES[part])


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
    words = set(re.split(r"[-_]+", (match["set"] or "neurons").casefold().split("__")[0]))
    if words & _ELSEWHERE or not words & _RESIDUAL:
        return Stream(block, "elsewhere", certain=bool(words & _ELSEWHERE))
    is_before = "pre" in words or "ajt" in words or ("jb" in words and not model.casefold().startswith("gemma"))
    if match["block"] == "e" or is_before:
        return Stream(block, "before")
    return Stream(block, "after", certain="post" in words)
