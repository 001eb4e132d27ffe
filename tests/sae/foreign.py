"""SAEs in the formats of other projects as small files, and what those projects compute, written down naively."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from feature_tracker.sae.topk import Sae

D_MODEL, N_LATENTS, K = 24, 60, 7


def draw(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def resid(n: int = 40) -> torch.Tensor:
    """A stream with a mean, a few large dimensions and uneven rows, as models have it."""
    stream = 2 * draw(n, D_MODEL, seed=99) + 0.7
    stream[:, 3] += 15
    return stream * torch.linspace(0.5, 2, n)[:, None]


def weights() -> dict[str, torch.Tensor]:
    """By SAELens's names, with decoder rows of several norms."""
    return {
        "W_enc": draw(D_MODEL, N_LATENTS, seed=1),
        "b_enc": draw(N_LATENTS, seed=2),
        "W_dec": draw(N_LATENTS, D_MODEL, seed=3),
        "b_dec": draw(D_MODEL, seed=4),
    }


def gates() -> dict[str, torch.Tensor]:
    """A gated SAE's tensors beside W_enc, W_dec and b_dec."""
    return {"r_mag": 0.3 * draw(N_LATENTS, seed=5), "b_mag": draw(N_LATENTS, seed=6), "b_gate": draw(N_LATENTS, seed=7)}


def write_saelens(
    folder: Path,
    architecture: str = "standard",
    *,
    tensors: dict[str, torch.Tensor] | None = None,
    hook: str | None = "blocks.3.hook_resid_post",
    metadata: dict[str, Any] | None = None,
    **settings: Any,
) -> Path:
    """An SAE as SAELens 6 saves it; `None` takes a setting out. Returns the folder above."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous() for k, v in (tensors or weights()).items()}, folder / "sae_weights.safetensors")
    config = {
        "architecture": architecture, "d_in": D_MODEL, "d_sae": N_LATENTS, "dtype": "float32", "device": "cpu",
        "apply_b_dec_to_input": True, "normalize_activations": "none", "reshape_activations": "none",
        "metadata": {"sae_lens_version": "6.54.12", "hook_name": hook, "prepend_bos": True} | (metadata or {}),
    } | settings  # fmt: skip
    (folder / "cfg.json").write_text(json.dumps(config))
    return folder.parent


def write_sparsify(folder: Path, *, tensors: dict[str, torch.Tensor] | None = None, **settings: Any) -> Path:
    """An SAE as sparsify saves it. Returns the folder above."""
    folder.mkdir(parents=True, exist_ok=True)
    named = {
        "encoder.weight": draw(N_LATENTS, D_MODEL, seed=1), "encoder.bias": draw(N_LATENTS, seed=2),
        "W_dec": draw(N_LATENTS, D_MODEL, seed=3), "b_dec": draw(D_MODEL, seed=4),
    }  # fmt: skip
    save_file(named | (tensors or {}), folder / "sae.safetensors")
    config = {
        "activation": "topk", "expansion_factor": 32, "normalize_decoder": True, "num_latents": N_LATENTS, "k": K,
        "multi_topk": False, "skip_connection": False, "transcode": False, "d_in": D_MODEL,
    } | settings  # fmt: skip
    (folder / "cfg.json").write_text(json.dumps(config))
    return folder.parent


def write_gemma_scope(folder: Path, *, npz: bool = True, config: dict[str, Any] | None = None) -> None:
    """An SAE as Gemma Scope has it: npz for Gemma 2, safetensors with lower-case names for Gemma 3."""
    folder.mkdir(parents=True)
    tensors = weights() | {"threshold": 8 * torch.rand(N_LATENTS, generator=torch.Generator().manual_seed(8))}
    if npz:
        np.savez(folder / "params.npz", **{name: tensor.numpy() for name, tensor in tensors.items()})
    else:
        save_file({name.lower(): tensor for name, tensor in tensors.items()}, folder / "params.safetensors")
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))


def gemma_3_config(**changes: Any) -> dict[str, Any]:
    return {
        "hf_hook_point_in": "model.layers.3.output", "hf_hook_point_out": "model.layers.3.output", "width": N_LATENTS,
        "model_name": "google/gemma-3-1b-pt", "architecture": "jump_relu", "l0": 20, "affine_connection": False,
        "type": "sae",
    } | changes  # fmt: skip


def write_llama_scope(folder: Path, **changes: Any) -> None:
    """An SAE as Llama Scope has it."""
    (folder / "checkpoints").mkdir(parents=True)
    w = weights()
    tensors = {"encoder.weight": w["W_enc"].T, "encoder.bias": w["b_enc"], "decoder.weight": w["W_dec"].T,
               "decoder.bias": w["b_dec"]}  # fmt: skip
    save_file({k: v.contiguous() for k, v in tensors.items()}, folder / "checkpoints" / "final.safetensors")
    config = {
        "device": "cuda:0", "seed": 42, "dtype": "torch.bfloat16", "hook_point_in": "blocks.3.hook_resid_post",
        "hook_point_out": "blocks.3.hook_resid_post", "use_decoder_bias": True,
        "apply_decoder_bias_to_pre_encoder": False, "expansion_factor": N_LATENTS / D_MODEL, "d_model": D_MODEL,
        "d_sae": N_LATENTS, "bias_init_method": "all_zero", "act_fn": "jumprelu", "jump_relu_threshold": 0.75,
        "norm_activation": "dataset-wise", "dataset_average_activation_norm": {"in": 19.5, "out": 19.5},
        "decoder_exactly_fixed_norm": False, "sparsity_include_decoder_norm": True, "use_glu_encoder": False,
        "init_decoder_norm": 0.5, "init_encoder_norm": None, "init_encoder_with_decoder_transpose": True, "lp": 1,
        "l1_coefficient": 8e-05, "l1_coefficient_warmup_steps": 78125, "top_k": 50, "k_warmup_steps": 78125,
        "use_batch_norm_mse": True, "use_ghost_grads": False, "tp_size": 1, "ddp_size": 1,
    } | changes  # fmt: skip
    (folder / "hyperparams.json").write_text(json.dumps({k: v for k, v in config.items() if v is not ...}))


def dense(sae: Sae, stream: torch.Tensor) -> torch.Tensor:
    top = sae.encode(stream)
    return torch.zeros(len(stream), sae.n_latents).scatter(-1, top.indices, top.values)


def assert_reads(sae: Sae, activations: torch.Tensor, decoded: torch.Tensor, *, w_dec: torch.Tensor) -> None:
    """Compare an SAE with a reference, to 1e-5 of the largest number.

    Args:
        activations: (n, n_latents) of the reference on `resid()`; the tracker counts them times their rows' norms.
        decoded: (n, d_model), what the reference reconstructs.
        w_dec: the reference's decoder.
    """
    share = (activations > 0).double().mean()
    assert 0 < share < 0.9, f"the sample says little: {share:.2f} of its activations are on"
    expected = activations * w_dec.double().norm(dim=1)
    ours = dense(sae, resid())
    assert torch.equal(ours > 0, expected > 0)
    torch.testing.assert_close(ours.double(), expected, rtol=1e-5, atol=1e-5 * float(expected.max()))
    got = sae.decode(sae.encode(resid()), resid()).double()
    torch.testing.assert_close(got, decoded, rtol=1e-5, atol=1e-5 * float(decoded.abs().max()))
