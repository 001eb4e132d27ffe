from __future__ import annotations

import importlib
import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch

from feature_tracker.errors import TrackerError
from feature_tracker.model.hooks import read_residuals
from feature_tracker.model.load import LanguageModel
from feature_tracker.sae.load import load_saes
from feature_tracker.sae.topk import Sae
from tests.support import random_sae


def import_sparse_coder() -> ModuleType:
    """sparsify's encoder alone: its package's own import wants a trainer with data sets."""
    if "sparsify" in sys.modules:
        return importlib.import_module("sparsify.sparse_coder")
    found = importlib.util.find_spec("sparsify")
    if found is None:
        pytest.skip("eai-sparsify, a development dependency, is not installed")
    sys.modules["sparsify"] = importlib.util.module_from_spec(found)
    return importlib.import_module("sparsify.sparse_coder")


def naive_encode(sae: Sae, x: torch.Tensor) -> dict[int, float]:
    """sparsify's definition, one row, one latent at a time."""
    centred = x.double() - sae.b_dec.double()
    pre = [
        max(0.0, float(row.double() @ centred + bias))
        for row, bias in zip(sae.encoder_weight, sae.encoder_bias, strict=True)
    ]
    largest = sorted(range(len(pre)), key=lambda latent: -pre[latent])[: sae.k]
    return {latent: pre[latent] for latent in largest if pre[latent] > 0}


def test_encode_equals_the_definition() -> None:
    sae = random_sae(24, n_latents=50, k=7)
    resid = torch.randn(30, 24)
    top = sae.encode(resid)
    for x, values, indices in zip(resid, top.values, top.indices, strict=True):
        kept = {int(i): float(v) for i, v in zip(indices, values, strict=True) if v > 0}
        expected = naive_encode(sae, x)
        assert kept.keys() == expected.keys()
        for latent, activation in expected.items():
            assert kept[latent] == pytest.approx(activation, rel=1e-4, abs=1e-5)


def test_decode_equals_the_definition() -> None:
    sae = random_sae(24, n_latents=50, k=7)
    resid = torch.randn(5, 4, 24)
    top = sae.encode(resid)
    naive = (top.values[..., None] * sae.decoder[top.indices]).sum(dim=-2) + sae.b_dec
    torch.testing.assert_close(sae.decode(top), naive)


def uneven_sae() -> Sae:
    """Decoder rows of unit norm, but for every third one, as a file might hold them."""
    sae = random_sae(24, n_latents=50, k=7)
    norms = torch.where(torch.arange(50) % 3 == 0, 0.4, 1.0)
    return replace(sae, decoder=sae.decoder * norms[:, None], encoder_weight=sae.encoder_weight / norms[:, None])


def test_unit_decoder_rows_leave_choice_and_reconstruction_as_they_were() -> None:
    stored = uneven_sae()
    sae = stored.with_unit_decoder()
    resid = torch.randn(300, 24)
    before, top = stored.encode(resid), sae.encode(resid)
    assert torch.equal(before.indices.sort().values, top.indices.sort().values)
    torch.testing.assert_close(sae.decode(top), stored.decode(before))
    torch.testing.assert_close(sae.decoder.norm(dim=1), torch.ones(50))
    unaware = replace(sae, selection=None).encode(resid)
    assert not torch.equal(unaware.indices.sort().values, top.indices.sort().values), "the norms should matter here"


def test_an_activation_is_the_length_of_what_its_feature_adds() -> None:
    stored = uneven_sae()
    resid = torch.randn(20, 24)
    before = stored.encode(resid)
    lengths = before.values * stored.decoder.norm(dim=1)[before.indices]
    torch.testing.assert_close(stored.with_unit_decoder().encode(resid).values, lengths)


def test_weights_are_stored_as_they_were_read() -> None:
    stored = uneven_sae()
    again = stored.with_unit_decoder().as_stored()
    for name in ("encoder_weight", "encoder_bias", "decoder"):
        torch.testing.assert_close(getattr(again, name), getattr(stored, name))
    even = random_sae(24)
    assert even.with_unit_decoder() is even


def test_each_part_of_the_encoder_counts() -> None:
    """b_dec, relu and top-k: an encode without any one of them gives something else."""
    sae = random_sae(24, n_latents=50, k=30)
    resid = torch.randn(200, 24)
    top = sae.encode(resid)
    raw = torch.nn.functional.linear(resid, sae.encoder_weight, sae.encoder_bias)
    assert not torch.allclose(top.values, raw.relu().topk(30).values)
    assert (top.values == 0).any(), "the sample should reach into what relu cuts"
    assert (top.values >= 0).all()
    assert top.values.shape == (200, 30)


