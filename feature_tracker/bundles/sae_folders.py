"""Where SAEs lie in a folder, in which format, and which layers their paths name, by the names of files alone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, NamedTuple

from feature_tracker.bundles.hook_names import Stream, is_other_stream, stream_of_folder

Format = Literal["sparsify", "SAELens", "Gemma Scope", "Llama Scope", "dictionary_learning"]

_FORMATS: dict[str, Format] = {
    "sae.safetensors": "sparsify",
    "sae_weights.safetensors": "SAELens",
    "params.npz": "Gemma Scope",
    "params.safetensors": "Gemma Scope",
    "checkpoints/final.safetensors": "Llama Scope",
    "ae.safetensors": "dictionary_learning",
}
"""By the name of the file with an SAE's tensors, within the SAE's folder."""
_DEPTH = 4  # of an SAE's folder: Gemma Scope's layer_20/width_16k/average_l0_71, in a folder of its own


class FoundSae(NamedTuple):
    """The files of one SAE.

    Attributes:
        folder: its own folder, which holds the configuration.
        weights: the file with its tensors.
        format: whose names these files have.
    """

    folder: Path
    weights: Path
    format: Format

    def layers(self, sae_folder: Path) -> dict[str, int]:
        """The layers that folders from `sae_folder` down to the SAE's own name, by the folder's name."""
        streams = {part: stream_of_folder(part) for part in self.parts(sae_folder)}
        return {part: stream.layer for part, stream in streams.items() if stream and stream.layer is not None}

    def other_stream(self, sae_folder: Path) -> str:
        """The name of a folder that says that the SAE reads no stream after a block; empty where none does.

        Of a name that somebody gave to all SAEs together, single words (attention, MLP) say so only of Gemma Scope's,
        which have nothing else that does.
        """
        parts = self.parts(sae_folder)
        streams = {part: stream_of_folder(part) for part in parts}
        named = [part for part, stream in streams.items() if stream == Stream(0, "before")]
        named += filter(is_other_stream, parts if self.format == "Gemma Scope" else parts[1:])
        return next(iter(named), "")

    def parts(self, sae_folder: Path) -> tuple[str, ...]:
        """Names of the folders from `sae_folder` down to the SAE's own, both included."""
        return (sae_folder.name, *self.folder.relative_to(sae_folder).parts)


def find_saes(folder: Path) -> list[FoundSae]:
    """Every SAE in a folder and the folders in it, in the order of their paths."""
    found: list[FoundSae] = []
    for name, inner, _files in os.walk(folder, followlinks=True):
        path = Path(name)
        found += [FoundSae(path, path / file, format_) for file, format_ in _FORMATS.items() if (path / file).is_file()]
        inner[:] = [each for each in inner if not each.startswith(".")]
        if len(path.relative_to(folder).parts) >= _DEPTH:
            inner.clear()
    return sorted(found)
