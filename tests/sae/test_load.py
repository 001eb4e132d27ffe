from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from feature_tracker.errors import TrackerError
from feature_tracker.sae.load import load_saes, save_sae
from feature_tracker.sae.topk import Sae
from tests.support import random_sae


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two layers, in a folder whose name has spaces as the users' has."""
    folder = tmp_path / "tiny_layers1 3_k6"
    for layer in (1, 3):
        save_sae(folder, layer, random_sae(24, seed=layer), dtype=torch.float32)
    return folder


def rewrite(folder: Path, layer: int, name: str, tensor: torch.Tensor) -> None:
    path = folder / f"layers.{layer}" / "sae.safetensors"
    save_file(load_file(path) | {name: tensor}, path)


def test_saved_sae_loads_as_it_was(folder: Path) -> None:
    loaded = load_saes(folder, [1, 3], d_model=24)
    for layer, sae in loaded.items():
        original = random_sae(24, seed=layer)
        assert sae.k == original.k
        for name in ("encoder_weight", "encoder_bias", "decoder", "b_dec"):
            assert torch.equal(getattr(sae, name), getattr(original, name))


def test_half_precision_file_gives_float32_weights(tmp_path: Path) -> None:
    save_sae(tmp_path, 1, random_sae(24))
    assert load_saes(tmp_path, [1])[1].decoder.dtype == torch.float32


def test_weight_too_large_for_half_precision_is_not_saved(tmp_path: Path) -> None:
    sae = random_sae(24)
    large = Sae(sae.encoder_weight * 1e6, sae.encoder_bias, sae.decoder, sae.b_dec, sae.k)
    with pytest.raises(TrackerError, match="float32"):
        save_sae(tmp_path, 1, large)


def test_missing_layer_is_named_with_what_was_found(folder: Path) -> None:
    with pytest.raises(TrackerError, match=r"layer 2, 5 .*found layers\.1, layers\.3"):
        load_saes(folder, [1, 2, 3, 5])


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrackerError, match=r"no layers\.N folder"):
        load_saes(tmp_path / "nowhere", [1])


def test_wrong_d_model_names_both_widths(folder: Path) -> None:
    with pytest.raises(TrackerError, match=r"24 wide, but the model's is 576"):
        load_saes(folder, [1], d_model=576)


@pytest.mark.parametrize("n_bytes", [0, 5, 200, -10])
def test_truncated_file_is_named(folder: Path, n_bytes: int) -> None:
    path = folder / "layers.3" / "sae.safetensors"
    path.write_bytes(path.read_bytes()[:n_bytes])
    with pytest.raises(TrackerError, match=r"layers\.3.*cut short"):
        load_saes(folder, [1, 3])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weight_that_is_not_finite_is_refused(folder: Path, bad: float) -> None:
    rewrite(folder, 1, "b_dec", torch.full((24,), bad))
    with pytest.raises(TrackerError, match="b_dec holds NaN"):
        load_saes(folder, [1])


def test_shapes_that_disagree_are_refused(folder: Path) -> None:
    rewrite(folder, 1, "encoder.bias", torch.zeros(7))
    with pytest.raises(TrackerError, match=r"encoder\.bias should be \(40,\), found \(7,\)"):
        load_saes(folder, [1])


def test_missing_tensor_is_named(folder: Path) -> None:
    path = folder / "layers.1" / "sae.safetensors"
    save_file({name: tensor for name, tensor in load_file(path).items() if name != "W_dec"}, path)
    with pytest.raises(TrackerError, match="lacks W_dec"):
        load_saes(folder, [1])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("transcode", True),
        ("skip_connection", True),
        ("activation", "sigmoid"),
        ("k", 41),
        ("k", "6"),
        ("k", True),
    ],
)
def test_unsupported_configuration_is_refused_by_name(folder: Path, key: str, value: object) -> None:
    path = folder / "layers.1" / "cfg.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(TrackerError, match=key):
        load_saes(folder, [1])


def test_groupmax_needs_groups_of_equal_size(folder: Path) -> None:
    path = folder / "layers.1" / "cfg.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"activation": "groupmax", "k": 6}))
    with pytest.raises(TrackerError, match="40 latents don't divide by 6"):
        load_saes(folder, [1])
    path.write_text(json.dumps(json.loads(path.read_text()) | {"k": 8}))
    assert load_saes(folder, [1])[1].activation == "groupmax"


def test_a_pickle_is_refused_by_its_name(folder: Path) -> None:
    (folder / "layers.1" / "sae.safetensors").rename(folder / "layers.1" / "sae.pt")
    with pytest.raises(TrackerError, match=r"layers\.1/sae\.pt is a pickle"):
        load_saes(folder, [1, 3])


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_is_refused_by_what_is_in_it(folder: Path, zipped: bool) -> None:
    path = folder / "layers.3" / "sae.safetensors"
    torch.save({"W_dec": torch.ones(40, 24)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(TrackerError, match=r"layers\.3/sae\.safetensors holds a pickle"):
        load_saes(folder, [1, 3])


def test_saes_move_to_a_device_whole(folder: Path) -> None:
    sae = load_saes(folder, [1])[1]
    moved = sae.to(torch.device("meta"))
    assert moved.decoder.device.type == moved.b_dec.device.type == moved.encoder_weight.device.type == "meta"
    assert (moved.k, moved.activation) == (sae.k, sae.activation)
