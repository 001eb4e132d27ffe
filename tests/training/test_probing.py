from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from feature_tracker.model.load import LanguageModel
from feature_tracker.sae.topk import Sae
from feature_tracker.tracing import attention_sinks as sinks
from feature_tracker.training.probe_texts import LabelledTexts
from feature_tracker.training.probing import (
    KS,
    STREAM,
    ProbeScore,
    mean_activations,
    most_different,
    probe_auc,
    probe_saes,
    probe_table,
)
from tests.support import SENTENCES, random_sae

WINDOW = 24
RATES = ["bank", "policy", "rate", "quarter", "inflation", "target", "credit", "spreads"]
SALES = ["net", "sales", "million", "operating", "margin", "company", "repaid", "loan"]


def planted(n: int, *, shuffled: bool = False) -> LabelledTexts:
    """Texts of two vocabularies and of many lengths; with shuffled answers these say nothing of the text."""
    generator = np.random.default_rng(0)
    positive = np.arange(n) % 2 == 0
    texts = [" ".join(generator.choice(RATES if yes else SALES, generator.integers(1, 9))) for yes in positive]
    train = np.arange(n) % 4 < 2
    if shuffled:
        positive = generator.permutation(positive)
    return LabelledTexts("planted", tuple(texts), positive, train)


def one_by_one(texts: Sequence[str], model: LanguageModel, sae: Sae, layer: int) -> tuple[np.ndarray, np.ndarray]:
    """Means of stream and latents, each text alone in the model."""
    resids, latents = [], []
    for text in texts:
        ids = [model.bos_id, *model.tokenizer(text, add_special_tokens=False)["input_ids"]][:WINDOW]
        with torch.inference_mode():
            hidden = model.model(torch.tensor([ids]), output_hidden_states=True).hidden_states[layer + 1][0, 1:]
        hidden = hidden[~sinks.attention_sinks(hidden)]
        top = sae.encode(hidden)
        resids.append(hidden.mean(0))
        latents.append(torch.zeros(len(hidden), sae.n_latents).scatter(1, top.indices, top.values).mean(0))
    return torch.stack(resids).numpy(), torch.stack(latents).numpy()


@pytest.mark.parametrize("ratio", [sinks.SINK_RATIO, 1.1])
def test_every_row_is_its_own_texts(
    tiny_model: LanguageModel, tiny_saes: dict[int, Sae], monkeypatch: pytest.MonkeyPatch, ratio: float
) -> None:
    """Whatever the lengths: one token, whole windows and longer ones among short ones, in many batches."""
    monkeypatch.setattr(sinks, "SINK_RATIO", ratio)
    generator = np.random.default_rng(0)
    words = (SENTENCES * 3).split()
    starts, lengths = generator.integers(0, 60, 300), generator.integers(1, 40, 300)
    texts = [" ".join(words[start : start + length]) for start, length in zip(starts, lengths, strict=True)]
    texts += ["a", *texts[:1]]
    n_tokens = [len(tiny_model.tokenizer(text)["input_ids"]) for text in texts]
    assert min(n_tokens) == 1 and {WINDOW - 2, WINDOW - 1, WINDOW} < set(n_tokens)

    means = mean_activations(texts, tiny_model, {"random": tiny_saes}, window=WINDOW)
    for layer in (1, 4):
        resids, latents = one_by_one(texts, tiny_model, tiny_saes[layer], layer)
        np.testing.assert_allclose(means[layer, STREAM], resids, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(means[layer, "random"], latents, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_what_texts_are_about_is_found_and_chance_is_not(tiny_model: LanguageModel, tiny_saes: dict[int, Sae]) -> None:
    sets = {"random": {1: tiny_saes[1]}}
    told = {(s.source, s.k): s.auc for s in probe_saes(tiny_model, sets, [planted(200)], window=WINDOW)}
    assert set(told) == {(source, k) for source in (STREAM, "random") for k in KS}
    for source in (STREAM, "random"):
        assert told[source, 16] > 0.95 and told[source, None] > 0.95
        assert told[source, 1] > 0.75
    for score in probe_saes(tiny_model, sets, [planted(200, shuffled=True)], window=WINDOW):
        assert 0.35 < score.auc < 0.65
        assert score.n_train == score.n_test == 100


def test_the_model_runs_once_however_many_sets_are_compared(
    tiny_model: LanguageModel, tiny_saes: dict[int, Sae]
) -> None:
    forwards = []
    handle = tiny_model.decoder.register_forward_pre_hook(lambda *_: forwards.append(1))
    sets = {"old": {1: tiny_saes[1], 3: tiny_saes[3]}, "new": {1: random_sae(32, n_latents=60)}}
    try:
        means = mean_activations(planted(8).texts, tiny_model, sets, window=WINDOW)
    finally:
        handle.remove()
    assert len(forwards) == 1
    shapes = {key: rows.shape for key, rows in means.items()}
    streams = {(layer, STREAM): (8, 32) for layer in (1, 3)}
    assert shapes == streams | {(1, "old"): (8, 40), (3, "old"): (8, 40), (1, "new"): (8, 60)}


def test_columns_come_by_difference_in_deviations_and_constant_ones_last() -> None:
    generator = np.random.default_rng(0)
    positive = np.arange(100) < 50
    rows = generator.normal(size=(100, 4)).astype(np.float32)
    rows[:, 0] = 100 * rows[:, 0] + 30 * positive  # the largest difference, but not in deviations
    rows[:, 1] = 7
    rows[:, 2] += 2 * positive
    assert most_different(rows, positive)[[0, -1]].tolist() == [2, 1]


def test_the_scored_half_takes_no_part_in_the_fit() -> None:
    """A column that gives the answers away in the scored half alone is not found."""
    generator = np.random.default_rng(0)
    task = planted(400, shuffled=True)
    rows = generator.normal(size=(400, 5)).astype(np.float32)
    rows[~task.train, 3] = 10 * task.positive[~task.train]
    rows[task.train, 2] += 2 * task.positive[task.train]
    assert probe_auc(rows, task, 1) == pytest.approx(0.5, abs=0.1)


def test_tables_give_means_over_tasks_and_over_layers() -> None:
    scores = [
        ProbeScore(layer, source, k, task, auc, 100, 100)
        for layer, source, k, task, auc in [
            (1, STREAM, 1, "a", 0.6), (1, "new", 1, "a", 0.8), (3, STREAM, 1, "a", 0.7), (3, "new", 1, "a", 0.9),
            (1, STREAM, None, "b", 1.0), (1, STREAM, 1, "b", 0.5),
        ]
    ]  # fmt: skip
    by_layer = probe_table(scores, "layer").splitlines()
    assert by_layer[0] == "| layer | stream, k = 1 | new, k = 1 | stream, all |"
    assert by_layer[2] == "| 1 | 0.550 | 0.800 | 1.000 |"
    assert probe_table(scores, "task").splitlines()[2] == "| a | 0.650 | 0.850 | – |"
