"""Read and write SAEs in sparsify's format: `layers.N/cfg.json` and `layers.N/sae.safetensors`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from bundles.errors import TrackerError
from sae.topk import Sae

_TENSORS = {"encoder.weight": "encoder_weight", "encoder.bias": "encoder_bias", "W_dec": "decoder", "b_dec": "b_dec"}


def load_saes(folder: Path, layers: Sequence[int], *, d_model: int | None = None) -> dict[int, Sae]:
    """Load the SAEs of several layers.

    Args:
        folder: holds `layers.N` for every N in `layers`.
        d_model: width of the model's residual stream, to be checked against where it is known.

    Raises:
        TrackerError: a layer is missing, a file is damaged, shapes don't agree, or a weight is not finite.
    """
    missing = [layer for layer in layers if not (folder / f"layers.{layer}" / "sae.safetensors").is_file()]
    if missing:
        found = sorted(p.name for p in folder.glob("layers.*")) if folder.is_dir() else []
        raise TrackerError(
            f"No SAE for layer {', '.join(map(str, missing))} in {folder}: expected "
            f"layers.{missing[0]}/sae.safetensors and cfg.json, found {', '.join(found) or 'no layers.N folder'}. "
            "Point the bundle's sae_folder at the folder that holds every layer."
        )
    return {layer: _load_sae(folder / f"layers.{layer}", d_model) for layer in layers}


def save_sae(folder: Path, layer: int, sae: Sae, *, dtype: torch.dtype = torch.float16) -> None:
    """Write one layer's SAE to `folder/layers.N`, replacing what stands there.

    Raises:
        TrackerError: a weight is too large for `dtype`.
    """
    target = folder / f"layers.{layer}"
    tensors = {name: getattr(sae, field).detach().to(dtype).cpu().contiguous() for name, field in _TENSORS.items()}
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise TrackerError(f"Layer {layer}: {name} does not fit {dtype}; save it in float32.")
    target.mkdir(parents=True, exist_ok=True)
    config = {
        "activation": "topk",
        "d_in": sae.d_model,
        "expansion_factor": 1,
        "k": sae.k,
        "multi_topk": False,
        "normalize_decoder": True,
        "num_latents": sae.n_latents,
        "skip_connection": False,
        "transcode": False,
    }
    (target / "cfg.json").write_text(json.dumps(config, indent=2) + "\n")
    save_file(tensors, target / "sae.safetensors")


def _load_sae(folder: Path, d_model: int | None) -> Sae:
    config = _load_config(folder / "cfg.json")
    path = folder / "sae.safetensors"
    try:
        stored = load_file(path)
    except (SafetensorError, OSError) as error:
        raise TrackerError(f"{path} can't be read ({error}). It may be cut short: copy or download it again.") from None
    lacking = [name for name in _TENSORS if name not in stored]
    if lacking:
        raise TrackerError(f"{path} lacks {', '.join(lacking)}; it holds {', '.join(stored) or 'nothing'}.")
    weights = {field: stored[name].to(torch.float32) for name, field in _TENSORS.items()}
    _check_weights(path, weights, d_model)
    sae = Sae(**weights, k=config["k"])
    if not 1 <= sae.k <= sae.n_latents:
        raise TrackerError(f"{folder / 'cfg.json'}: k must lie between 1 and {sae.n_latents} latents, found {sae.k}.")
    return sae


def _load_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TrackerError(f"{path} is missing; it states k, the number of latents kept a token.") from None
    except ValueError as error:
        raise TrackerError(f"{path} is not valid JSON ({error}).") from None
    if not isinstance(config, dict) or not isinstance(config.get("k"), int):
        raise TrackerError(f"{path} must state `k` as a whole number.")
    for key, allowed in {"activation": "topk", "skip_connection": False, "transcode": False}.items():
        if config.get(key, allowed) != allowed:
            raise TrackerError(f"{path}: {key} = {config[key]!r} is not supported, only {allowed!r}.")
    return config


def _check_weights(path: Path, weights: dict[str, torch.Tensor], d_model: int | None) -> None:
    shape = weights["decoder"].shape
    if len(shape) != 2:
        raise TrackerError(f"{path}: W_dec must be (n_latents, d_model), found shape {tuple(shape)}.")
    n_latents, width = shape
    expected = {
        "encoder_weight": (n_latents, width),
        "encoder_bias": (n_latents,),
        "decoder": (n_latents, width),
        "b_dec": (width,),
    }
    for name, tensor in weights.items():
        if tuple(tensor.shape) != expected[name]:
            raise TrackerError(f"{path}: {name} should be {expected[name]}, found {tuple(tensor.shape)}.")
        if not tensor.isfinite().all():
            raise TrackerError(f"{path}: {name} holds NaN or infinity. The file is damaged: copy or train it again.")
    if d_model is not None and width != d_model:
        raise TrackerError(
            f"{path} reads a residual stream {width} wide, but the model's is {d_model}. "
            "These SAEs were trained on another model: choose the folder that belongs to this one."
        )
