from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from feature_tracker.corpus.harvest import Harvest
from feature_tracker.corpus.origin import Origin
from feature_tracker.rule_labels.firings import encode_harvest
from tests.support import random_sae


@pytest.mark.parametrize("n_latents", [40, 32_768, 70_000])
def test_firings_are_what_the_sae_encodes_however_many_latents_it_has(n_latents: int, tmp_path: Path) -> None:
    sae = random_sae(8, n_latents=n_latents)
    resid = torch.randn(2 * 9, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    (tmp_path / "layers.3.bf16").write_bytes(resid.view(torch.int16).numpy().tobytes())
    harvest = Harvest(
        tmp_path, Origin(layers=(3,), d_model=8), np.zeros((2, 10), np.int32), np.array([True, False]), n_done=2
    )
    firings = encode_harvest(harvest, 3, sae)
    top = sae.encode(resid)
    assert int(top.indices.max()) > 0.9 * n_latents
    np.testing.assert_array_equal(firings.indices, top.indices.numpy())
    latent, activation = int(top.indices[5, 0]), float(top.values[5, 0])
    positions, values = firings.of(latent)
    assert values[positions == 5].tolist() == [activation]
    dense = np.zeros((18, n_latents))
    np.put_along_axis(dense, top.indices.numpy(), top.values.numpy(), axis=1)
    np.testing.assert_allclose(firings.statistics()["mean_activation"], dense.mean(axis=0), rtol=1e-5)
