"""Peers against a trace on a tiny model; those whose library isn't installed are skipped."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from benchmarks.agreement import same_features
from benchmarks.peer_runs import PEERS, Task
from benchmarks.peers import check_peers, row_of, sample_text, summarize, traced_features
from feature_tracker.bundles.bundle import load_bundle
from feature_tracker.errors import TrackerError
from feature_tracker.labels.table import latents_of, unlabelled_table
from feature_tracker.model.load import LanguageModel, load_model_folder
from feature_tracker.sae.topk import Sae, TopK
from feature_tracker.tracker import Tracker

LIBRARIES = {
    "usual_way": "torch",
    "sparsify_on_hooks": "sparsify",
    "nnsight_full": "nnsight",
    "nnsight_stopped": "nnsight",
    "lens_with_saelens": "sae_lens",
}


def top(values: list[list[float]], indices: list[list[int]]) -> TopK:
    return TopK(torch.tensor(values), torch.tensor(indices))


def test_agreement_is_of_sets_and_ignores_order_and_what_is_zero() -> None:
    expected = {3: top([[2.0, 1.0], [2.0, 0.0]], [[4, 1], [0, 2]])}
    assert same_features(expected, {3: top([[1.0, 2.0], [2.0, 0.0]], [[1, 4], [0, 3]])}, {3: 5}) == 1
    assert same_features(expected, {3: top([[1.0, 2.0], [2.0, 0.5]], [[1, 4], [0, 3]])}, {3: 5}) == 0.5
    dense = torch.tensor([[[0, 1.0, 0, 0, 2.0], [0, 2.0, 0, 0, 0]]])
    assert same_features(expected, {3: dense}, {3: 5}) == 0.5


def test_agreement_refuses_other_tokens_and_other_layers() -> None:
    expected = {3: top([[2.0], [2.0]], [[4], [1]])}
    with pytest.raises(TrackerError, match="Expected 2 tokens, found 1"):
        same_features(expected, {3: top([[2.0]], [[4]])}, {3: 5})
    with pytest.raises(TrackerError, match="Expected layers"):
        same_features(expected, {2: expected[3]}, {3: 5})


@pytest.fixture(scope="module")
def folder(tiny_model: LanguageModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tiny")
    tiny_model.model.save_pretrained(path)
    tiny_model.tokenizer.save_pretrained(path)
    return path


@pytest.mark.parametrize("name", list(PEERS))
def test_each_peer_finds_a_traces_features(
    name: str, folder: Path, tiny_saes: dict[int, Sae], tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    if importlib.util.find_spec(LIBRARIES[name]) is None:
        pytest.skip(f"{LIBRARIES[name]} is not installed; requirements-peers.txt brings it")
    model = load_model_folder(folder, "float32")
    text = sample_text(model, 200)
    expected = traced_features(text, model, tiny_saes)
    encoded = PEERS[name](Task(row_of(text, model), tiny_saes, load_model_folder(folder, "float32"), folder))()
    assert same_features(expected, encoded, {layer: sae.n_latents for layer, sae in tiny_saes.items()}) > 0.99


@pytest.mark.model
def test_a_peer_that_finds_other_features_or_fails_is_left_out_with_the_reason(
    builtin_model: LanguageModel, builtin_saes: dict[int, Sae]
) -> None:
    tracker = Tracker(load_bundle(), builtin_model, builtin_saes, unlabelled_table(latents_of(builtin_saes)))

    def shifted(task: Task):
        tops = {layer: top for layer, top in PEERS["usual_way"](task)().items() if isinstance(top, TopK)}
        return lambda: {layer: TopK(top.values, (top.indices + 1) % 400) for layer, top in tops.items()}

    def failing(_task: Task):
        raise NotImplementedError("this family\nisn't taken")

    peers = {"usual_way": PEERS["usual_way"], "shifted": shifted, "failing": failing}
    agreement, refused = check_peers(peers, tracker, Path("unused"), tokens=64)
    assert agreement["usual_way"] > 0.99 and "usual_way" not in refused
    assert "0.0% of tokens" in refused["shifted"]
    assert refused["failing"] == "NotImplementedError: this family"


def test_the_fastest_peer_is_no_bare_forward_and_ratios_are_of_rounds() -> None:
    timed = {"bare_forward": [1.0, 9.0], "trace": [2.0, 2.0], "usual_way": [4.0, 8.0], "nnsight_full": [2.5, 2.5]}
    figures = summarize(timed)
    assert figures["fastest_peer"] == "nnsight_full"
    assert figures["trace_to"] == {"bare_forward": 1.111, "usual_way": 0.375, "nnsight_full": 0.8}
    assert summarize({"bare_forward": [1.0], "trace": [2.0]})["fastest_peer"] is None
