"""EleutherAI sparsify's format: `cfg.json` and `sae.safetensors`, one folder per hookpoint."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from feature_tracker.errors import TrackerError
from feature_tracker.files import replacing
from feature_tracker.sae.formats.files import D_MODEL, N_LATENTS, SaeFiles, is_integer
from feature_tracker.sae.topk import Sae

WEIGHTS = "sae.safetensors"
_FIELDS = {"encoder.weight": "encoder_weight", "encoder.bias": "encoder_bias", "W_dec": "decoder", "b_dec": "b_dec"}
"""Fields of `Sae` by tensor."""
_SHAPES = {
    "encoder.weight": (N_LATENTS, D_MODEL),
    "encoder.bias": (N_LATENTS,),
    "W_dec": (N_LATENTS, D_MODEL),
    "b_dec": (D_MODEL,),
}


def sae_from_sparsify(files: SaeFiles, d_model: int | None) -> Sae:
    """The SAE of one hookpoint's files.

    Args:
        d_model: width of the model's residual stream; `None` where it is unknown.

    Raises:
        TrackerError: a setting isn't supported, or the tensors don't fit each other or the model.
    """
    path, config = files.config_path, files.config
    # Both add to what is decoded; the tracker would show features of something else than the residual stream.
    files.require("transcode", False)
    files.require("skip_connection", False)
    activation = config.get("activation", "topk")
    if activation not in ("topk", "groupmax"):
        raise TrackerError(f"{path}: activation = {activation!r} is not supported, only 'topk' and 'groupmax'.")
    k = config.get("k")
    if not is_integer(k):
        raise TrackerError(f"{path} must state `k` as a whole number, found {k!r}.")
    tensors = files.checked_tensors(_SHAPES, d_model)
    n_latents = len(tensors["W_dec"])
    if not 1 <= k <= n_latents:
        raise TrackerError(f"{path}: k must lie between 1 and {n_latents} latents, found {k}.")
    if activation == "groupmax" and n_latents % k:
        raise TrackerError(
            f"{path}: groupmax needs latents in k equal groups; {n_latents} latents don't divide by {k}."
        )
    sae = Sae(**{field: tensors[name] for name, field in _FIELDS.items()}, k=k, activation=activation)
    return sae.with_unit_decoder()


def save_sae(folder: Path, layer: int, sae: Sae, *, dtype: torch.dtype = torch.float16) -> None:
    """Write one layer's SAE to `folder/layers.N`; a folder of that name is replaced whole, or stays as it was.

    Raises:
        TrackerError: a weight is too large for `dtype`, sparsify has no such kind of SAE, or the folder can't be
            written.
    """
    if sae.activation not in ("topk", "groupmax"):
        raise TrackerError(f"Layer {layer}: sparsify's format has no {sae.activation} SAEs.")
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
