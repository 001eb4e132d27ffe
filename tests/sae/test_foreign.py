"""Kinds of SAE that other projects have, against what they compute.

The references are written from sae-lens 6.54 (`saes/*.py`, `loading/pretrained_sae_loaders.py`), OpenMOSS's
Language-Model-SAEs of November 2024 and dictionary_learning 0.1, in float64.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from feature_tracker.errors import TrackerError
from feature_tracker.sae.load import load_saes, save_sae
from tests.sae.foreign import (
    D_MODEL,
    N_LATENTS,
    K,
    assert_reads,
    draw,
    gates,
    gemma_3_config,
    resid,
    weights,
    write_gemma_scope,
    write_llama_scope,
    write_saelens,
)

Dense = dict[str, torch.Tensor]


def double(tensors: Dense) -> Dense:
    return {name: tensor.double() for name, tensor in tensors.items()}


def topk(pre: torch.Tensor, k: int = K) -> torch.Tensor:
    top = pre.topk(k, dim=-1)
    return torch.zeros_like(pre).scatter(-1, top.indices, top.values.relu())


@pytest.mark.parametrize("apply_b_dec", [True, False])
def test_a_gated_sae_is_on_where_its_gate_is(tmp_path: Path, apply_b_dec: bool) -> None:
    tensors = {name: tensor for name, tensor in weights().items() if name != "b_enc"} | gates()
    write_saelens(tmp_path / "layers.3", "gated", tensors=tensors, apply_b_dec_to_input=apply_b_dec)
    w = double(tensors)
    x = resid().double() - w["b_dec"] * apply_b_dec
    gate = (x @ w["W_enc"] + w["b_gate"] > 0).double()
    acts = gate * (x @ (w["W_enc"] * w["r_mag"].exp()) + w["b_mag"]).relu()
    sae = load_saes(tmp_path, [3], d_model=D_MODEL)[3]
    assert_reads(sae, acts, acts @ w["W_dec"] + w["b_dec"], w_dec=w["W_dec"])


@pytest.mark.parametrize("kind", ["standard", "topk"])
def test_layer_norm_is_applied_to_each_token_and_undone(tmp_path: Path, kind: str) -> None:
    options = {"k": K} if kind == "topk" else {}
    write_saelens(tmp_path / "layers.3", kind, normalize_activations="layer_norm", **options)
    w, x = double(weights()), resid().double()
    mean = x.mean(dim=-1, keepdim=True)
    std = (x - mean).std(dim=-1, keepdim=True)
    pre = ((x - mean) / (std + 1e-5) - w["b_dec"]) @ w["W_enc"] + w["b_enc"]
    acts = topk(pre) if kind == "topk" else pre.relu()
    sae = load_saes(tmp_path, [3])[3]
    assert_reads(sae, acts, (acts @ w["W_dec"] + w["b_dec"]) * std + mean, w_dec=w["W_dec"])
    assert "layer_norm" in sae.notes[0]


def test_constant_norm_rescale_is_applied_to_each_token_and_undone(tmp_path: Path) -> None:
    write_saelens(tmp_path / "layers.3", normalize_activations="constant_norm_rescale")
    w, x = double(weights()), resid().double()
    factor = D_MODEL**0.5 / x.norm(dim=-1, keepdim=True)
    acts = ((x * factor - w["b_dec"]) @ w["W_enc"] + w["b_enc"]).relu()
    sae = load_saes(tmp_path, [3])[3]
    assert_reads(sae, acts, (acts @ w["W_dec"] + w["b_dec"]) / factor, w_dec=w["W_dec"])


@pytest.mark.parametrize(("kind", "stated"), [("standard", "file"), ("topk", "cfg"), ("jumprelu", "file")])
@pytest.mark.parametrize("apply_b_dec", [True, False])
def test_an_average_norm_is_folded_in(tmp_path: Path, kind: str, stated: str, apply_b_dec: bool) -> None:
    factor = 0.31
    tensors = weights() | ({"threshold": torch.full((N_LATENTS,), 2.0)} if kind == "jumprelu" else {})
    options: dict[str, Any] = {"k": K} if kind == "topk" else {}
    options |= {"norm_scaling_factor": factor} if stated == "cfg" else {}
    folder = tmp_path / "layers.3"
    write_saelens(
        folder, kind, tensors=tensors, normalize_activations="expected_average_only_in",
        apply_b_dec_to_input=apply_b_dec, **options,
    )  # fmt: skip
    if stated == "file":
        (folder / "activation_scaler.json").write_text(json.dumps({"scaling_factor": factor, "has_whitening": False}))
    w = double(weights())
    pre = (resid().double() * factor - w["b_dec"] * apply_b_dec) @ w["W_enc"] + w["b_enc"]
    acts = topk(pre) if kind == "topk" else pre.relu() * (pre > 2.0) if kind == "jumprelu" else pre.relu()
    decoder = w["W_dec"] / factor
    sae = load_saes(tmp_path, [3])[3]
    assert_reads(sae, acts, acts @ decoder + w["b_dec"] / factor, w_dec=decoder)


def test_an_average_norm_that_nothing_states_is_asked_for_and_one_that_nobody_uses_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "layers.3"
    write_saelens(folder, normalize_activations=True)  # how SAELens before 3 wrote it
    with pytest.raises(TrackerError, match=r"activation_scaler\.json"):
        load_saes(tmp_path, [3])
    (folder / "activation_scaler.json").write_text('{"scaling_factor": 0.3}')
    assert load_saes(tmp_path, [3])
    write_saelens(folder, normalize_activations="none")
    with pytest.raises(TrackerError, match=r"'none' and a scaling factor of 0\.3 .* contradict"):
        load_saes(tmp_path, [3])
    (folder / "activation_scaler.json").write_text('{"scaling_factor": null, "has_whitening": false}')
    assert load_saes(tmp_path, [3])
    (folder / "activation_scaler.json").write_text('{"scaling_factor": null, "has_whitening": true}')
    with pytest.raises(TrackerError, match="has_whitening"):
        load_saes(tmp_path, [3])


@pytest.mark.parametrize("where", ["model_from_pretrained_kwargs", "metadata", "flat"])
def test_a_centred_stream_is_centred(tmp_path: Path, where: str) -> None:
    kwargs = {"model_from_pretrained_kwargs": {"center_writing_weights": True, "fold_ln": True}}
    options: dict[str, Any] = {
        "metadata": {"metadata": kwargs}, "flat": {"center_writing_weights": True},
        "model_from_pretrained_kwargs": kwargs,
    }[where]  # fmt: skip
    write_saelens(tmp_path / "layers.3", **options)
    w, x = double(weights()), resid().double()
    acts = ((x - x.mean(dim=-1, keepdim=True) - w["b_dec"]) @ w["W_enc"] + w["b_enc"]).relu()
    assert_reads(load_saes(tmp_path, [3])[3], acts, acts @ w["W_dec"] + w["b_dec"], w_dec=w["W_dec"])
    # TransformerLens centres no model with RMSNorm, whatever it is asked.
    plain = load_saes(tmp_path, [3], layer_norm=False)[3]
    acts = ((x - w["b_dec"]) @ w["W_enc"] + w["b_enc"]).relu()
    assert_reads(plain, acts, acts @ w["W_dec"] + w["b_dec"], w_dec=w["W_dec"])


@pytest.mark.parametrize(
    ("changes", "is_centred"),
    [
        ({"hook_point": "blocks.3.hook_resid_post"}, True),  # of SAELens before June 2024, which centred every stream
        ({"hook_name": "blocks.3.hook_resid_post"}, None),
        ({"hook_name": "blocks.3.hook_resid_post", "model_from_pretrained_kwargs": {}}, False),
        ({"hook_point": "blocks.3.hook_resid_post", "center_writing_weights": False}, False),
        ({"hook_name": "blocks.3.hook_resid_post", "metadata": {"sae_lens_version": "6.0.0"}}, False),
        ({"hook_name": "blocks.3.hook_resid_post", "normalize_activations": "layer_norm"}, False),
    ],
)
def test_whether_the_stream_was_centred_is_told_or_asked_where_it_matters(
    tmp_path: Path, changes: dict[str, Any], is_centred: bool | None
) -> None:
    folder = tmp_path / "layers.3"
    write_saelens(folder)
    (folder / "cfg.json").write_text(json.dumps({"d_in": D_MODEL, "d_sae": N_LATENTS} | changes))
    assert not any("mean" in note for note in load_saes(tmp_path, [3], layer_norm=False)[3].notes)
    if is_centred is None:
        with pytest.raises(TrackerError, match=r"doesn't say whether .* Add .center_writing_weights.: true"):
            load_saes(tmp_path, [3], layer_norm=True)
    else:
        (sae,) = load_saes(tmp_path, [3], layer_norm=True).values()
        assert any("mean over its dimensions is taken off" in note for note in sae.notes) == is_centred


def test_a_matryoshka_checkpoint_works_by_its_threshold(tmp_path: Path) -> None:
    tensors = weights() | {"topk_threshold": torch.tensor(9.0, dtype=torch.double)}
    write_saelens(
        tmp_path / "layers.3", "matryoshka_batchtopk", tensors=tensors, k=32.5, matryoshka_widths=[8, 60],
        use_matryoshka_aux_loss=True, rescale_acts_by_decoder_norm=True, topk_threshold_lr=0.01,
    )  # fmt: skip
    w = double(weights())
    norms = w["W_dec"].norm(dim=1)
    pre = ((resid().double() - w["b_dec"]) @ w["W_enc"] + w["b_enc"]) * norms
    acts = pre.relu() * (pre > 9.0)
    unit = w["W_dec"] / norms[:, None]
    assert_reads(load_saes(tmp_path, [3])[3], acts, acts @ unit + w["b_dec"], w_dec=unit)


@pytest.mark.parametrize("npz", [True, False])
def test_gemma_scope_is_read_by_its_folders(tmp_path: Path, npz: bool) -> None:
    folder = "layer_3/width_16k/average_l0_71" if npz else "resid_post/layer_3_width_16k_l0_small"
    write_gemma_scope(tmp_path / folder, npz=npz, config=None if npz else gemma_3_config())
    sae = load_saes(tmp_path, [3], d_model=D_MODEL)[3]
    w = double(weights())
    threshold = 8 * torch.rand(N_LATENTS, generator=torch.Generator().manual_seed(8)).double()
    pre = resid().double() @ w["W_enc"] + w["b_enc"]
    acts = pre.relu() * (pre > threshold)
    assert_reads(sae, acts, acts @ w["W_dec"] + w["b_dec"], w_dec=w["W_dec"])


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"affine_connection": True}, "affine_connection"),
        ({"type": "transcoder"}, "type = 'transcoder'"),
        ({"architecture": "topk"}, "architecture = 'topk'"),
        ({"hf_hook_point_in": "model.layers.3.post_feedforward_layernorm.output"}, "post_feedforward_layernorm"),
        ({"hf_hook_point_in": "model.layers.4.output"}, r"model\.layers\.4\.output.* contradict"),
        ({"scaled": 2}, "'scaled' = 2"),
    ],
)
def test_gemma_scope_with_other_settings_is_refused_by_name(
    tmp_path: Path, changes: dict[str, Any], named: str
) -> None:
    write_gemma_scope(tmp_path / "layer_3_width_16k_l0_small", npz=False, config=gemma_3_config(**changes))
    with pytest.raises(TrackerError, match=named):
        load_saes(tmp_path, [3])


def test_gemma_scope_asks_which_width_and_takes_no_attention_or_mlp(tmp_path: Path) -> None:
    root = tmp_path / "gemma-scope-2b-pt-res"
    write_gemma_scope(root / "layer_3/width_16k/average_l0_71")
    write_gemma_scope(root / "layer_3/width_65k/average_l0_20")
    with pytest.raises(TrackerError, match=r"width_16k.*and.*width_65k.*both read layer 3.*sae_variant"):
        load_saes(root, [3])
    assert load_saes(root, [3], variant="width_65k", models=["google/gemma-2-2b"])
    with pytest.raises(TrackerError, match="trained on 'gemma-2-2b', but the bundle's model is 'gemma-2-9b'"):
        load_saes(root, [3], variant="width_65k", models=["gemma-2-9b"])
    attention = tmp_path / "gemma-scope-2b-pt-att"
    write_gemma_scope(attention / "layer_3/width_16k/average_l0_71")
    with pytest.raises(TrackerError, match="gemma-scope-2b-pt-att' says that it reads no residual stream"):
        load_saes(attention, [3])


@pytest.mark.parametrize("kind", ["mlp", "att", "transcoders"])
def test_gemma_scope_is_told_by_its_repository_wherever_in_it_the_folder_is(tmp_path: Path, kind: str) -> None:
    snapshot = tmp_path / f"models--google--gemma-scope-2b-pt-{kind}" / "snapshots" / "0a1b"
    write_gemma_scope(snapshot / "layer_3/width_16k/average_l0_71")
    for folder in (snapshot, snapshot / "layer_3"):
        with pytest.raises(TrackerError, match=f"gemma-scope-2b-pt-{kind}' says that it reads no residual stream"):
            load_saes(folder, [3])


@pytest.mark.parametrize("with_norms", [True, ...])
def test_llama_scope_folds_its_average_norm(tmp_path: Path, with_norms: Any) -> None:
    write_llama_scope(tmp_path / "Llama3_1-8B-Base-L3R-8x", sparsity_include_decoder_norm=with_norms)
    w = double(weights())
    factor = D_MODEL**0.5 / 19.5
    # OpenMOSS: the bias is divided by the factor; activations are those of unit decoder rows, and compared as such.
    pre = resid().double() @ w["W_enc"] + w["b_enc"] / factor
    on = (pre * w["W_dec"].norm(dim=1) > 0.75) if with_norms is True else (pre > 0.75)
    acts = pre * on * (pre > 0)
    sae = load_saes(tmp_path, [3], d_model=D_MODEL)[3]
    assert_reads(sae, acts, acts @ w["W_dec"] + w["b_dec"] / factor, w_dec=w["W_dec"])
    assert "average norm" in sae.notes[0]


def test_llama_scope_equals_what_saelens_makes_of_it(tmp_path: Path) -> None:
    """SAELens multiplies the threshold by the factor, and folds that into W_enc; without decoder norms this is ours."""
    write_llama_scope(tmp_path / "Llama3_1-8B-Base-L3R-8x", sparsity_include_decoder_norm=False)
    w, factor = double(weights()), D_MODEL**0.5 / 19.5
    pre = resid().double() @ (w["W_enc"] * factor) + w["b_enc"]
    acts = pre.relu() * (pre > 0.75 * factor)
    decoder = w["W_dec"] / factor
    sae = load_saes(tmp_path, [3])[3]
    assert_reads(sae, acts, acts @ decoder + w["b_dec"] / factor, w_dec=decoder)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"act_fn": "topk"}, "act_fn = 'topk'"),
        ({"norm_activation": "token-wise"}, "norm_activation = 'token-wise'"),
        ({"use_glu_encoder": True}, "use_glu_encoder"),
        ({"hook_point_out": "blocks.3.hook_mlp_out"}, "hook_mlp_out"),
        ({"hook_point_out": "blocks.4.hook_resid_post"}, "contradict"),
        ({"dataset_average_activation_norm": {"in": 19.5, "out": 3.0}}, "out = 3.0"),
        ({"dataset_average_activation_norm": None}, "in = None"),
        ({"jump_relu_threshold": -1}, "jump_relu_threshold = -1"),
        ({"d_model": 25}, "d_model = 25"),
        ({"extra": 1}, "'extra' = 1"),
    ],
)
def test_llama_scope_with_other_settings_is_refused_by_name(
    tmp_path: Path, changes: dict[str, Any], named: str
) -> None:
    write_llama_scope(tmp_path / "Llama3_1-8B-Base-L3R-8x", **changes)
    with pytest.raises(TrackerError, match=named):
        load_saes(tmp_path, [3])


def dictionary(kind: str) -> Dense:
    """A dictionary_learning state as its class names it."""
    w, g = weights(), gates()
    linear = {"encoder.weight": w["W_enc"].T, "decoder.weight": w["W_dec"].T}
    return {
        "AutoEncoder": {**linear, "encoder.bias": w["b_enc"], "bias": w["b_dec"]},
        "AutoEncoderNew": {**linear, "encoder.bias": w["b_enc"], "decoder.bias": w["b_dec"]},
        "AutoEncoderTopK": {**linear, "encoder.bias": w["b_enc"], "b_dec": w["b_dec"], "k": torch.tensor(K),
                            "threshold": torch.tensor(5.0)},
        "BatchTopKSAE": {**linear, "encoder.bias": w["b_enc"], "b_dec": w["b_dec"], "k": torch.tensor(K),
                         "threshold": torch.tensor(5.0)},
        "MatryoshkaBatchTopKSAE": {**w, "k": torch.tensor(K), "threshold": torch.tensor(5.0),
                                   "group_sizes": torch.tensor([20, 40])},
        "JumpReluAutoEncoder": {**w, "threshold": torch.full((N_LATENTS,), 5.0)},
        "GatedAutoEncoder": {**linear, "decoder_bias": w["b_dec"], "r_mag": g["r_mag"], "gate_bias": g["b_gate"],
                             "mag_bias": g["b_mag"]},
    }[kind]  # fmt: skip


def write_dictionary(folder: Path, kind: str, **changes: Any) -> None:
    folder.mkdir(parents=True)
    save_file({name: tensor.contiguous() for name, tensor in dictionary(kind).items()}, folder / "ae.safetensors")
    trainer = {
        "trainer_class": "SomeTrainer", "dict_class": kind, "lr": 0.001, "activation_dim": D_MODEL, "seed": 0,
        "dict_size": N_LATENTS, "device": "cpu", "layer": 3, "lm_name": "EleutherAI/pythia-70m", "wandb_name": "x",
        "submodule_name": "resid_post_layer_3",
    } | ({"k": K} if "TopK" in kind else {}) | changes  # fmt: skip
    buffer = {"d_submodule": D_MODEL, "io": trainer.pop("io", "out"), "ctx_len": 128}
    (folder / "config.json").write_text(json.dumps({"trainer": trainer, "buffer": buffer}))


@pytest.mark.parametrize(
    "kind",
    ["AutoEncoder", "AutoEncoderNew", "AutoEncoderTopK", "BatchTopKSAE", "MatryoshkaBatchTopKSAE",
     "JumpReluAutoEncoder", "GatedAutoEncoder"],
)  # fmt: skip
def test_a_converted_dictionary_encodes_as_its_class_does(tmp_path: Path, kind: str) -> None:
    write_dictionary(tmp_path / "resid_post_layer_3" / "trainer_0", kind)
    w, g, x = double(weights()), double(gates()), resid().double()
    x = x if kind in ("AutoEncoderNew", "JumpReluAutoEncoder") else x - w["b_dec"]
    pre = x @ w["W_enc"] + w["b_enc"]
    if kind == "AutoEncoderTopK":
        acts = topk(pre.relu())
    elif kind == "GatedAutoEncoder":
        z = x @ w["W_enc"]
        acts = (z + g["b_gate"] > 0) * (g["r_mag"].exp() * z + g["b_mag"]).relu()
    else:
        acts = pre.relu() if kind.startswith("AutoEncoder") else pre.relu() * (pre > 5.0)
    sae = load_saes(tmp_path, [3], models=["pythia-70m"])[3]
    assert_reads(sae, acts, acts @ w["W_dec"] + w["b_dec"], w_dec=w["W_dec"])


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"dict_class": "CrossCoder"}, "dict_class = 'CrossCoder'"),
        ({"submodule_name": "mlp_out_layer_3"}, "mlp_out_layer_3"),
        ({"submodule_name": None}, "submodule_name"),
        ({"layer": 4}, "trainer.layer = 4 and submodule_name .* contradict"),
        ({"layer": 4.0}, "trainer.layer = 4 and submodule_name .* contradict"),
        ({"layer": "4"}, "trainer.layer = '4' is not supported"),
        ({"io": "in"}, "io = 'in'"),
        ({"k": 8}, "k = 8, and ae.safetensors k = 7"),
        ({"tied": True}, "'trainer.tied' = True"),
    ],
)
def test_a_dictionary_of_another_kind_is_refused_by_name(tmp_path: Path, changes: dict[str, Any], named: str) -> None:
    write_dictionary(tmp_path / "trainer_0", "AutoEncoderTopK", **changes)
    with pytest.raises(TrackerError, match=named):
        load_saes(tmp_path, [3])


def test_a_dictionary_without_a_submodule_is_read_where_its_folder_says_the_stream(tmp_path: Path) -> None:
    write_dictionary(tmp_path / "resid_post_layer_3" / "trainer_0", "AutoEncoder", submodule_name=None)
    assert load_saes(tmp_path, [3])
    write_dictionary(tmp_path / "mlp_out_layer_4" / "trainer_0", "AutoEncoder", submodule_name=None, layer=4)
    with pytest.raises(TrackerError, match="mlp_out_layer_4' says that it reads no residual stream"):
        load_saes(tmp_path, [4])


def test_a_dictionary_that_is_a_pickle_is_refused_with_the_command_that_converts_it(tmp_path: Path) -> None:
    write_dictionary(tmp_path / "trainer_0", "AutoEncoder")
    (tmp_path / "trainer_0" / "ae.safetensors").unlink()
    torch.save(dictionary("AutoEncoder"), tmp_path / "trainer_0" / "ae.pt")
    with pytest.raises(TrackerError, match="is a pickle") as refused:
        load_saes(tmp_path, [3])
    command = str(refused.value).split("may be: ")[1].split("ae.safetensors")[0] + "ae.safetensors"
    subprocess.run([sys.executable, *shlex.split(command)[1:]], check=True)
    assert load_saes(tmp_path, [3])[3].activation == "relu"


def test_sparsify_can_not_hold_a_normalized_sae(tmp_path: Path) -> None:
    write_saelens(tmp_path / "layers.3", "topk", normalize_activations="layer_norm", k=K)
    with pytest.raises(TrackerError, match="no layer_norm SAEs"):
        save_sae(tmp_path / "out", 3, load_saes(tmp_path, [3])[3])


def test_a_stream_of_a_model_is_read_where_it_is_large(tmp_path: Path) -> None:
    """Folding a mean in must not lose digits where one dimension of the stream is a thousand times the others."""
    write_saelens(tmp_path / "layers.3", center_writing_weights=True)
    x = draw(30, D_MODEL, seed=11)
    x[:, 5] = 3000
    w = double(weights())
    pre = (x.double() - x.double().mean(dim=-1, keepdim=True) - w["b_dec"]) @ w["W_enc"] + w["b_enc"]
    sae = load_saes(tmp_path, [3])[3]
    expected = pre.relu() * w["W_dec"].norm(dim=1)
    torch.testing.assert_close(sae.pre_activations(x).double(), expected, rtol=1e-5, atol=1e-5 * float(expected.max()))
