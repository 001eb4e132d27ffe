"""SAELens's format: `cfg.json` and `sae_weights.safetensors`, of its standard, TopK, BatchTopK and JumpReLU kinds.

SAELens stores W_enc as (d_model, n_latents) and has options of its own; what can be folded into the weights is, so that
an `Sae` has one formula, and what can't is refused by name. Source: sae-lens 6.54, `sae_lens/saes/*.py` and
`loading/pretrained_sae_loaders.py` (defaults of files older than 6.0).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from feature_tracker.errors import TrackerError
from feature_tracker.sae.formats.checks import check_tensors, is_whole, matrix_shape, read_config, read_tensors, require
from feature_tracker.sae.topk import MAX_ACTIVE, Sae

WEIGHTS = "sae_weights.safetensors"
_KINDS = ("standard", "topk", "batchtopk", "jumprelu")
# The residual stream before block N is the one after block N - 1.
_AFTER = re.compile(r"(?:blocks\.(\d+)\.hook_resid_post|(?:model\.|transformer\.)?(?:layers|h)\.(\d+))")
_BEFORE = re.compile(r"blocks\.(\d+)\.hook_resid_pre")


def hooked_layer(config: dict[str, Any]) -> int | None:
    """The layer whose residual stream an SAE reads, by the `hook_name` of its configuration.

    None where it names none, or another place than the residual stream between blocks.
    """
    name = _hook_name(config)
    after, before = _AFTER.fullmatch(name), _BEFORE.fullmatch(name)
    if after:
        return int(after[1] or after[2])
    return int(before[1]) - 1 if before and int(before[1]) > 0 else None


def load_saelens(folder: Path, layer: int, d_model: int | None) -> Sae:
    """Read one SAE's folder.

    Raises:
        TrackerError: a file is missing or damaged, a kind or setting isn't supported, the shapes don't agree, or the
            SAE was trained on another layer.
    """
    path = folder / "cfg.json"
    config = read_config(path)
    kind = _kind(path, config)
    if _hook_name(config) and hooked_layer(config) != layer:
        raise TrackerError(
            f"{path}: this SAE reads {_hook_name(config)}, not the residual stream after layer {layer} "
            f"(blocks.{layer}.hook_resid_post)."
        )
    weights = folder / WEIGHTS
    tensors = read_tensors(weights, ["W_enc", "b_enc", "W_dec", "b_dec", *_threshold_name(weights, kind)])
    n_latents, width = matrix_shape(weights, tensors, "W_dec")
    shapes = {
        "W_enc": (width, n_latents),
        "b_enc": (n_latents,),
        "W_dec": (n_latents, width),
        "b_dec": (width,),
        "threshold": (n_latents,),
        "topk_threshold": (),
    }
    check_tensors(weights, tensors, shapes, d_model)
    return _folded(path, config, kind, tensors)


def _kind(path: Path, config: dict[str, Any]) -> str:
    """The SAE's architecture, once nothing in its configuration stands against reading it."""
    kind = config.get("architecture", "standard")
    function = config.get("activation_fn", config.get("activation_fn_str", "relu"))
    if function == "topk":  # how SAELens before 6.0 said it
        kind = "topk"
    elif function != "relu":
        raise TrackerError(f"{path}: activation_fn = {function!r} is not supported, only 'relu' and 'topk'.")
    if kind not in _KINDS:
        raise TrackerError(f"{path}: architecture = {kind!r} is not supported, only {', '.join(_KINDS)}.")
    if config.get("normalize_activations") not in (None, False, "none"):
        raise TrackerError(
            f"{path}: normalize_activations = {config['normalize_activations']!r} is not supported, only 'none'. A "
            "constant factor can be folded in: sae.fold_activation_norm_scaling_factor(factor), then sae.save_model."
        )
    require(path, config, "reshape_activations", "none")
    require(path, config, "finetuning_scaling_factor", False)
    return kind


def _threshold_name(path: Path, kind: str) -> list[str]:
    if kind == "jumprelu":
        return ["threshold"]
    # A BatchTopK SAE is saved for use as a JumpReLU one; a training checkpoint holds the one threshold by this name.
    return ["topk_threshold"] if kind == "batchtopk" else []


def _folded(path: Path, config: dict[str, Any], kind: str, tensors: dict[str, torch.Tensor]) -> Sae:
    """An `Sae` with the options of `config` folded into the weights, in float64."""
    encoder, decoder = tensors["W_enc"].T.double(), tensors["W_dec"].double()
    bias, b_dec = tensors["b_enc"].double(), tensors["b_dec"].double()
    if kind in ("topk", "batchtopk") and config.get("rescale_acts_by_decoder_norm", False):
        norms = decoder.norm(dim=1)
        encoder, bias = encoder * norms[:, None], bias * norms
        decoder = decoder / norms.clamp(min=1e-8)[:, None]  # SAELens's own bound
    if not config.get("apply_b_dec_to_input", True):
        bias = bias + encoder @ b_dec
    n_latents = len(bias)
    parts = {
        "encoder_weight": encoder.float().contiguous(),
        "encoder_bias": bias.float(),
        "decoder": decoder.float().contiguous(),
        "b_dec": b_dec.float(),
    }
    if kind == "topk":
        return Sae(**parts, k=_k_of(path, config, n_latents))
    open_k = min(n_latents, MAX_ACTIVE)
    if kind == "standard":
        return Sae(**parts, k=open_k, activation="relu")
    threshold = tensors["threshold"] if kind == "jumprelu" else tensors["topk_threshold"].expand(n_latents)
    return Sae(**parts, k=open_k, activation="jumprelu", threshold=threshold.contiguous())


def _k_of(path: Path, config: dict[str, Any], n_latents: int) -> int:
    k = (config.get("activation_fn_kwargs") or {}).get("k", config.get("k"))
    if not is_whole(k) or not 1 <= k <= n_latents:
        raise TrackerError(f"{path}: k must be a whole number between 1 and {n_latents} latents, found {k!r}.")
    return k


def _hook_name(config: dict[str, Any]) -> str:
    place = config.get("metadata") or config
    return str(place.get("hook_name") or place.get("hook_point") or "")
