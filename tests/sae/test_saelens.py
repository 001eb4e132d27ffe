"""SAELens's format: against the definition of each kind, and against SAELens itself where it is installed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from feature_tracker.errors import TrackerError
from feature_tracker.sae.load import load_saes
from feature_tracker.sae.topk import Sae
from tests.sae.saelens_cases import (
    CASES,
    D_MODEL,
    KINDS,
    N_LATENTS,
    RECORDED,
    RESID,
    Case,
    K,
    tensors,
    write,
    write_case,
)


def dense(sae: Sae, resid: torch.Tensor) -> torch.Tensor:
    top = sae.encode(resid)
    return torch.zeros(len(resid), sae.n_latents).scatter(-1, top.indices, top.values)


def strength(activations: torch.Tensor, *, rescaled: bool) -> torch.Tensor:
    """What SAELens calls activations, times the norms of the decoder rows, as the tracker counts them."""
    return activations if rescaled else activations * tensors()["W_dec"].norm(dim=1).to(activations)


def definition(kind: str, resid: torch.Tensor, *, apply_b_dec: bool, rescale: bool) -> torch.Tensor:
    w = {name: tensor.double() for name, tensor in tensors().items()}
    pre = (resid.double() - w["b_dec"] * apply_b_dec) @ w["W_enc"] + w["b_enc"]
    if rescale:
        pre = pre * w["W_dec"].norm(dim=-1)
    if kind == "topk":
        top = pre.topk(K, dim=-1)
        return torch.zeros_like(pre).scatter(-1, top.indices, top.values.relu())
    if kind == "standard":
        return pre.relu()
    jump = torch.rand(N_LATENTS, generator=torch.Generator().manual_seed(1)).double() * 8
    return pre.relu() * (pre > (jump if kind == "jumprelu" else 9.0))


@pytest.mark.parametrize("apply_b_dec", [True, False])
@pytest.mark.parametrize(("kind", "rescale"), [*((kind, False) for kind in KINDS), ("topk", True), ("batchtopk", True)])
def test_each_kind_encodes_by_its_definition(tmp_path: Path, kind: str, rescale: bool, apply_b_dec: bool) -> None:
    options = {"rescale_acts_by_decoder_norm": True} if rescale else {}
    write(tmp_path / "layers.3", kind, apply_b_dec_to_input=apply_b_dec, **options)
    sae = load_saes(tmp_path, [3], d_model=D_MODEL)[3]
    resid = 2 * torch.randn(50, D_MODEL)
    expected = definition(kind, resid, apply_b_dec=apply_b_dec, rescale=rescale)
    assert 0 < (expected > 0).double().mean() < 0.9
    expected = strength(expected, rescaled=rescale).float()
    torch.testing.assert_close(dense(sae, resid), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("hook", "layer"),
    [("blocks.3.hook_resid_post", 3), ("blocks.3.hook_resid_pre", 2), ("model.layers.5", 5), ("transformer.h.5", 5)],
)
def test_the_hook_name_tells_the_layer_of_a_folder_of_any_name(tmp_path: Path, hook: str, layer: int) -> None:
    folder = write(tmp_path / "my saes" / "k 7", "topk", hook=hook)
    assert load_saes(folder, [layer])[layer].k == K
    assert load_saes(folder / "k 7", [layer])[layer].k == K
    with pytest.raises(TrackerError, match="No SAE for layer 9"):
        load_saes(folder, [9])


def test_layers_of_both_formats_may_stand_side_by_side_and_a_layer_only_once(tmp_path: Path) -> None:
    write(tmp_path / "a", "topk")
    write(tmp_path / "b", "standard", hook="blocks.4.hook_resid_post")
    assert [sae.activation for sae in load_saes(tmp_path, [3, 4]).values()] == ["topk", "relu"]
    write(tmp_path / "c", "standard")
    with pytest.raises(TrackerError, match="both read layer 3"):
        load_saes(tmp_path, [3, 4])


def test_a_configuration_from_before_version_6_is_understood(tmp_path: Path) -> None:
    write(tmp_path / "layers.3", "topk")
    path = tmp_path / "layers.3" / "cfg.json"
    path.write_text(
        json.dumps({"hook_point": "blocks.3.hook_resid_post", "activation_fn_str": "topk",
                    "activation_fn_kwargs": {"k": 5}, "normalize_activations": False})
    )  # fmt: skip
    assert (load_saes(tmp_path, [3])[3].activation, load_saes(tmp_path, [3])[3].k) == ("topk", 5)
    path.write_text(json.dumps({"hook_name": "blocks.3.hook_resid_post", "activation_fn_str": "relu"}))
    assert load_saes(tmp_path, [3])[3].activation == "relu"


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"architecture": "temporal"}, "architecture = 'temporal'"),
        ({"architecture": "jumprelu_transcoder"}, "architecture = 'jumprelu_transcoder'"),
        ({"activation_fn": "tanh-relu"}, "activation_fn = 'tanh-relu'"),
        ({"normalize_activations": "covariance_whitening"}, "normalize_activations = 'covariance_whitening'"),
        ({"normalize_activations": "expected_average_only_in"}, "fold_activation_norm_scaling_factor"),
        ({"reshape_activations": "hook_z"}, "reshape_activations = 'hook_z'"),
        ({"finetuning_scaling_factor": True}, "finetuning_scaling_factor"),
        ({"k": 61}, "k must be a whole number between 1 and 60"),
        ({"k": 7.5}, "k must be a whole number"),
        ({"k": True}, "k must be a whole number between 1 and 60 latents, found True"),
        ({"metadata": {"hook_name": "blocks.3.hook_mlp_out"}}, "reads blocks.3.hook_mlp_out"),
        ({"metadata": {"hook_name": "blocks.4.hook_resid_post"}}, "reads blocks.4.hook_resid_post"),
        ({"metadata": {"hook_name": "blocks.0.hook_resid_pre"}}, "reads blocks.0.hook_resid_pre"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(tmp_path: Path, options: dict[str, Any], named: str) -> None:
    write(tmp_path / "layers.3", "topk", **options)
    with pytest.raises(TrackerError, match=named):
        load_saes(tmp_path, [3])


def test_saes_of_another_model_are_refused_with_both_widths(tmp_path: Path) -> None:
    write(tmp_path / "layers.3", "jumprelu")
    with pytest.raises(TrackerError, match="24 wide, but the model's is 4096"):
        load_saes(tmp_path, [3], d_model=4096)


def test_damaged_weights_are_named(tmp_path: Path) -> None:
    write(tmp_path / "layers.3", "topk")
    save_file(tensors() | {"W_enc": torch.zeros(N_LATENTS, D_MODEL)}, tmp_path / "layers.3/sae_weights.safetensors")
    with pytest.raises(TrackerError, match=r"W_enc should be \(24, 60\), found \(60, 24\)"):
        load_saes(tmp_path, [3])


@pytest.mark.parametrize("case", CASES, ids=str)
def test_encode_and_decode_equal_what_saelens_gave(tmp_path: Path, case: Case) -> None:
    recorded = load_file(RECORDED)
    write_case(tmp_path / "layers.3", case)
    sae = load_saes(tmp_path, [3], d_model=D_MODEL)[3]
    expected = strength(recorded[f"{case}.encoded"], rescaled=case.rescale)
    torch.testing.assert_close(dense(sae, RESID), expected, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(sae.decode(sae.encode(RESID)), recorded[f"{case}.decoded"], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("apply_b_dec", [True, False])
@pytest.mark.parametrize(
    ("kind", "rescale"), [("standard", False), ("jumprelu", False), ("topk", False), ("topk", True)]
)
def test_encode_and_decode_equal_saelens(tmp_path: Path, kind: str, rescale: bool, apply_b_dec: bool) -> None:
    sae_lens = pytest.importorskip("sae_lens", reason="sae-lens is not installed: requirements-peers.txt")
    options = {"rescale_acts_by_decoder_norm": True} if rescale else {}
    write(tmp_path / "layers.3", kind, apply_b_dec_to_input=apply_b_dec, **options)
    assert_equal_to_saelens(sae_lens.SAE.load_from_disk(tmp_path / "layers.3"), tmp_path, rescaled=rescale)


@pytest.mark.parametrize("rescale", [True, False])
def test_batchtopk_equals_saelens_by_its_inference_file_and_by_its_checkpoint(tmp_path: Path, rescale: bool) -> None:
    sae_lens = pytest.importorskip("sae_lens", reason="sae-lens is not installed: requirements-peers.txt")
    write(tmp_path / "training" / "layers.3", "batchtopk", rescale_acts_by_decoder_norm=rescale)
    trained = sae_lens.TrainingSAE.load_from_disk(tmp_path / "training" / "layers.3")
    trained.save_inference_model(tmp_path / "inference" / "layers.3")
    trained.save_model(tmp_path / "checkpoint" / "layers.3")
    peer = sae_lens.SAE.load_from_disk(tmp_path / "inference" / "layers.3")
    for folder in ("training", "inference", "checkpoint"):
        assert_equal_to_saelens(peer, tmp_path / folder, rescaled=rescale)


def assert_equal_to_saelens(peer: Any, folder: Path, *, rescaled: bool) -> None:
    sae = load_saes(folder, [3], d_model=D_MODEL)[3]
    resid = 2 * torch.randn(200, D_MODEL)
    with torch.no_grad():
        expected = peer.encode(resid)
        decoded = peer.decode(expected)
    assert 0 < (expected > 0).double().mean() < 0.9
    torch.testing.assert_close(dense(sae, resid), strength(expected, rescaled=rescaled), rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(sae.decode(sae.encode(resid)), decoded, rtol=1e-4, atol=1e-3)
