from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from feature_tracker.errors import TrackerError
from feature_tracker.sae.topk import Sae
from feature_tracker.training import train as train_module
from feature_tracker.training.train import TrainConfig, TrainingRows, train_sae

D_MODEL, N_TRUE, PER_WINDOW = 16, 24, 50


def directions() -> torch.Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.nn.functional.normalize(torch.randn(N_TRUE, D_MODEL, generator=generator), dim=1)


def sparse_resid(n: int, *, seed: int = 0) -> torch.Tensor:
    """Sums of 3 of 24 fixed directions, far from the origin."""
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.rand(n, N_TRUE, generator=generator).topk(3, dim=1).indices
    strengths = torch.zeros(n, N_TRUE).scatter(1, chosen, 1 + torch.rand(n, 3, generator=generator))
    return strengths @ directions() + 5


def with_topics(n: int, *, seed: int = 0) -> torch.Tensor:
    """Sparse rows of which every window also holds one of four further directions throughout, half as strong."""
    generator = torch.Generator().manual_seed(seed + 100)
    topics = torch.nn.functional.normalize(torch.randn(4, D_MODEL, generator=torch.Generator().manual_seed(8)), dim=1)
    of_window = torch.randint(4, (n // PER_WINDOW,), generator=generator)
    return sparse_resid(n, seed=seed) + 0.7 * topics[of_window].repeat_interleave(PER_WINDOW, dim=0)


def rows(resid: torch.Tensor) -> TrainingRows:
    return TrainingRows(resid, torch.ones(len(resid), dtype=torch.bool), PER_WINDOW)


def fvu(sae: Sae, resid: torch.Tensor) -> float:
    error = (sae.decode(sae.encode(resid)) - resid).pow(2).sum()
    return float(error / (resid - resid.mean(dim=0)).pow(2).sum())


def config(**changes) -> TrainConfig:
    return TrainConfig(**{"n_latents": 32, "k": 4, "epochs": 30, "batch": 256, "lr": 5e-3, "warmup": 20} | changes)


def test_training_explains_held_out_rows() -> None:
    sae = train_sae(rows(sparse_resid(4000)), config())
    assert fvu(sae, sparse_resid(1000, seed=1)) < 0.15
    torch.testing.assert_close(sae.decoder.norm(dim=1), torch.ones(32), rtol=1e-4, atol=1e-4)
    assert sae.selection is None


def test_scale_and_centre_of_the_stream_do_not_matter() -> None:
    resid = sparse_resid(2000)
    plain, scaled = (train_sae(rows(r), config(epochs=5)) for r in (resid, 100 * resid + 30))
    assert fvu(scaled, 100 * resid + 30) == pytest.approx(fvu(plain, resid), abs=0.02)


def test_the_seed_decides() -> None:
    resid = rows(sparse_resid(1000))
    one, same, other = (train_sae(resid, config(epochs=2, seed=seed)) for seed in (0, 0, 1))
    assert torch.equal(one.decoder, same.decoder)
    assert not torch.allclose(one.decoder, other.decoder)


def test_attention_sinks_do_not_spoil_the_others() -> None:
    resid = sparse_resid(4000)
    resid[::500] += 60
    held_out = sparse_resid(1000, seed=1)
    marked = TrainingRows.from_resid(resid, PER_WINDOW)
    assert (~marked.counted).nonzero().flatten().tolist() == list(range(0, 4000, 500))
    without_sinks = fvu(train_sae(marked, config()), held_out)
    assert without_sinks < 0.2
    assert without_sinks < fvu(train_sae(rows(resid), config()), held_out)


def slow_firing(sae: Sae, resid: torch.Tensor, latents: slice) -> float:
    """Largest share of a latent's variance that lies between windows, over some latents."""
    top = sae.encode(resid)
    acts = torch.zeros(len(resid), sae.n_latents).scatter(1, top.indices, top.values)[:, latents]
    means = acts.view(-1, PER_WINDOW, acts.shape[1]).mean(dim=1)
    return float((means.var(dim=0) / acts.var(dim=0).clamp(min=1e-9)).max())


def test_slow_latents_learn_what_a_whole_window_is_about() -> None:
    resid, held_out = rows(with_topics(8000)), with_topics(2000, seed=1)
    slow = train_sae(resid, config(n_slow=6, k=6, slow_reach=8, epochs=10))
    plain = train_sae(resid, config(k=6, epochs=10))
    assert slow_firing(slow, held_out, slice(6)) > 1.4 * slow_firing(plain, held_out, slice(None))
    assert slow.selection is not None
    torch.testing.assert_close(slow.selection[:6], torch.full((6,), 2.0), rtol=1e-3, atol=1e-3)


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("n_slow", [0, 6])
@pytest.mark.parametrize("stop", [1, 5, 23])
def test_an_interrupted_training_ends_as_if_it_had_not_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int, n_slow: int
) -> None:
    resid, options = rows(with_topics(1000)), config(epochs=6, n_slow=n_slow, slow_reach=5)
    whole = train_sae(resid, options)
    checkpoint = tmp_path / "layers.3.checkpoint"
    monkeypatch.setattr(train_module, "_CHECKPOINT_SECONDS", 0.0)
    batches = train_module._batches

    def interrupted(*arguments) -> Iterator:
        for step, batch in enumerate(batches(*arguments)):
            if step == stop:
                raise Interrupted
            yield batch

    with monkeypatch.context() as patched:
        patched.setattr(train_module, "_batches", interrupted)
        with pytest.raises(Interrupted):
            train_sae(resid, options, checkpoint=checkpoint)
    assert checkpoint.exists()
    with pytest.raises(TrackerError, match="training of something else"):
        train_sae(resid, config(epochs=7, n_slow=n_slow), checkpoint=checkpoint)
    resumed = train_sae(resid, options, checkpoint=checkpoint)
    assert torch.equal(whole.decoder, resumed.decoder)
    assert torch.equal(whole.encoder_weight, resumed.encoder_weight)
    assert not checkpoint.exists()


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "checkpoint").write_bytes(b"half a file")
    with pytest.raises(TrackerError, match="checkpoint is no checkpoint of training, or is damaged"):
        train_sae(rows(sparse_resid(500)), config(epochs=1), checkpoint=tmp_path / "checkpoint")


def test_fewer_tokens_than_a_batch_are_a_batch() -> None:
    sae = train_sae(rows(sparse_resid(100)), config(epochs=3, batch=2048))
    assert sae.decoder.isfinite().all()


@pytest.mark.parametrize(
    "change",
    [{"k": 0}, {"k": 33}, {"epochs": 0}, {"lr": 0.0}, {"decay": 0.0}, {"n_slow": 33}, {"slow_reach": 0}],
)  # fmt: skip
def test_what_cannot_be_trained_is_refused(change: dict) -> None:
    with pytest.raises(TrackerError):
        config(**change)
