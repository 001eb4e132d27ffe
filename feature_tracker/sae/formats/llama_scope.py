"""Llama Scope's format: `hyperparams.json` and `checkpoints/final.safetensors`, JumpReLU SAEs with one threshold.

The stream is multiplied by sqrt(d_model) / its average norm, which the file states. Source: OpenMOSS's
Language-Model-SAEs of November 2024, `SparseAutoEncoder.from_config`, which folds that factor and the decoder's norms
into the weights before it compares with the threshold. sae-lens 6.54 leaves the norms out, which is the same where the
decoder's rows have unit norm; without `sparsity_include_decoder_norm` both do.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import torch

from feature_tracker.bundles.sae_folders import FoundSae
from feature_tracker.sae.formats.claims import Claims
from feature_tracker.sae.formats.files import D_MODEL, N_LATENTS, read_tensors
from feature_tracker.sae.formats.settings import Settings
from feature_tracker.sae.formats.weights import Weights
from feature_tracker.sae.topk import Sae

_SHAPES = {
    "encoder.weight": (N_LATENTS, D_MODEL),
    "encoder.bias": (N_LATENTS,),
    "decoder.weight": (D_MODEL, N_LATENTS),
    "decoder.bias": (D_MODEL,),
}
# How it was trained, and where. A top-k of 50 was turned into the threshold.
_HARMLESS = {
    "device", "seed", "dtype", "bias_init_method", "decoder_exactly_fixed_norm", "init_decoder_norm",
    "init_encoder_norm", "init_encoder_with_decoder_transpose", "lp", "l1_coefficient", "l1_coefficient_warmup_steps",
    "top_k",    "k_warmup_steps", "use_batch_norm_mse", "use_ghost_grads", "tp_size", "ddp_size", "strict_loading",
    "sae_pretrained_name_or_path",
}  # fmt: skip
_FOLDER = re.compile(r"Llama3_1-8B-Base-L")


def settings_of(found: FoundSae) -> Settings:
    """What `hyperparams.json` states."""
    return Settings.read(found.folder / "hyperparams.json")


def claim(settings: Settings, found: FoundSae, _sae_folder: Path, claims: Claims) -> None:
    """Add the layer that the configuration states, and the model that the folder's name does."""
    for name in ("hook_point_in", "hook_point_out"):
        if hook := settings.text(name):
            claims.add_hook(name, hook)
    if _FOLDER.match(found.folder.name):
        claims.models[f"folder {found.folder.name}"] = "Llama-3.1-8B"


def load(settings: Settings, found: FoundSae, claims: Claims, d_model: int | None, *, layer_norm: bool | None) -> Sae:
    """The SAE of these files.

    Raises:
        TrackerError: a setting isn't supported, or the tensors don't fit each other or the model.
    """
    del layer_norm  # the stream is never centred
    settings.require("act_fn", "jumprelu")
    settings.require("norm_activation", "dataset-wise")
    settings.require("use_decoder_bias", True)
    settings.require("use_glu_encoder", False)
    with_norms = settings.flag("sparsity_include_decoder_norm", default=False)
    centred = settings.flag("apply_decoder_bias_to_pre_encoder", default=False)
    threshold = settings.number("jump_relu_threshold")
    factor = _factor(settings)
    tensors = read_tensors(found.weights).checked(_SHAPES, d_model, decoder="decoder.weight")
    n_latents, width = tensors["encoder.weight"].shape
    settings.require("d_model", width)
    settings.require("d_sae", n_latents)
    settings.require("expansion_factor", n_latents / width)
    settings.finish(_HARMLESS)
    parts = {name: tensor.double() for name, tensor in tensors.items()}
    weights = Weights(
        parts["encoder.weight"], parts["encoder.bias"], parts["decoder.weight"].T.contiguous(), parts["decoder.bias"]
    )
    weights = weights.rescaled() if with_norms else weights
    weights = (weights if centred else weights.without_centre()).scaled(factor * width**0.5)
    # The threshold counts in units of the stream as it is, the pre-activations in those of the stream as it is encoded.
    limit = torch.tensor(threshold * factor * width**0.5, dtype=torch.float64)
    notes = (*claims.notes, f"the stream's average norm, by which it is divided, is folded into {found.weights.name}")
    return replace(weights, threshold=limit).sae(found.weights, activation="jumprelu", bos=True, notes=notes)


def _factor(settings: Settings) -> float:
    """1 / the average norm of the stream that the SAE was trained on."""
    stated = settings.get("dataset_average_activation_norm")
    norms = Settings(settings.path, {"dataset_average_activation_norm.": stated if isinstance(stated, dict) else {}})
    norm = norms.number("in")
    norms.require("out", norm)
    norms.finish(())
    return 1 / norm
