"""EleutherAI sparsify's format: `cfg.json` and `sae.safetensors`, one folder per hookpoint."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from feature_tracker.bundles.sae_folders import FoundSae
from feature_tracker.errors import TrackerError
from feature_tracker.files import replacing
from feature_tracker.sae.formats.claims import Claims
from feature_tracker.sae.formats.files import D_MODEL, N_LATENTS, read_tensors
from feature_tracker.sae.formats.settings import Settings
from feature_tracker.sae.topk import Sae

WEIGHTS = "sae.safetensors"
_FIELDS = {"encoder.weight": "encoder_weight", "encoder.bias": "encoder_bias", "W_dec": "decoder", "b_dec": "b_dec"}
"""Fields of `Sae` by tensor, in the order of the fields."""
_SHAPES = {
    "encoder.weight": (N_LATENTS, D_MODEL),
    "encoder.bias": (N_LATENTS,),
    "W_dec": (N_LATENTS, D_MODEL),
    "b_dec": (D_MODEL,),
}
_HARMLESS = {"normalize_decoder", "multi_topk"}  # of training alone


def settings_of(found: FoundSae) -> Settings:
    """What `cfg.json` states."""
    return Settings.read(found.folder / "cfg.json")


def claim(settings: Settings, found: FoundSae, sae_folder: Path, claims: Claims) -> None:
    """Add the model that a run's `config.json` names in one of the folders.

    Raises:
        TrackerError: the run trained transcoders, which versions of November 2024 to February 2025 state there alone.
    """
    del settings  # sparsify's own doesn't say where it belongs
    folders = [found.folder, *found.folder.parents]
    for folder in folders[: folders.index(sae_folder) + 1]:
        path = folder / "config.json"
        if path.is_file():
            run = Settings.read(path)
            if not run.stated("sae", "hookpoints"):
                continue
            run.require("transcode", False)
            if isinstance(model := run.get("model"), str):
                claims.models[f"`model` in {path}"] = model


def load(settings: Settings, found: FoundSae, claims: Claims, d_model: int | None, *, layer_norm: bool | None) -> Sae:
    """The SAE of one hookpoint's files.

    Raises:
        TrackerError: a setting isn't supported, or the tensors don't fit each other or the model.
    """
    del layer_norm  # the stream is never centred
    path = settings.path
    # Both add to what is decoded; the tracker would show features of something else than the residual stream.
    settings.require("transcode", False)
    settings.require("skip_connection", False)
    settings.require("signed", False)  # top-k by magnitude, in versions before 1.0
    activation = settings.require("activation", "topk", "groupmax")
    k = settings.whole_number("k")
    if k is None:
        raise TrackerError(f"{path} must state `k` as a whole number.")
    tensors = read_tensors(found.weights).checked(_SHAPES, d_model)
    n_latents, width = tensors["W_dec"].shape
    if k > n_latents:
        raise TrackerError(f"{path}: k must lie between 1 and {n_latents} latents, found {k}.")
    settings.require("d_in", width)
    # 0 latents stand for expansion_factor times the stream's width.
    if not settings.get("num_latents"):
        settings.require("expansion_factor", n_latents / width)
    settings.require("num_latents", n_latents, 0)
    settings.finish(_HARMLESS | {"expansion_factor"})
    if activation == "groupmax" and n_latents % k:
        raise TrackerError(
            f"{path}: groupmax needs latents in k equal groups; {n_latents} latents don't divide by {k}."
        )
    sae = Sae(*(tensors[name] for name in _FIELDS), k=k, activation=activation, notes=tuple(claims.notes))
    return sae.with_unit_decoder()


def save_sae(folder: Path, layer: int, sae: Sae, *, dtype: torch.dtype = torch.float16) -> None:
    """Write one layer's SAE to `folder/layers.N`; a folder of that name is replaced whole, or stays as it was.

    Raises:
        TrackerError: a weight is too large for `dtype`, sparsify has no such kind of SAE, or the folder can't be
            written.
    """
    kind = sae.activation if sae.normalization == "none" else sae.normalization
    if kind not in ("topk", "groupmax"):
        raise TrackerError(f"Layer {layer}: sparsify's format has no {kind} SAEs.")
    target, sae = folder / f"layers.{layer}", sae.as_stored()
    tensors = {name: getattr(sae, field).detach().to(dtype).cpu().contiguous() for name, field in _FIELDS.items()}
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise TrackerError(f"Layer {layer}: {name} does not fit {dtype}; save it in float32.")
    config = {
        "activation": sae.activation,
        "d_in": sae.d_model,
        "expansion_factor": 1,
        "k": sae.k,
        "multi_topk": False,
        "normalize_decoder": False,  # so that sparsify's trainer leaves the rows' norms as they are
        "num_latents": sae.n_latents,
        "skip_connection": False,
        "transcode": False,
    }
    with replacing(target, folder=True) as beside:
        (beside / "cfg.json").write_text(json.dumps(config, indent=2) + "\n")
        try:
            save_file(tensors, beside / WEIGHTS)
        except SafetensorError as error:
            raise TrackerError(f"{target / WEIGHTS} can't be written ({error}).") from None