def test_arithmetic_is_float32_for_a_half_precision_stream() -> None:
    sae = random_sae(24)
    resid = torch.randn(10, 24).bfloat16()
    top = sae.encode(resid)
    assert top.values.dtype == torch.float32
    assert torch.equal(top.values, sae.encode(resid.float()).values)


@pytest.mark.model
def test_encode_equals_sparsify_on_the_built_in_model(
    builtin_model: LanguageModel, builtin_saes: dict[int, Sae]
) -> None:
    sparsify = import_sparse_coder()
    ids = builtin_model.tokenizer(
        "Net sales for the quarter rose 5.4% to $1,234 million, driven by higher volumes.", return_tensors="pt"
    )["input_ids"]
    resids: dict[int, torch.Tensor] = {}
    read_residuals(builtin_model.decoder, ids, list(builtin_saes), lambda layer, r: resids.__setitem__(layer, r[0]))
    for layer, sae in builtin_saes.items():
        stored = sae.as_stored()
        config = sparsify.SparseCoderConfig(num_latents=sae.n_latents, k=sae.k)
        peer = sparsify.SparseCoder(sae.d_model, config, dtype=torch.float32)
        peer.encoder.weight.data = stored.encoder_weight
        peer.encoder.bias.data = stored.encoder_bias
        peer.b_dec.data = stored.b_dec
        with torch.no_grad():
            expected = peer.encode(resids[layer].float())
        top = stored.encode(resids[layer])
        assert torch.equal(top.values, expected.top_acts)
        assert torch.equal(top.indices, expected.top_indices)
        counted = expected.top_acts * stored.decoder.norm(dim=1)[expected.top_indices]
        ours = sae.encode(resids[layer])
        assert torch.equal(ours.indices.sort(dim=-1).values, expected.top_indices.sort(dim=-1).values)
        torch.testing.assert_close(ours.values.sort(dim=-1).values, counted.sort(dim=-1).values, rtol=2e-3, atol=1e-3)


def test_groupmax_and_its_file_equal_sparsifys(tmp_path: Path) -> None:
    sparsify = import_sparse_coder()
    config = sparsify.SparseCoderConfig(num_latents=48, k=6, activation="groupmax")
    torch.manual_seed(0)
    peer = sparsify.SparseCoder(24, config, dtype=torch.float32)
    peer.encoder.bias.data.normal_(std=0.1)
    peer.b_dec.data.normal_()
    peer.save_to_disk(tmp_path / "layers.2")
    sae = load_saes(tmp_path, [2], d_model=24)[2]
    resid = torch.randn(5, 7, 24)
    with torch.no_grad():
        expected = peer.encode(resid.flatten(0, 1))
        decoded = peer.W_dec[expected.top_indices].mul(expected.top_acts[..., None]).sum(1) + peer.b_dec
    top = sae.encode(resid)
    assert torch.equal(top.values.flatten(0, 1), expected.top_acts)
    assert torch.equal(top.indices.flatten(0, 1), expected.top_indices)
    torch.testing.assert_close(sae.decode(top).flatten(0, 1), decoded)


def test_topk_of_a_file_that_sparsify_wrote_equals_sparsifys(tmp_path: Path) -> None:
    sparsify = import_sparse_coder()
    torch.manual_seed(0)
    peer = sparsify.SparseCoder(24, sparsify.SparseCoderConfig(num_latents=48, k=6), dtype=torch.float32)
    peer.encoder.bias.data.normal_(std=0.1)
    peer.b_dec.data.normal_()
    peer.save_to_disk(tmp_path / "layers.2")
    resid = torch.randn(30, 24)
    with torch.no_grad():
        expected = peer.encode(resid)
    top = load_saes(tmp_path, [2])[2].encode(resid)
    assert torch.equal(top.values, expected.top_acts)
    assert torch.equal(top.indices, expected.top_indices)


def test_open_kinds_keep_every_activation_or_refuse() -> None:
    sae = random_sae(24, n_latents=50)
    resid = torch.randn(40, 24)
    pre = sae.pre_activations(resid)
    relu = replace(sae, activation="relu", k=50)
    assert torch.equal(relu.encode(resid).values.sort().values, pre.sort().values)
    jump = replace(sae, activation="jumprelu", threshold=torch.full((50,), 2.0), k=50)
    kept = jump.encode(resid)
    assert torch.equal((kept.values > 0).sum(-1), (pre > 2.0).sum(-1))
    most = int((pre > 2.0).sum(-1).max())
    assert torch.equal(replace(jump, k=most).encode(resid).values, kept.values[:, :most])
    with pytest.raises(TrackerError, match=f"{most} of its 50 latents active"):
        replace(jump, k=most - 1).encode(resid)
