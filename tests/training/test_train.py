from __future__ import annotations

import pytest
import torch

from feature_tracker.errors import TrackerError
from feature_tracker.training.train import TrainConfig, train_sae

D_MODEL, N_TRUE = 16, 24


def sparse_rows(n: int, *, seed: int = 0) -> torch.Tensor:
    """Sums of 3 of 24 fixed directions, far from the origin."""
    directions = torch.nn.functional.normalize(
        torch.randn(N_TRUE, D_MODEL, generator=torch.Generator().manual_seed(7)), dim=1
    )
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.rand(n, N_TRUE, generator=generator).topk(3, dim=1).indices
    strengths = torch.zeros(n, N_TRUE).scatter(1, chosen, 1 + torch.rand(n, 3, generator=generator))
    return strengths @ directions + 5


def fvu(sae, rows: torch.Tensor) -> float:
    error = (sae.decode(sae.encode(rows)) - rows).pow(2).sum()
    return float(error / (rows - rows.mean(dim=0)).pow(2).sum())


def config(**changes) -> TrainConfig:
    return TrainConfig(**{"n_latents": 32, "k": 4, "epochs": 30, "batch": 256, "lr": 5e-3, "warmup": 20} | changes)


def test_training_explains_held_out_rows() -> None:
    sae = train_sae(sparse_rows(4000), config())
    assert fvu(sae, sparse_rows(1000, seed=1)) < 0.15
    torch.testing.assert_close(sae.decoder.norm(dim=1), torch.ones(32), rtol=1e-4, atol=1e-4)


def test_scale_and_centre_of_the_stream_do_not_matter() -> None:
    rows = sparse_rows(2000)
    plain, scaled = (train_sae(r, config(epochs=5)) for r in (rows, 100 * rows + 30))
    assert fvu(scaled, 100 * rows + 30) == pytest.approx(fvu(plain, rows), abs=0.02)


def test_the_seed_decides() -> None:
    rows = sparse_rows(1000)
    one, same, other = (train_sae(rows, config(epochs=2, seed=seed)) for seed in (0, 0, 1))
    assert torch.equal(one.decoder, same.decoder)
    assert not torch.allclose(one.decoder, other.decoder)


def test_a_few_giant_rows_do_not_spoil_the_others() -> None:
    rows = sparse_rows(4000)
    rows[::500] += 60
    held_out = sparse_rows(1000, seed=1)
    with_giants = fvu(train_sae(rows, config()), held_out)
    unguarded = fvu(train_sae(rows, config(outlier=1e9)), held_out)
    assert with_giants < 0.3
    assert with_giants < unguarded


@pytest.mark.parametrize("change", [{"k": 0}, {"k": 33}, {"epochs": 0}, {"lr": 0.0}, {"decay": 0.0}, {"outlier": 0.0}])
def test_what_cannot_be_trained_is_refused(change: dict) -> None:
    with pytest.raises(TrackerError):
        config(**change)
