"""SAELens's format, `cfg.json` and `sae_weights.safetensors`: its standard, TopK, BatchTopK and JumpReLU SAEs.

SAELens stores W_enc as (d_model, n_latents) and has options of its own. Those that can be folded into the weights are,
so that an `Sae` has one formula; the others are refused by name. Source: sae-lens 6.54, `sae_lens/saes/*.py` and
`loading/pretrained_sae_loaders.py` (defaults of files older than 6.0).
"""

from __future__ import annotations

import re
from typing import Any

import torch

from feature_tracker.errors import TrackerError
from feature_tracker.sae.formats.files import D_MODEL, N_LATENTS, SaeFiles, is_integer
from feature_tracker.sae.topk import MAX_ACTIVE, Sae

WEIGHTS = "sae_weights.safetensors"
_KINDS = ("standard", "topk", "batchtopk", "jumprelu")
_SHAPES = {
    "W_enc": (D_MODEL, N_LATENTS),
    "b_enc": (N_LATENTS,),
    "W_dec": (N_LATENTS, D_MODEL),
    "b_dec": (D_MODEL,),
}
# A BatchTopK SAE is saved for use as a JumpReLU one; a training checkpoint holds its one threshold by this name.
_THRESHOLDS = {"jumprelu": {"threshold": (N_LATENTS,)}, "batchtopk": {"topk_threshold": ()}}
# The residual stream before block N is the one after block N - 1.
_AFTER = re.compile(r"(?:blocks\.(\d+)\.hook_resid_post|(?:model\.|transformer\.)?(?:layers|h)\.(\d+))")
_BEFORE = re.compile(r"blocks\.(\d+)\.hook_resid_pre")


def hooked_layer(config: dict[str, Any]) -> int | None:
    """The layer whose residual stream an SAE reads, by the `hook_name` of its configuration.

    `None` where it names no hook, or one elsewhere than between blocks.
    """
    name = _hook_name(config)
    after, before = _AFTER.fullmatch(name), _BEFORE.fullmatch(name)
    if after:
        return int(after[1] or after[2])
    return int(before[1]) - 1 if before and int(before[1]) > 0 else None


def sae_from_saelens(files: SaeFiles, layer: int, d_model: int | None) -> Sae:
    """The SAE of one layer's files.

    Args:
        layer: the 0-based block after which the SAE should read.
        d_model: width of the model's residual stream; `None` where it is unknown.

    Raises:
        TrackerError: a kind or setting isn't supported, the SAE was trained on another layer, or the tensors don't fit
            each other or the model.
    """
    kind = _kind(files)
    hook_name = _hook_name(files.config)
    if hook_name and hooked_layer(files.config) != layer:
        raise TrackerError(
            f"{files.config_path}: this SAE reads {hook_name}, not the residual stream after layer {layer} "
            f"(blocks.{layer}.hook_resid_post)."
        )
    return _folded(files, kind, files.checked_tensors(_SHAPES | _THRESHOLDS.get(kind, {}), d_model))


def _kind(files: SaeFiles) -> str:
    """The SAE's architecture, after its settings were found to be supported."""
    path, config = files.config_path, files.config
    kind = config.get("architecture", "standard")
    function = config.get("activation_fn", config.get("activation_fn_str", "relu"))
    if function == "topk":  # how SAELens before 6.0 stated it
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
    files.require("reshape_activations", "none")
    files.require("finetuning_scaling_factor", False)
    return kind


def _folded(files: SaeFiles, kind: str, tensors: dict[str, torch.Tensor]) -> Sae:
    """An `Sae` with the configuration's options folded into the weights, in float64."""
    config = files.config
    encoder, decoder = tensors["W_enc"].T.double(), tensors["W_dec"].double()
    bias, b_dec = tensors["b_enc"].double(), tensors["b_dec"].double()
    if kind in ("topk", "batchtopk") and config.get("rescale_acts_by_decoder_norm", False):
        norms = decoder.norm(dim=1)
        encoder, bias = encoder * norms[:, None], bias * norms
        decoder = decoder / norms.clamp(min=1e-8)[:, None]  # SAELens's own bound
    if not config.get("apply_b_dec_to_input", True):
        bias = bias + encoder @ b_dec
    n_latents = len(bias)
    parts: dict[str, Any] = {
        "encoder_weight": encoder.float().contiguous(),
        "encoder_bias": bias.float(),
        "decoder": decoder.float().contiguous(),
        "b_dec": b_dec.float(),
    }
    if kind == "topk":
        return Sae(**parts, k=_k_of(files, n_latents)).with_unit_decoder()
    open_k = min(n_latents, MAX_ACTIVE)
    if kind == "standard":
        return Sae(**parts, k=open_k, activation="relu").with_unit_decoder()
    threshold = tensors["threshold"] if kind == "jumprelu" else tensors["topk_threshold"].expand(n_latents)
    return Sae(**parts, k=open_k, activation="jumprelu", threshold=threshold.contiguous()).with_unit_decoder()


def _k_of(files: SaeFiles, n_latents: int) -> int:
    k = (files.config.get("activation_fn_kwargs") or {}).get("k", files.config.get("k"))
    if not is_integer(k) or not 1 <= k <= n_latents:
        raise TrackerError(
            f"{files.config_path}: k must be a whole number between 1 and {n_latents} latents, found {k!r}."
        )
    return k


def _hook_name(config: dict[str, Any]) -> str:
    metadata = config.get("metadata") or config
    return str(metadata.get("hook_name") or metadata.get("hook_point") or "")
