"""Settings and tensors by allow-list: nothing in an SAE's files is read past."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from feature_tracker.errors import TrackerError
from feature_tracker.sae.load import load_saes
from tests.sae.foreign import (
    D_MODEL,
    N_LATENTS,
    K,
    draw,
    gates,
    weights,
    write_gemma_scope,
    write_saelens,
    write_sparsify,
)

RES_JB = {
    "model_name": "gpt2-small", "hook_point": "blocks.4.hook_resid_pre", "hook_point_layer": 4,
    "hook_point_head_index": None, "dataset_path": "Skylion007/openwebtext", "is_dataset_tokenized": False,
    "context_size": 128, "use_cached_activations": False, "cached_activations_path": "activations/openwebtext",
    "d_in": D_MODEL, "n_batches_in_buffer": 128, "total_training_tokens": 300000000, "store_batch_size": 32,
    "device": "mps", "seed": 42, "dtype": "torch.float32", "b_dec_init_method": "geometric_median",
    "expansion_factor": 32, "from_pretrained_path": None, "l1_coefficient": 8e-05, "lr": 0.0004,
    "lr_scheduler_name": None, "lr_warm_up_steps": 5000, "train_batch_size": 4096, "use_ghost_grads": False,
    "feature_sampling_window": 1000, "feature_sampling_method": None, "feature_reinit_scale": 0.2,
    "dead_feature_window": 5000, "dead_feature_estimation_method": "no_fire", "dead_feature_threshold": 1e-06,
    "log_to_wandb": True, "wandb_project": "x", "wandb_entity": None, "wandb_log_frequency": 100, "n_checkpoints": 10,
    "checkpoint_path": "checkpoints/x", "d_sae": N_LATENTS, "tokens_per_buffer": 67108864, "run_name": "x",
}  # fmt: skip
"""The configuration of GPT-2 small's first residual SAEs, of SAELens's first version."""


def refuses(folder: Path, named: str) -> None:
    with pytest.raises(TrackerError, match=named):
        load_saes(folder, [3])


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"signed": True}, "signed = True"),
        ({"transcode": True}, "transcode = True"),
        ({"skip_connection": True}, "skip_connection = True"),
        ({"activation": "jumprelu"}, "activation = 'jumprelu'"),
        ({"normalize_io": True}, "'normalize_io' = True"),
        ({"matryoshka": True}, "'matryoshka' = True"),
        ({"per_layer_k": [3, 4]}, "'per_layer_k'"),
        ({"ste_temperature": 1.0}, "'ste_temperature' = 1.0"),
        ({"d_in": 25}, "d_in = 25 is not supported, only 24"),
        ({"num_latents": 61}, "num_latents = 61 is not supported, only 60"),
        ({"num_latents": 0, "expansion_factor": 4}, "expansion_factor = 4"),
        ({"k": 6.5}, "k must be a whole number"),
        ({"k": float("inf")}, "k must be a whole number"),
        ({"k": float("nan")}, "k must be a whole number"),
        ({"k": None}, "must state `k`"),
        ({"signed": 0}, "signed = 0"),
        ({"signed": None, "normalize_io": False, "extra": None, "tied_decoder": False}, None),
        ({"multi_topk": True, "normalize_decoder": False, "k": 6.0, "skip_connection": None}, None),
        ({"num_latents": 0, "expansion_factor": N_LATENTS / D_MODEL}, None),
        ({"num_latents": None, "expansion_factor": N_LATENTS / D_MODEL}, None),
    ],
)
def test_a_sparsify_setting_is_used_or_refused(tmp_path: Path, settings: dict[str, Any], named: str | None) -> None:
    write_sparsify(tmp_path / "layers.3", **settings)
    if named is None:
        assert load_saes(tmp_path, [3])[3].k == settings.get("k", K)
    else:
        refuses(tmp_path, named)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"input_unit_norm": True}, "'input_unit_norm' = True"),
        ({"metadata": {"input_unit_norm": True}}, "'metadata.input_unit_norm' = True"),
        ({"finetuning_scaling_factor": True}, "finetuning_scaling_factor = True"),
        ({"metadata": {"hook_head_index": 3}}, "hook_head_index = 3"),
        ({"hook_head_index": 0}, "hook_head_index = 0"),
        ({"d_out": 24}, "d_out = 24"),
        ({"metadata": {"hook_name_out": "blocks.3.hook_mlp_out"}}, "hook_name_out"),
        ({"model_from_pretrained_kwargs": {"revision": "step1000"}}, "revision = 'step1000'"),
        ({"model_from_pretrained_kwargs": {"checkpoint_value": 1000}}, "checkpoint_value' = 1000"),
        ({"model_from_pretrained_kwargs": {"center_writing_weights": "yes"}}, "center_writing_weights = 'yes'"),
        ({"model_from_pretrained_kwargs": [1]}, "model_from_pretrained_kwargs"),
        ({"model_kwargs": {"stop_at_layer": 3}}, "model_kwargs"),
        ({"activation_fn": "tanh-relu"}, "activation_fn = 'tanh-relu'"),
        ({"activation_fn_kwargs": {"k": 5}}, r"'activation_fn_kwargs\.k' = 5"),
        ({"architecture": "jumprelu", "activation_fn": "topk"}, "activation_fn = 'topk'"),
        ({"architecture": "topk", "k": 7, "activation_fn_kwargs": {"k": 8}}, r"activation_fn_kwargs\.k = 8 and k = 7"),
        ({"architecture": "topk", "k": 7, "activation_fn_kwargs": {"signed": True}}, r"signed' = True"),
        ({"architecture": "abstopk", "k": 7}, "architecture = 'abstopk'"),
        ({"architecture": "jumprelu_skip_transcoder"}, "architecture = 'jumprelu_skip_transcoder'"),
        ({"architecture": ["standard"]}, "architecture = "),
        ({"rescale_acts_by_decoder_norm": True}, "rescale_acts_by_decoder_norm = True"),
        ({"apply_b_dec_to_input": "false"}, "apply_b_dec_to_input = 'false'"),
        ({"apply_b_dec_to_input": 0}, "apply_b_dec_to_input = 0"),
        ({"d_sae": 61}, "d_sae = 61"),
        ({"k": 32}, "'k' = 32"),
        ({"normalize_activations": "unit"}, "normalize_activations = 'unit'"),
        ({"normalize_activations": {}}, "normalize_activations = {}"),
        ({"norm_scaling_factor": 0.3}, "contradict"),
        ({"post_encoder_scale": 2.0}, "'post_encoder_scale' = 2.0"),
        ({"apply_b_dec_to_input": False, "metadata": {"apply_b_dec_to_input": True}}, "contradicts itself"),
        ({"metadata": ["blocks.3"]}, "metadata must hold a JSON object, found list"),
    ],
)
def test_a_saelens_setting_that_would_change_something_is_refused_by_name(
    tmp_path: Path, settings: dict[str, Any], named: str
) -> None:
    folder = tmp_path / "layers.3"
    metadata = settings.pop("metadata", None)
    write_saelens(folder, **({"architecture": "standard"} | settings))
    if metadata is not None:
        config = json.loads((folder / "cfg.json").read_text())
        config["metadata"] = metadata if isinstance(metadata, list) else config["metadata"] | metadata
        (folder / "cfg.json").write_text(json.dumps(config))
    refuses(tmp_path, named)


def test_what_changes_nothing_about_an_sae_is_read_past(tmp_path: Path) -> None:
    write_saelens(
        tmp_path / "layers.3", lr=1e-4, l1_coefficient=5, seqpos_slice=[None], model_kwargs={}, use_error_term=False,
        something_new=None, activation_fn_kwargs={}, model_from_pretrained_kwargs={"fold_ln": False},
        metadata={"training_architecture_details": {"lp_norm": 1.0}, "exclude_special_tokens": [0, 1]},
        hook_head_index=None, d_out=None, normalize_activations=None,
    )  # fmt: skip
    assert load_saes(tmp_path, [3])[3].activation == "relu"


def test_the_oldest_configuration_is_read(tmp_path: Path) -> None:
    write_saelens(tmp_path / "blocks.4.hook_resid_pre")
    path = tmp_path / "blocks.4.hook_resid_pre" / "cfg.json"
    path.write_text(json.dumps(RES_JB))
    (sae,) = load_saes(tmp_path, [3], models=["openai-community/gpt2"]).values()
    assert sae.notes == ("blocks.4.hook_resid_pre is the residual stream after layer 3",)
    path.write_text(json.dumps(RES_JB | {"center_writing_weights": True}))
    assert "taken off" in load_saes(tmp_path, [3])[3].notes[1]


@pytest.mark.parametrize(
    ("kind", "extra"),
    [
        ("standard", "threshold"),
        ("standard", "b_gate"),
        ("standard", "W_skip"),
        ("standard", "scaling_factor"),
        ("topk", "threshold"),
        ("topk", "topk_threshold"),
        ("jumprelu", "r_mag"),
        ("gated", "b_enc"),
        ("sparsify", "W_skip"),
        ("sparsify", "threshold"),
        ("sparsify", "decoder.weight"),
    ],
)
def test_a_tensor_that_the_configuration_does_not_speak_of_is_refused_by_name(
    tmp_path: Path, kind: str, extra: str
) -> None:
    shape = (D_MODEL, D_MODEL) if extra == "W_skip" else (1,) if extra == "topk_threshold" else (N_LATENTS,)
    more = {extra: draw(*shape, seed=12)}
    if kind == "sparsify":
        write_sparsify(tmp_path / "layers.3", tensors=more)
    else:
        tensors = weights() | ({"threshold": torch.ones(N_LATENTS)} if kind == "jumprelu" else {})
        if kind == "gated":
            tensors = {name: tensor for name, tensor in tensors.items() if name != "b_enc"} | gates()
        options = {"k": K} if kind == "topk" else {}
        write_saelens(tmp_path / "layers.3", kind, tensors=tensors | more, **options)
    refuses(tmp_path, f"also holds '{re.escape(extra)}'")


def test_a_scaling_factor_of_ones_scales_nothing(tmp_path: Path) -> None:
    write_saelens(tmp_path / "layers.3", tensors=weights() | {"scaling_factor": torch.ones(N_LATENTS)})
    assert load_saes(tmp_path, [3])


@pytest.mark.parametrize("lacking", ["threshold", "b_gate"])
def test_a_tensor_that_the_kind_needs_is_asked_for(tmp_path: Path, lacking: str) -> None:
    tensors = {name: tensor for name, tensor in weights().items() if lacking == "threshold" or name != "b_enc"}
    tensors |= {name: tensor for name, tensor in gates().items() if lacking == "b_gate" and name != lacking}
    write_saelens(tmp_path / "layers.3", "jumprelu" if lacking == "threshold" else "gated", tensors=tensors)
    refuses(tmp_path, f"lacks {lacking}")


def test_a_byte_order_mark_is_no_part_of_the_configuration(tmp_path: Path) -> None:
    write_sparsify(tmp_path / "layers.3")
    path = tmp_path / "layers.3" / "cfg.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert load_saes(tmp_path, [3])[3].k == K


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"", "is no JSON"),
        (b"\xff\xfe{\x00", "is no JSON"),
        (b"[1]", "must hold a JSON object, found list"),
        (b"null", "found NoneType"),
        (b"{" * 20, "is no JSON"),
        (b"[" * 200_000, "is no JSON"),
        (b'{"k": ' + b"9" * 6000 + b"}", "k must be a whole number"),
        (b'{"k": 7, "x": "' + b"x" * 1_000_000 + b'"}', "more than 1,000,000 bytes"),
        (b'{"k": 7, "\\ud800": 1}', r"'\\ud800' = 1"),
    ],
)
def test_a_damaged_or_boundless_configuration_is_told(tmp_path: Path, content: bytes, named: str) -> None:
    write_sparsify(tmp_path / "layers.3")
    (tmp_path / "layers.3" / "cfg.json").write_bytes(content)
    with pytest.raises(TrackerError, match=named) as refused:
        load_saes(tmp_path, [3])
    assert str(refused.value).encode() and len(str(refused.value)) < 1000


@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8, torch.bool, torch.float8_e4m3fn, torch.complex64])
def test_weights_that_are_no_floating_point_numbers_are_refused(tmp_path: Path, dtype: torch.dtype) -> None:
    write_saelens(tmp_path / "layers.3", tensors=weights() | {"b_enc": torch.ones(N_LATENTS).to(dtype)})
    refuses(tmp_path, "b_enc should hold floating-point numbers")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_other_precisions_become_float32(tmp_path: Path, dtype: torch.dtype) -> None:
    write_saelens(tmp_path / "layers.3", tensors={name: tensor.to(dtype) for name, tensor in weights().items()})
    sae = load_saes(tmp_path, [3])[3]
    assert {part.dtype for part in (sae.encoder_weight, sae.encoder_bias, sae.decoder, sae.b_dec)} == {torch.float32}


@pytest.mark.parametrize(
    ("name", "tensor", "named"),
    [
        ("W_dec", torch.zeros(0, D_MODEL), r"W_dec must be \(n_latents, d_model\), found shape \(0, 24\)"),
        ("W_dec", torch.zeros(N_LATENTS), "found shape"),
        ("b_dec", torch.zeros(D_MODEL, 1), r"b_dec should be \(24,\), found \(24, 1\)"),
        ("W_enc", torch.full((D_MODEL, N_LATENTS), 1e300, dtype=torch.double), "W_enc holds NaN or infinity"),
        ("b_enc", torch.full((N_LATENTS,), torch.nan), "b_enc holds NaN"),
    ],
)
def test_a_tensor_of_another_shape_or_without_numbers_is_told(
    tmp_path: Path, name: str, tensor: torch.Tensor, named: str
) -> None:
    write_saelens(tmp_path / "layers.3", tensors=weights() | {name: tensor})
    refuses(tmp_path, named)


def test_gates_that_overflow_are_told(tmp_path: Path) -> None:
    tensors = {name: tensor for name, tensor in weights().items() if name != "b_enc"} | gates()
    write_saelens(tmp_path / "layers.3", "gated", tensors=tensors | {"r_mag": torch.full((N_LATENTS,), 800.0)})
    refuses(tmp_path, "not finite")


@pytest.mark.parametrize("place", [3, 8, 9, 40, 200])
@pytest.mark.parametrize("name", ["safetensors", "npz"])
def test_a_damaged_header_is_told(tmp_path: Path, name: str, place: int) -> None:
    if name == "npz":
        write_gemma_scope(tmp_path / "layer_3")
    else:
        write_sparsify(tmp_path / "layers.3")
    (path,) = tmp_path.glob(f"*/*.{name}")
    before, raw = load_saes(tmp_path, [3])[3], path.read_bytes()
    path.write_bytes(raw[:place] + b"\xff\x00\x7f" + raw[place + 3 :])
    try:
        after = load_saes(tmp_path, [3])[3]
    except TrackerError:
        return
    assert name == "npz", "zip files keep their members' names and times twice, and need them once"
    assert torch.equal(after.encoder_weight, before.encoder_weight)


@pytest.mark.parametrize(
    ("arrays", "named"),
    [
        ({"W_enc": np.array([{}], dtype=object)}, "can't be read"),
        ({"W_enc": np.array(["text"])}, "no array of numbers"),
        ({"W_enc": np.zeros((D_MODEL, N_LATENTS), ">f4"), "more": np.zeros(3)}, "'more'"),
        ({"threshold": np.zeros(N_LATENTS, int)}, "threshold should hold floating-point numbers"),
    ],
)
def test_an_npz_file_holds_arrays_of_numbers_and_no_others(
    tmp_path: Path, arrays: dict[str, np.ndarray], named: str
) -> None:
    write_gemma_scope(tmp_path / "layer_3")
    path = tmp_path / "layer_3" / "params.npz"
    np.savez(path, **(dict(np.load(path)) | arrays))
    refuses(tmp_path, named)


def test_an_npz_file_that_unpacks_to_far_more_is_not_unpacked(tmp_path: Path) -> None:
    (tmp_path / "layer_3").mkdir()
    np.savez_compressed(tmp_path / "layer_3" / "params.npz", W_enc=np.zeros((3000, 3000), np.float64))
    refuses(tmp_path, "unpacks to far more")


def test_arrays_of_other_orders_are_read_the_same(tmp_path: Path) -> None:
    write_gemma_scope(tmp_path / "a" / "layer_3")
    path = tmp_path / "a" / "layer_3" / "params.npz"
    before = load_saes(tmp_path / "a", [3])[3]
    np.savez_compressed(path, **{name: np.asfortranarray(array).astype(">f4") for name, array in np.load(path).items()})
    after = load_saes(tmp_path / "a", [3])[3]
    assert torch.equal(after.encoder_weight, before.encoder_weight) and torch.equal(after.decoder, before.decoder)


def test_a_pickle_under_another_name_is_refused_with_the_command_that_converts_it(tmp_path: Path) -> None:
    write_saelens(tmp_path / "layers.3")
    torch.save(weights(), tmp_path / "layers.3" / "sae_weights.safetensors")
    refuses(tmp_path, r"holds a pickle.*weights_only=True")


def test_weights_beside_nothing_that_says_what_they_are_need_a_configuration(tmp_path: Path) -> None:
    (tmp_path / "layers.3").mkdir()
    save_file(weights(), tmp_path / "layers.3" / "sae_weights.safetensors")
    refuses(tmp_path, r"cfg\.json is missing")
