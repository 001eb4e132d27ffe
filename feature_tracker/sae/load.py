"""Find the SAEs of a bundle's layers in a folder, in sparsify's or SAELens's format, and load them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from feature_tracker.bundles.missing import refused_pickle
from feature_tracker.errors import TrackerError
from feature_tracker.sae.formats.saelens import WEIGHTS as SAELENS, hooked_layer, load_saelens
from feature_tracker.sae.formats.sparsify import WEIGHTS as SPARSIFY, load_sparsify, save_sae
from feature_tracker.sae.topk import Sae

__all__ = ["check_writable", "load_saes", "save_sae"]


def load_saes(folder: Path, layers: Sequence[int], *, d_model: int | None = None) -> dict[int, Sae]:
    """Load the SAEs of several layers, onto the CPU.

    Args:
        folder: holds `layers.N` for every N in `layers`, with sparsify's files (`cfg.json`, `sae.safetensors`) or
            SAELens's (`cfg.json`, `sae_weights.safetensors`). A SAELens folder may have any name, too: the
            `hook_name` in its configuration tells the layer.
        d_model: width of the model's residual stream, to be checked against where it is known.

    Raises:
        TrackerError: a layer is missing, a file is damaged, a kind isn't supported, shapes don't agree, or a weight is
            not finite.
    """
    found = _found(folder)
    missing = [layer for layer in layers if layer not in found]
    if missing:
        raise _missing(folder, missing)
    return {layer: _load_sae(found[layer], layer, d_model) for layer in layers}


def check_writable(folder: Path, layers: Sequence[int]) -> None:
    """Refuse to write SAEs of layers whose SAE in `folder` is in SAELens's format.

    `save_sae` writes sparsify's files to `layers.N`, which `load_saes` would from then on read in the other's place;
    where the other lies in `layers.N`, its cfg.json would be lost as well.

    Raises:
        TrackerError: there is such a layer.
    """
    found = _found(folder)
    for layer in layers:
        if layer in found and not (found[layer] / SPARSIFY).is_file():
            raise TrackerError(
                f"{found[layer]} holds layer {layer}'s SAE in SAELens's format. An SAE written to {folder} would hide "
                "it: name another folder as the bundle's sae_folder, or leave the layer out."
            )


def _found(folder: Path) -> dict[int, Path]:
    return _saelens_folders(folder) | _numbered_folders(folder)


def _load_sae(folder: Path, layer: int, d_model: int | None) -> Sae:
    if (folder / SPARSIFY).is_file():
        return load_sparsify(folder, d_model)
    return load_saelens(folder, layer, d_model)


def _numbered_folders(folder: Path) -> dict[int, Path]:
    """By layer, the folders `layers.N` that hold weights."""
    named = {path.name.removeprefix("layers."): path for path in folder.glob("layers.*")}
    return {
        int(number): path
        for number, path in named.items()
        if number.isdecimal() and ((path / SPARSIFY).is_file() or (path / SAELENS).is_file())
    }


def _saelens_folders(folder: Path) -> dict[int, Path]:
    """By layer, SAELens's folders of any name: `folder` itself or one in it.

    Raises:
        TrackerError: two of them read the same layer.
    """
    found: dict[int, Path] = {}
    for path in sorted({file.parent for pattern in (SAELENS, f"*/{SAELENS}") for file in folder.glob(pattern)}):
        try:
            config = json.loads((path / "cfg.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue  # its `layers.N` name, where it has one, still leads to it, and then to a proper message
        layer = hooked_layer(config) if isinstance(config, dict) else None
        if layer is None or path.name.startswith("layers."):
            continue
        if layer in found:
            raise TrackerError(f"{found[layer]} and {path} both read layer {layer}: keep one of them in {folder}.")
        found[layer] = path
    return found


def _missing(folder: Path, layers: list[int]) -> TrackerError:
    here = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    refused = refused_pickle(folder / f"layers.{layer}" for layer in layers)
    return TrackerError(
        f"No SAE for layer {', '.join(map(str, layers))} in {folder}: expected layers.{layers[0]}/{SPARSIFY} and "
        f"cfg.json (or SAELens's {SAELENS}), found {', '.join(here) or 'no layers.N folder'}. {refused}"
        "Point the bundle's sae_folder at the folder that holds every layer."
    )
