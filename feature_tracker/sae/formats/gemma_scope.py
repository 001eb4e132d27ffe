"""Gemma Scope's formats: `params.npz` (Gemma 2), or `params.safetensors` and `config.json` (Gemma 3).

All are JumpReLU SAEs whose pre-activations are W_enc x + b_enc. The first has no configuration: its folders tell the
layer, and the name of the repository the model. Source: sae-lens 6.54, `loading/pretrained_sae_loaders.py`.
"""

from __future__ import annotations

import re
from pathlib import Path

from feature_tracker.bundles.sae_folders import FoundSae
from feature_tracker.errors import TrackerError
from feature_tracker.sae.formats.claims import Claims
from feature_tracker.sae.formats.files import D_MODEL, N_LATENTS, Tensors, read_tensors
from feature_tracker.sae.formats.settings import Settings
from feature_tracker.sae.formats.weights import Weights
from feature_tracker.sae.topk import Sae

_SHAPES = {
    "W_enc": (D_MODEL, N_LATENTS),
    "b_enc": (N_LATENTS,),
    "W_dec": (N_LATENTS, D_MODEL),
    "b_dec": (D_MODEL,),
    "threshold": (N_LATENTS,),
}
_HARMLESS = {"width", "l0", "canonical"}
_REPOSITORY = re.compile(r"gemma-scope-(2b|9b|27b)-(pt|it)-([a-z]+)")
_REPOSITORY_2 = re.compile(r"gemma-scope-2-(270m|1b|4b|12b|27b)-(pt|it)")


def settings_of(found: FoundSae) -> Settings:
    """What `config.json` states; nothing where there is none."""
    path = found.folder / "config.json"
    return Settings.read(path) if path.is_file() else Settings(found.weights, {})


def claim(settings: Settings, found: FoundSae, _sae_folder: Path, claims: Claims) -> None:
    """Add the layer and model that the configuration and the repository's name state.

    Raises:
        TrackerError: they state another stream than that between two blocks.
    """
    for name in ("hf_hook_point_in", "hf_hook_point_out"):
        if hook := settings.text(name):
            claims.add_hook(name, hook)
    if model := settings.text("model_name"):
        claims.models["model_name"] = model
    for part in found.folder.absolute().parts:
        if version_2 := _REPOSITORY_2.search(part):
            claims.models[f"folder {part}"] = f"gemma-3-{version_2[1]}-{version_2[2]}"
        elif version_1 := _REPOSITORY.search(part):
            claims.models[f"folder {part}"] = f"gemma-2-{version_1[1]}{'-it' if version_1[2] == 'it' else ''}"
            if version_1[3] != "res":  # an MLP's output is as wide as the stream, so nothing else would tell
                raise TrackerError(
                    f"{found.weights}: the folder's name {part!r} says that it reads no residual stream."
                )


def load(settings: Settings, found: FoundSae, claims: Claims, d_model: int | None, *, layer_norm: bool | None) -> Sae:
    """The SAE of these files.

    Raises:
        TrackerError: a setting isn't supported, or the tensors don't fit each other or the model.
    """
    del layer_norm  # the stream is never centred
    settings.require("architecture", "jump_relu")
    settings.require("type", "sae")
    settings.require("affine_connection", False)
    settings.finish(_HARMLESS)
    raw = read_tensors(found.weights)
    renamed = {re.sub(r"^w_", "W_", name): tensor for name, tensor in raw.stored.items()}
    tensors = Tensors(raw.path, renamed).checked(_SHAPES, d_model)
    weights = Weights.from_tensors(tensors).without_centre()
    return weights.sae(found.weights, activation="jumprelu", bos=True, notes=tuple(claims.notes))
