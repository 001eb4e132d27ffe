from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from feature_tracker.corpus.harvest import Harvest, continue_harvest, start_harvest
from feature_tracker.corpus.origin import Origin
from feature_tracker.model.load import LanguageModel
from feature_tracker.sae.topk import Sae
from feature_tracker.training.quality import measure_saes, quality_table
from tests.support import made_up_windows, random_sae


@pytest.fixture
def harvest(tmp_path: Path, tiny_model: LanguageModel) -> Harvest:
    windows = made_up_windows(12, 16, bos_id=tiny_model.bos_id)
    start_harvest(tmp_path, windows, Origin(layers=(1, 3), d_model=tiny_model.d_model))
    return continue_harvest(tmp_path, tiny_model)


def lossless(d_model: int) -> Sae:
    """Every direction and its opposite, all of them kept: the reconstruction is the stream."""
    both = torch.cat([torch.eye(d_model), -torch.eye(d_model)])
    return Sae(both, torch.zeros(2 * d_model), both, torch.zeros(d_model), k=2 * d_model)


def test_a_lossless_sae_explains_all_and_costs_nothing(harvest: Harvest, tiny_model: LanguageModel) -> None:
    row = measure_saes({1: lossless(tiny_model.d_model)}, harvest, tiny_model)[0]
    assert row.fvu == pytest.approx(0, abs=1e-6)
    assert row.ce_sae == pytest.approx(row.ce, abs=1e-4)
    assert row.l0 == pytest.approx(tiny_model.d_model, rel=0.01)
    assert row.tokens == 12 * 15


def test_an_sae_that_gives_the_mean_alone_recovers_nothing(harvest: Harvest, tiny_model: LanguageModel) -> None:
    mean = harvest.resid(1).float().mean(dim=0)
    silent = replace(random_sae(tiny_model.d_model), encoder_weight=torch.zeros(40, tiny_model.d_model), b_dec=mean)
    silent = replace(silent, encoder_bias=-torch.ones(40))
    row = measure_saes({1: silent}, harvest, tiny_model)[0]
    assert row.fvu == pytest.approx(1, abs=1e-4)
    assert row.ce_recovered == pytest.approx(0, abs=0.02)
    assert row.dead_share == 1
    assert row.l0 == 0


def test_fvu_and_density_agree_with_plain_arithmetic(harvest: Harvest, tiny_model: LanguageModel) -> None:
    sae = random_sae(tiny_model.d_model)
    row = measure_saes({3: sae}, harvest, tiny_model)[0]
    x = harvest.resid(3).float()
    top = sae.encode(x)
    dense = torch.zeros(len(x), 40).scatter(1, top.indices, top.values)
    assert row.fvu == pytest.approx(
        float(((dense @ sae.decoder + sae.b_dec - x) ** 2).sum() / ((x - x.mean(0)) ** 2).sum())
    )
    assert row.max_density == pytest.approx(float((dense > 0).float().mean(0).max()))
    assert row.always_on == int(((dense > 0).float().mean(0) > 0.8).sum())
    assert row.dead_share == pytest.approx(float(((dense > 0).sum(0) == 0).float().mean()))


def test_measuring_leaves_no_hook_and_the_table_has_a_row_a_layer(harvest: Harvest, tiny_model: LanguageModel) -> None:
    before = [len(block._forward_hooks) for block in tiny_model.decoder.layers]
    rows = measure_saes({1: random_sae(32), 3: random_sae(32)}, harvest, tiny_model, windows=2)
    assert [len(block._forward_hooks) for block in tiny_model.decoder.layers] == before
    assert len(quality_table(rows).splitlines()) == 4
