"""Damaged and odd SAE folders: they are read, or refused by a TrackerError, within two seconds.

`FUZZ_CASES` says how many are tried.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings, strategies as st

from feature_tracker.errors import TrackerError
from feature_tracker.sae.load import load_saes
from tests.sae.foreign import (
    D_MODEL,
    N_LATENTS,
    K,
    draw,
    gates,
    gemma_3_config,
    resid,
    weights,
    write_gemma_scope,
    write_llama_scope,
    write_saelens,
    write_sparsify,
)

CASES = settings(
    max_examples=int(os.environ.get("FUZZ_CASES", "200")),
    deadline=None,  # `tried` has its own, in seconds, and says what took them
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
_SECONDS = 2.0
pytestmark = pytest.mark.slow


def _gated(folder: Path) -> None:
    tensors = {name: tensor for name, tensor in weights().items() if name != "b_enc"} | gates()
    write_saelens(folder, "gated", tensors=tensors, model_from_pretrained_kwargs={"center_writing_weights": True})


FORMATS: dict[str, Callable[[Path], object]] = {
    "sparsify": write_sparsify,
    "standard": write_saelens,
    "topk": lambda folder: write_saelens(folder, "topk", k=K, normalize_activations="layer_norm"),
    "gated": _gated,
    "batchtopk": lambda folder: write_saelens(
        folder, "batchtopk", tensors=weights() | {"topk_threshold": torch.tensor(3.0)}, k=K
    ),
    "npz": write_gemma_scope,
    "gemma 3": lambda folder: write_gemma_scope(folder, npz=False, config=gemma_3_config()),
    "llama scope": write_llama_scope,
}
KEYS = st.sampled_from([
    "k", "activation", "architecture", "d_in", "d_sae", "d_model", "num_latents", "expansion_factor", "signed",
    "transcode", "hook_name", "hook_point", "hook_layer", "hf_hook_name", "model_name", "neuronpedia_id", "metadata",
    "prepend_bos", "affine_connection",
    "normalize_activations", "norm_scaling_factor", "activation_fn", "activation_fn_kwargs", "apply_b_dec_to_input",
    "model_from_pretrained_kwargs", "rescale_acts_by_decoder_norm", "hf_hook_point_in", "jump_relu_threshold",
    "dataset_average_activation_norm", "norm_activation", "sparsity_include_decoder_norm", "act_fn",
])  # fmt: skip
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8),
    st.sampled_from([
        K, 6.0, "topk", "relu", "none", "layer_norm", "expected_average_only_in", "blocks.3.hook_resid_post",
        "blocks.4.hook_resid_pre", "blocks.0.hook_in", "gpt2-small/4-res-jb", 10**400, -0.0, "\ud800", "layers.3",
    ]),
)  # fmt: skip
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
CHANGES = st.dictionaries(KEYS | st.text(max_size=6), VALUES, max_size=4)
# Where bytes change, as shares of a file, and to what; and which share of the file is left.
FLIPS = st.lists(st.tuples(st.floats(0, 1) | st.floats(0, 0.01), st.integers(0, 255)), max_size=6)
CUT = st.none() | st.floats(0, 1)


def tried(folder: Path) -> None:
    """Load what is there and encode with it; only a TrackerError may come of it, in time and short enough to read."""
    started, message = time.monotonic(), ""
    try:
        for sae in load_saes(folder, [3], d_model=D_MODEL, models=["gpt2"]).values():
            top = sae.encode(resid(4))
            # A flipped bit can make a weight of 1e38 that overflows; a trace refuses what isn't finite then.
            assert (top.values[top.values.isfinite()] >= 0).all()
            sae.decode(top, resid(4))
    except TrackerError as error:
        message = str(error)
    assert time.monotonic() - started < _SECONDS
    assert len(message.encode()) < 4000


def damaged(raw: bytes, flips: list[tuple[float, int]], cut: float | None) -> bytes:
    changed = bytearray(raw)
    for share, byte in flips:
        if changed:
            changed[min(int(share * len(changed)), len(changed) - 1)] = byte
    return bytes(changed if cut is None else changed[: int(cut * len(changed))])


@CASES
@given(
    kind=st.sampled_from(list(FORMATS)), changes=CHANGES, removed=st.sets(KEYS, max_size=3),
    nested=st.sampled_from(["", "metadata"]),
)  # fmt: skip
def test_settings_of_any_value(kind: str, changes: dict[str, Any], removed: set[str], nested: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "layer_3"
        FORMATS[kind](folder)
        path = next(folder.glob("*.json"), folder / "config.json")
        config = json.loads(path.read_text()) if path.is_file() else {}
        table = config.setdefault(nested, {}) if nested else config
        table.update(changes)
        path.write_text(json.dumps({key: value for key, value in config.items() if key not in removed}))
        tried(Path(name))


@CASES
@given(kind=st.sampled_from(list(FORMATS)), raw=st.binary(max_size=60), flips=FLIPS, cut=CUT)
def test_a_configuration_of_any_bytes(kind: str, raw: bytes, flips: list[tuple[float, int]], cut: float | None) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "layer_3"
        FORMATS[kind](folder)
        path = next(folder.glob("*.json"), folder / "config.json")
        path.write_bytes(damaged(path.read_bytes() if path.is_file() else b"{}", flips, cut) + raw * (len(raw) % 2))
        tried(Path(name))


@CASES
@given(kind=st.sampled_from(list(FORMATS)), flips=FLIPS, cut=CUT)
def test_weights_of_damaged_bytes(kind: str, flips: list[tuple[float, int]], cut: float | None) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "layer_3"
        FORMATS[kind](folder)
        path = next(path for path in folder.rglob("*") if path.suffix in (".safetensors", ".npz"))
        path.write_bytes(damaged(path.read_bytes(), flips, cut))
        tried(Path(name))


@CASES
@given(
    kind=st.sampled_from(["sparsify", "standard", "topk", "gated", "batchtopk", "gemma 3", "llama scope"]),
    header=st.dictionaries(
        st.sampled_from(["W_enc", "b_enc", "W_dec", "b_dec", "encoder.weight", "w_enc", "__metadata__", "threshold"]),
        st.fixed_dictionaries({
            "dtype": st.sampled_from(["F32", "F16", "BF16", "F64", "I8", "U8", "BOOL", "F8_E4M3", "C64", "X"]),
            "shape": st.lists(st.integers(-1, 2**40) | st.integers(0, 70), max_size=3),
            "data_offsets": st.lists(st.integers(0, 20_000), min_size=2, max_size=2),
        }) | VALUES,
        max_size=2,
    ),
    length=st.none() | st.integers(0, 2**64 - 1),
)  # fmt: skip
def test_safetensors_headers_of_any_content(kind: str, header: dict[str, Any], length: int | None) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "layer_3"
        FORMATS[kind](folder)
        path = next(folder.rglob("*.safetensors"))
        raw = path.read_bytes()
        size = int.from_bytes(raw[:8], "little")
        text = json.dumps(json.loads(raw[8 : 8 + size]) | header).encode()
        stated = len(text) if length is None else length
        path.write_bytes(stated.to_bytes(8, "little") + text + raw[8 + size :])
        tried(Path(name))


@CASES
@given(
    kind=st.sampled_from(["sparsify", "standard"]),
    name=st.sampled_from(["W_dec", "b_dec", "W_enc", "b_enc", "encoder.bias", "threshold", "W_skip", "scaling_factor"]),
    shape=st.lists(st.sampled_from([0, 1, D_MODEL, N_LATENTS]), max_size=3),
    dtype=st.sampled_from([torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.bool]),
    special=st.sampled_from([None, torch.nan, torch.inf, 1e30, 0.0]),
)  # fmt: skip
def test_tensors_of_any_shape_and_dtype(
    kind: str, name: str, shape: list[int], dtype: torch.dtype, special: float | None
) -> None:
    tensor = draw(*shape, 1, seed=1).squeeze(-1)
    tensor = (tensor if special is None else torch.full_like(tensor, special)).to(dtype)
    with tempfile.TemporaryDirectory() as folder:
        if kind == "sparsify":
            write_sparsify(Path(folder) / "layers.3", tensors={name: tensor})
        else:
            write_saelens(Path(folder) / "layers.3", tensors=weights() | {name: tensor})
        tried(Path(folder))


@CASES
@given(parts=st.lists(
    st.sampled_from(["layers.3", "layers.4", "h.3", "layer_3", "seed0", "blocks.3.hook_mlp_out", "layers.3.mlp", "a b",
                     "model.layers.3", "blocks.4.hook_resid_pre", "layers.³", "layers.99999", "[x]", "*", "resid_post"])
    | st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/"), min_size=1, max_size=9)
    .filter(lambda part: part not in (".", "..")),
    min_size=1, max_size=3,
))  # fmt: skip
def test_folders_of_any_name(parts: list[str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        write_sparsify(Path(name, *parts))
        write_saelens(Path(name, "other"), hook="blocks.5.hook_resid_post")
        tried(Path(name))


@pytest.mark.parametrize("kind", list(FORMATS))
def test_each_kind_is_read_where_nothing_is_changed(tmp_path: Path, kind: str) -> None:
    FORMATS[kind](tmp_path / "layer_3")
    assert load_saes(tmp_path, [3], d_model=D_MODEL)
