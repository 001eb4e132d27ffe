from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from feature_tracker.corpus.documents import Windows
from feature_tracker.corpus.harvest import Harvest, continue_harvest, start_harvest
from feature_tracker.corpus.origin import Origin
from feature_tracker.model.load import LanguageModel
from feature_tracker.sae.topk import Sae
from feature_tracker.training.latents import document_share, seed_match
from feature_tracker.training.quality import measure_saes, quality_table, save_quality
from tests.support import random_sae


@pytest.fixture
def harvest(tmp_path: Path, tiny_model: LanguageModel) -> Harvest:
    token_ids = np.random.default_rng(0).integers(1, 300, (12, 32)).astype(np.int32)
    token_ids[:, 0] = tiny_model.bos_id
    windows = Windows(
        token_ids, np.ones(12, bool), np.arange(12, dtype=np.int32) // 3, np.arange(12, dtype=np.int32) // 6, ("a", "b")
    )
    start_harvest(tmp_path, windows, Origin(layers=(1, 3), d_model=tiny_model.d_model))
    return continue_harvest(tmp_path, tiny_model)


def lossless(d_model: int) -> Sae:
    """Every direction and its opposite, all of them kept: the reconstruction is the stream."""
    both = torch.cat([torch.eye(d_model), -torch.eye(d_model)])
    return Sae(both, torch.zeros(2 * d_model), both, torch.zeros(d_model), k=2 * d_model)


def test_a_lossless_sae_explains_all_and_costs_nothing(harvest: Harvest, tiny_model: LanguageModel) -> None:
    row = measure_saes({1: lossless(tiny_model.d_model)}, harvest, tiny_model)[0]
    for figures in (row.with_sinks, row.without_sinks):
        assert figures.fvu == pytest.approx(0, abs=1e-6)
        assert figures.ce_sae == pytest.approx(row.baseline.ce, abs=1e-4)
        assert figures.l0 == pytest.approx(tiny_model.d_model, rel=0.01)
    assert row.with_sinks.tokens == 12 * 31


def test_an_sae_that_gives_the_mean_alone_recovers_nothing(harvest: Harvest, tiny_model: LanguageModel) -> None:
    mean = harvest.resid(1).float().mean(dim=0)
    silent = replace(random_sae(tiny_model.d_model), encoder_weight=torch.zeros(40, tiny_model.d_model), b_dec=mean)
    silent = replace(silent, encoder_bias=-torch.ones(40))
    row = measure_saes({1: silent}, harvest, tiny_model)[0].with_sinks
    assert row.fvu == pytest.approx(1, abs=1e-4)
    assert row.ce_recovered == pytest.approx(0, abs=0.02)
    assert row.dead_share == 1
    assert row.l0 == 0


def test_fvu_and_density_agree_with_plain_arithmetic_with_and_without_sinks(
    harvest: Harvest, tiny_model: LanguageModel
) -> None:
    stored = np.fromfile(harvest.folder / "layers.3.bf16", np.int16).reshape(-1, tiny_model.d_model)
    giant = torch.from_numpy(stored[5:6].copy()).view(torch.bfloat16).mul(8)
    stored[5:6] = giant.view(torch.int16).numpy()
    stored.tofile(harvest.folder / "layers.3.bf16")
    sae = random_sae(tiny_model.d_model)
    row = measure_saes({3: sae}, harvest, tiny_model)[0]
    everything = harvest.resid(3).float()
    for figures, x in (
        (row.with_sinks, everything),
        (row.without_sinks, torch.cat([everything[:5], everything[6:]])),
    ):
        top = sae.encode(x)
        dense = torch.zeros(len(x), 40).scatter(1, top.indices, top.values)
        assert figures.tokens == len(x)
        assert figures.fvu == pytest.approx(
            float(((dense @ sae.decoder + sae.b_dec - x) ** 2).sum() / ((x - x.mean(0)) ** 2).sum()), rel=1e-4
        )
        assert figures.max_density == pytest.approx(float((dense > 0).float().mean(0).max()))
        assert figures.always_on == int(((dense > 0).float().mean(0) > 0.8).sum())
        assert figures.dead_share == pytest.approx(float(((dense > 0).sum(0) == 0).float().mean()))


def test_another_seed_s_directions_match_in_any_order_and_length() -> None:
    sae = random_sae(24)
    shuffled = replace(sae, decoder=3 * sae.decoder[torch.randperm(40)])
    np.testing.assert_allclose(seed_match(sae, shuffled), 1, rtol=1e-5)
    assert (seed_match(sae, random_sae(24, seed=1)) < 0.95).all()


def test_document_share_is_that_of_the_variance_between_documents() -> None:
    """Four sources of 30 documents of 5 passages; documents differ with variance 4, passages with variance 1."""
    generator = np.random.default_rng(0)
    document = np.repeat(np.arange(120), 5)
    source = document // 30
    between = 2 * generator.normal(size=(120, 2))[document]
    passages = 100.0 * source[:, None] + generator.normal(size=(600, 2)) + between * [1, 0]
    share = document_share(passages, document, source)
    assert share[0] == pytest.approx(0.8, abs=0.06), "sources differ far more than documents, and must not count"
    assert share[1] == pytest.approx(0, abs=0.06)


def test_document_share_is_unknown_without_documents_of_several_passages() -> None:
    assert np.isnan(document_share(np.ones((3, 2)), np.arange(3), np.zeros(3, int))).all()
    assert np.isnan(document_share(np.ones((4, 2)), np.zeros(4, int), np.zeros(4, int))).all()


def test_measuring_leaves_no_hook_and_writes_a_record_a_layer(
    harvest: Harvest, tiny_model: LanguageModel, tmp_path: Path
) -> None:
    before = [len(block._forward_hooks) for block in tiny_model.decoder.layers]
    saes = {1: random_sae(32), 3: random_sae(32)}
    rows = measure_saes(saes, harvest, tiny_model, twins=saes, windows=2)
    assert [len(block._forward_hooks) for block in tiny_model.decoder.layers] == before
    assert len(quality_table(rows).splitlines()) == 4
    save_quality(tmp_path / "quality.json", rows)
    records = json.loads((tmp_path / "quality.json").read_text())
    assert [record["layer"] for record in records] == [1, 3]
    assert records[0]["latents"]["seed_match"] == pytest.approx([1.0] * 40)
