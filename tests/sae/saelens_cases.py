"""Every kind of SAE that SAELens writes, as files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save_file

D_MODEL, N_LATENTS, K = 24, 60, 7
KINDS = ("standard", "topk", "jumprelu", "batchtopk")
RESID = 2 * torch.randn(3, D_MODEL, generator=torch.Generator().manual_seed(2))
RECORDED = Path(__file__).with_name("saelens_recorded.safetensors")
"""What sae-lens 6.54.12 gave for `RESID`; `record_saelens.py` writes it anew."""


class Case(NamedTuple):
    """A kind of SAE with its options."""

    kind: str
    apply_b_dec: bool = True
    rescale: bool = False

    def __str__(self) -> str:
        return "-".join([self.kind, *["centred"] * self.apply_b_dec, *["rescaled"] * self.rescale])


CASES = [
    *(Case(kind, apply_b_dec) for kind in KINDS for apply_b_dec in (True, False)),
    *(Case(kind, apply_b_dec, rescale=True) for kind in ("topk", "batchtopk") for apply_b_dec in (True, False)),
]


def tensors(*, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "W_enc": torch.randn(D_MODEL, N_LATENTS, generator=generator),
        "b_enc": torch.randn(N_LATENTS, generator=generator),
        "W_dec": torch.randn(N_LATENTS, D_MODEL, generator=generator),
        "b_dec": torch.randn(D_MODEL, generator=generator),
    }


def write(folder: Path, kind: str, *, hook: str = "blocks.3.hook_resid_post", **options: Any) -> Path:
    """An SAE as SAELens 6 saves it; a batchtopk one as its training checkpoint."""
    folder.mkdir(parents=True)
    weights = tensors()
    if kind == "jumprelu":
        weights["threshold"] = torch.rand(N_LATENTS, generator=torch.Generator().manual_seed(1)) * 8
    if kind == "batchtopk":
        weights["topk_threshold"] = torch.tensor(9.0, dtype=torch.double)
    config = {
        "architecture": kind, "d_in": D_MODEL, "d_sae": N_LATENTS, "dtype": "float32", "device": "cpu",
        "apply_b_dec_to_input": True, "normalize_activations": "none", "reshape_activations": "none",
        "metadata": {"sae_lens_version": "6.54.12", "hook_name": hook},
    }  # fmt: skip
    if kind in ("topk", "batchtopk"):
        config |= {"k": K, "rescale_acts_by_decoder_norm": False}
    save_file(weights, folder / "sae_weights.safetensors")
    save_file({"sparsity": torch.zeros(N_LATENTS)}, folder / "sparsity.safetensors")
    (folder / "cfg.json").write_text(json.dumps(config | options))
    return folder.parent


def write_case(folder: Path, case: Case) -> Path:
    options = {"rescale_acts_by_decoder_norm": True} if case.rescale else {}
    return write(folder, case.kind, apply_b_dec_to_input=case.apply_b_dec, **options)
