"""The names by which one model goes: on the hub, in folders, in TransformerLens and on Neuronpedia."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

from feature_tracker.bundles.bundle import Bundle, PretrainedModel

_ALIASES = {"gpt2small": "gpt2", "mistral7b": "mistral7bv01"}  # of TransformerLens


def model_names(bundle: Bundle) -> tuple[str, ...]:
    """The names by which a bundle's model may go, the plainest first: on the hub, of its folder, of the bundle."""
    model = bundle.model
    if not isinstance(model, PretrainedModel):
        return (PurePosixPath(model.gguf).name.split(".")[0], bundle.name)
    if model.folder is None:
        return (model.id, bundle.name)
    # The hub's own cache keeps a model in models--owner--name/snapshots/<commit>.
    return (model.folder.name, bundle.name, *(part.split("--")[-1] for part in model.folder.parts if "--" in part))


def is_named(name: str, model_names: Iterable[str]) -> bool:
    """Whether a name is one of a model's: owners, parent folders, capitals and punctuation don't count."""
    *folders, last = re.split(r"[/\\]", name.rstrip("/\\"))
    candidates = [last, *(part.split("--")[-1] for part in folders if part.startswith("models--"))]
    plain = {_plain(each.split("/")[-1]) for each in model_names}
    return not (set(map(_plain, candidates)) - {""}).isdisjoint(plain)


def _plain(name: str) -> str:
    # The hub has Meta-Llama-3.1-8B and Llama-2-7b-hf where others write Llama-3.1-8B and Llama-2-7b.
    letters = "".join(filter(str.isalnum, name.casefold())).removeprefix("meta").removesuffix("hf")
    if letters.startswith("gemma"):  # google/gemma-3-1b-pt is gemma-3-1b on Neuronpedia and gemma-v3-1b-pt elsewhere
        letters = letters.replace("gemmav", "gemma").removesuffix("pt")
    if letters.endswith("instruct"):  # Qwen2.5-7B-Instruct is qwen2.5-7b-it on Neuronpedia
        letters = letters.removesuffix("instruct") + "it"
    return _ALIASES.get(letters, letters)
