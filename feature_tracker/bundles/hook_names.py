"""Names of places in a model, as files, folders and Neuronpedia write them, and the layer whose stream they mean."""

from __future__ import annotations

import re
from typing import NamedTuple

_NUMBER = r"([0-9]{1,4})"
_STACK = r"(?:(?:model|transformer|language_model|text_model|gpt_neox|decoder|base_model|module)\.)*(?:layers|h|blocks)"
_AFTER = re.compile(rf"{_STACK}\.{_NUMBER}(?:\.(?:hook_resid_post|hook_out|output))?")
_BEFORE = re.compile(rf"{_STACK}\.{_NUMBER}\.(?:hook_resid_pre|hook_in|input)")
_LAYER_FOLDERS = (
    re.compile(rf"layers?[._-]?{_NUMBER}(?:_width_.*)?"),  # Gemma Scope's, and sparsify's in other spellings
    re.compile(rf"resid_post_layer_{_NUMBER}"),  # dictionary_learning's
    re.compile(rf"Llama3_1-8B-Base-L{_NUMBER}R-[0-9]+x"),
)
_OTHER_STREAMS = re.compile(
    r"(?:^|[-_./])(?:mlp|att|attn|attention|res_mid|resid_mid|hook_z|transcoders?|neurons|clt|tc|embedding)(?:$|[-_./])"
    r"|-L[0-9]+(?:A|M|TC)-"
)
_NEURONPEDIA = re.compile(rf"{_NUMBER}-(.+)")


class Hook(NamedTuple):
    """A residual stream between two blocks, as its name says it.

    Attributes:
        block: 0-based number in the name.
        layer: the block after which that stream lies: the stream before block N is the one after N - 1. -1 stands for
            the stream before the first block, which no layer has.
    """

    block: int
    layer: int


def hook_of(name: str) -> Hook | None:
    """The stream that a hook's name means, in TransformerLens's words, its bridge's or transformers'.

    `None` where it means something else than the stream between two blocks.
    """
    after, before = _AFTER.fullmatch(name), _BEFORE.fullmatch(name)
    if after:
        return Hook(int(after[1]), int(after[1]))
    return Hook(int(before[1]), int(before[1]) - 1) if before else None


def hook_of_folder(name: str) -> Hook | None:
    """As `hook_of`, also for names that only folders have, such as Gemma Scope's `layer_20`."""
    numbers = (pattern.fullmatch(name) for pattern in _LAYER_FOLDERS)
    return next((Hook(int(number[1]), int(number[1])) for number in numbers if number), hook_of(name))


def hook_of_neuronpedia(model: str, source: str) -> Hook | None:
    """The stream that a Neuronpedia source, `8-res-jb`, means; `None` where it is none of a residual stream.

    Neuronpedia numbers sources by the block that they read after, but GPT-2 small's `res…-jb` and `res…-ajt` by the
    block that they read before. Source: SAELens's `pretrained_saes.yaml`.
    """
    parts = _NEURONPEDIA.fullmatch(source)
    if parts is None or is_other_stream(parts[2]):
        return None
    number = int(parts[1])
    is_before = model == "gpt2-small" and re.fullmatch(r"res.*-(?:jb|ajt)", parts[2])
    return Hook(number, number - 1 if is_before else number)


def is_other_stream(name: str) -> bool:
    """Whether a name speaks of attention, MLP, neurons or the like, not of the residual stream between blocks."""
    return bool(_OTHER_STREAMS.search(name))
