"""Find the SAEs of a bundle's layers in a folder, in sparsify's or SAELens's format, and load them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from feature_tracker.bundles.missing import refused_pickle
from feature_tracker.errors import TrackerError
from feature_tracker.sae.formats.files import read_sae_files
from feature_tracker.sae.formats.saelens import WEIGHTS as SAELENS, hooked_layer, sae_from_saelens
from feature_tracker.sae.formats.sparsify import WEIGHTS as SPARSIFY, sae_from_sparsify, save_sae
from feature_tracker.sae.topk import Sae

__all__ = ["check_writable", "load_saes", "save_sae"]


def load_saes(folder: Path, layers: Sequence[int], *, d_model: int | None = None) -> dict[int, Sae]:
    """Load the SAEs of several layers, onto the CPU.

    Args:
        folder: holds `layers.N` for every N in `layers`, with sparsify's files (`cfg.json`, `sae.safetensors`) or
            SAELens's (`cfg.json`, `sae_weights.safetensors`). SAELens's folder may also have another name: the
            `hook_name` in its configuration tells the layer.
        d_model: width of the model's residual stream; `None` where it is unknown.

    Raises:
        TrackerError: a layer is missing, a file is damaged, a kind isn't supported, shapes don't agree, or a weight is
            not finite.
    """
    folders = _folders_by_layer(folder)
    missing = [layer for layer in layers if layer not in folders]
    if missing:
        raise _missing(folder, missing)
    saes = {}
    for layer in layers:
        if (folders[layer] / SPARSIFY).is_file():
            saes[layer] = sae_from_sparsify(read_sae_files(folders[layer], SPARSIFY), d_model)
        else:
            saes[layer] = sae_from_saelens(read_sae_files(folders[layer], SAELENS), layer, d_model)
    return saes


def check_writable(folder: Path, layers: Sequence[int]) -> None:
    """Refuse to write SAEs to a folder that holds one of these layers in SAELens's format.

    `save_sae` writes sparsify's files to `layers.N`, and `load_saes` would then read those instead; where SAELens's
    files lie in `layers.N`, their cfg.json would be lost as well.

    Raises:
        TrackerError: there is such a layer.
    """
    folders = _folders_by_layer(folder)
    for layer in layers:
        if layer in folders and not (folders[layer] / SPARSIFY).is_file():
            raise TrackerError(
                f"{folders[layer]} holds layer {layer}'s SAE in SAELens's format. An SAE written to {folder} would "
                "hide it: name another folder as the bundle's sae_folder, or leave the layer out."
            )


def _folders_by_layer(folder: Path) -> dict[int, Path]:
    """By layer, the folder that holds its weights: `layers.N`, else one that SAELens wrote by any name."""
    numbered = {path.name.removeprefix("layers."): path for path in folder.glob("layers.*")}
    return _saelens_folders(folder) | {
        int(number): path
        for number, path in numbered.items()
        if number.isdecimal() and ((path / SPARSIFY).is_file() or (path / SAELENS).is_file())
    }


def _saelens_folders(folder: Path) -> dict[int, Path]:
    """By layer, SAELens's folders of other names than `layers.N`: `folder` itself or one in it.

    Raises:
        TrackerError: two of them read the same layer.
    """
    folders: dict[int, Path] = {}
    for path in sorted({file.parent for pattern in (SAELENS, f"*/{SAELENS}") for file in folder.glob(pattern)}):
        try:
            config = json.loads((path / "cfg.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue  # if its name is `layers.N`, that still leads to it, and then to a proper message
        layer = hooked_layer(config) if isinstance(config, dict) else None
        if layer is None or path.name.startswith("layers."):
            continue
        if layer in folders:
            raise TrackerError(f"{folders[layer]} and {path} both read layer {layer}: keep one of them in {folder}.")
        folders[layer] = path
    return folders


def _missing(folder: Path, layers: list[int]) -> TrackerError:
    here = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    pickle = refused_pickle(folder / f"layers.{layer}" for layer in layers)
    return TrackerError(
        f"No SAE for layer {', '.join(map(str, layers))} in {folder}: expected layers.{layers[0]}/{SPARSIFY} and "
        f"cfg.json (or SAELens's {SAELENS}), found {', '.join(here) or 'no layers.N folder'}. {pickle}"
        "Point the bundle's sae_folder at the folder that holds every layer."
    )
