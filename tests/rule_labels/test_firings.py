from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch

from feature_tracker.rule_labels.firings import encode_harvest, feature_statistics
from feature_tracker.training.harvest import Harvest
from tests.support import random_sae


@pytest.mark.parametrize("n_latents", [40, 32_768, 70_000])
def test_firings_are_what_the_sae_encodes_however_many_latents_it_has(n_latents: int) -> None:
    sae = random_sae(8, n_latents=n_latents)
    resid = torch.randn(2 * 9, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    harvest = SimpleNamespace(
        token_ids=np.zeros((2, 10), np.int32), finance=np.array([True, False]), n_done=2, resid=lambda _layer: resid
    )
    firings = encode_harvest(cast(Harvest, harvest), 3, sae)
    top = sae.encode(resid)
    assert int(top.indices.max()) > 0.9 * n_latents
    np.testing.assert_array_equal(firings.indices, top.indices.numpy())
    latent, activation = int(top.indices[5, 0]), float(top.values[5, 0])
    positions, values = firings.of(latent)
    assert values[positions == 5].tolist() == [activation]
    dense = np.zeros((18, n_latents))
    np.put_along_axis(dense, top.indices.numpy(), top.values.numpy(), axis=1)
    np.testing.assert_allclose(feature_statistics(firings)["mean_activation"], dense.mean(axis=0), rtol=1e-5)
