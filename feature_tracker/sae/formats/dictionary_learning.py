"""dictionary_learning's format once its `ae.pt` is converted: `ae.safetensors` and `config.json`.

Source: saprmarks/dictionary_learning 0.1, `dictionary.py` and `trainers/*.py`: each class's `encode`.
"""

from __future__ import annotations

from pathlib import Path

import torch

from feature_tracker.bundles.hook_names import stream_of_folder
from feature_tracker.bundles.sae_folders import FoundSae
from feature_tracker.errors import TrackerError
from feature_tracker.sae.formats.claims import Claims, LayerClaim
from feature_tracker.sae.formats.files import D_MODEL, N_LATENTS, Tensors, read_tensors
from feature_tracker.sae.formats.settings import Settings
from feature_tracker.sae.formats.weights import Weights
from feature_tracker.sae.topk import Sae

# By class, where its tensors go: those of `torch.nn.Linear` are transposed to SAELens's.
_LINEAR = {"encoder.weight": "W_enc", "decoder.weight": "W_dec"}
_NAMES = {
    "AutoEncoder": {**_LINEAR, "encoder.bias": "b_enc", "bias": "b_dec"},
    "AutoEncoderNew": {**_LINEAR, "encoder.bias": "b_enc", "decoder.bias": "b_dec"},
    "AutoEncoderTopK": {**_LINEAR, "encoder.bias": "b_enc", "b_dec": "b_dec"},
    "BatchTopKSAE": {**_LINEAR, "encoder.bias": "b_enc", "b_dec": "b_dec", "threshold": "threshold"},
    "MatryoshkaBatchTopKSAE": {name: name for name in ("W_enc", "b_enc", "W_dec", "b_dec", "threshold")},
    "JumpReluAutoEncoder": {name: name for name in ("W_enc", "b_enc", "W_dec", "b_dec", "threshold")},
    "GatedAutoEncoder": {
        **_LINEAR, "decoder_bias": "b_dec", "r_mag": "r_mag", "gate_bias": "b_gate", "mag_bias": "b_mag",
    },
}  # fmt: skip
_UNUSED = {"k", "group_sizes"}  # buffers; k is in the configuration as well
_NO_CENTRE = ("AutoEncoderNew", "JumpReluAutoEncoder")
_SHAPES = {
    "W_enc": (D_MODEL, N_LATENTS), "b_enc": (N_LATENTS,), "W_dec": (N_LATENTS, D_MODEL), "b_dec": (D_MODEL,),
    "r_mag": (N_LATENTS,), "b_gate": (N_LATENTS,), "b_mag": (N_LATENTS,),
}  # fmt: skip
_HARMLESS = {
    "activation_queue_length", "adaptive_sparsity_penalty", "anneal_start", "auxk_alpha", "bandwidth", "decay_start",
    "device", "gp_reg_coeff", "group_fractions", "group_sizes", "group_weights", "l0_penalty", "l1_penalty",
    "lambda_warm_steps", "lr", "n_sparsity_updates", "norm_factor", "p_end", "p_start", "resample_steps", "seed",
    "sparsity_coefficient", "sparsity_function", "sparsity_loss_queue_length", "sparsity_penalty",
    "sparsity_queue_length", "sparsity_warmup_steps", "steps", "steps_before_annealing", "target_l0",
    "threshold_beta", "threshold_start_step", "top_k_aux", "trainer_class", "wandb_name", "warmup_steps",
    "weights_temperature",
}  # fmt: skip


def settings_of(found: FoundSae) -> Settings:
    """What the `trainer` of `config.json` states."""
    return Settings.read(found.folder / "config.json", nested="trainer")


def claim(settings: Settings, found: FoundSae, sae_folder: Path, claims: Claims) -> None:
    """Add the layer and model that the configuration states."""
    name = settings.text("submodule_name")
    stream = stream_of_folder(name)
    # Gated and p-annealed dictionaries have no such setting.
    if name or not found.layers(sae_folder):
        if stream is None or stream.layer is None:
            raise TrackerError(
                f"{settings.path}: submodule_name = {name!r} is not the residual stream after a block, by a name such "
                "as resid_post_layer_3. Only SAEs of that stream are supported."
            )
        claims.layers.append(LayerClaim(f"submodule_name = {name!r}", stream.layer))
    for where, block in settings.blocks("layer").items():
        claims.add_block(where, block, stream)
    buffer = settings.get("buffer")
    io = buffer.get("io", "out") if isinstance(buffer, dict) else "out"
    if io != "out":
        raise settings.refused("buffer.io", io, "'out', the stream after a block")
    if model := settings.text("lm_name"):
        claims.models["lm_name"] = model


def load(settings: Settings, found: FoundSae, claims: Claims, d_model: int | None, *, layer_norm: bool | None) -> Sae:
    """The SAE of these files.

    Raises:
        TrackerError: a class or setting isn't supported, or the tensors don't fit each other or the model.
    """
    del layer_norm  # the stream is never centred
    kind = settings.require("dict_class", *_NAMES)
    names = _NAMES[kind]
    raw = read_tensors(found.weights)
    unused = _UNUSED | ({"threshold"} if kind == "AutoEncoderTopK" else set())  # it keeps k, whatever that says
    renamed = {
        names.get(name, name): tensor.T if name in _LINEAR and tensor.ndim == 2 else tensor
        for name, tensor in raw.stored.items()
        if name not in unused
    }
    threshold = (N_LATENTS,) if kind == "JumpReluAutoEncoder" else ()
    shapes = {name: (_SHAPES | {"threshold": threshold})[name] for name in names.values()}
    tensors = Tensors(raw.path, renamed).checked(shapes, d_model)
    n_latents, width = tensors["W_dec"].shape
    settings.require("activation_dim", width)
    settings.require("dict_size", n_latents)
    k = settings.whole_number("k", at_most=n_latents)
    settings.finish(_HARMLESS)
    weights = Weights.from_tensors(tensors)
    if kind == "GatedAutoEncoder":
        weights = weights.gated(tensors["r_mag"], tensors["b_mag"], tensors["b_gate"])
    weights = weights.without_centre() if kind in _NO_CENTRE else weights
    notes = tuple(claims.notes)
    if kind == "AutoEncoderTopK":
        return weights.sae(found.weights, k=_agreed_k(settings, k, raw.stored.get("k")), notes=notes)
    return weights.sae(found.weights, activation="relu" if weights.threshold is None else "jumprelu", notes=notes)


def _agreed_k(settings: Settings, k: int | None, stored: torch.Tensor | None) -> int:
    """The configuration's k, which the file's own must equal."""
    in_file = None if stored is None or stored.numel() != 1 else stored.item()
    if k is None or in_file not in (None, k):
        raise TrackerError(
            f"{settings.path} states k = {k}, and ae.safetensors k = {in_file}: they must be one number."
        )
    return k
