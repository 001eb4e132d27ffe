"""Ways of writing activations on a tiny model; those whose library isn't installed are skipped."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerFast

from benchmarks import caching
from benchmarks.agreement import same_features
from benchmarks.caching import Measured, check_ways, make_corpus, summarize, trace_of
from benchmarks.caching_runs import WAYS, Corpus, Task
from feature_tracker.archive.inputs import Inputs
from feature_tracker.errors import TrackerError
from feature_tracker.labels.table import latents_of
from feature_tracker.model.load import LanguageModel, load_model_folder
from feature_tracker.sae.topk import TopK
from feature_tracker.tracker import Tracker

LIBRARIES = {
    "archive": "torch",
    "sparsify_on_hooks": "sparsify",
    "delphi": "delphi",
    "saelens_on_hooks": "sae_lens",
    "saelens_bridge": "sae_lens",
    "saelens_runner": "sae_lens",
}
TEXTS = [
    "Net sales rose 5.4% from a year ago, and operating margin narrowed as freight costs rose.",
    "",
    "Up.",
    "The bank set aside more for bad loans: deposits fell, credit spreads widened, and wages grew faster than prices. "
    "Unemployment was little changed in June; the committee left its policy rate unchanged (4.25 to 4.5%).",
]


@pytest.fixture
def corpus(tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> Corpus:
    return make_corpus(TEXTS, tiny_tokenizer, tmp_path / "texts.jsonl", window=16, n_windows=8, batch_size=2)


@pytest.fixture(scope="module")
def folder(tiny_model: LanguageModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tiny")
    tiny_model.model.save_pretrained(path)
    tiny_model.tokenizer.save_pretrained(path)
    return path


def test_the_windows_of_a_corpus_are_those_of_its_documents_and_all_are_whole(
    corpus: Corpus, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    assert corpus.ids.shape == (8, 16) and [len(batch) for batch in corpus.batches] == [2, 2, 2, 2]
    assert (corpus.ids[:, 0] == tiny_tokenizer.bos_token_id).all()
    texts = [item.text or "" for item in Inputs(paths=(corpus.path,)).items()]
    assert len(texts) == 2 and all(text in TEXTS[0] + TEXTS[3] for text in texts)
    again = [tiny_tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    assert all(len(ids) % 15 == 0 for ids in again)
    assert np.concatenate(again).tolist() == corpus.ids[:, 1:].ravel().tolist()


def test_a_corpus_of_too_little_text_is_refused(tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    with pytest.raises(TrackerError, match="--tokens"):
        make_corpus(TEXTS, tiny_tokenizer, tmp_path / "texts.jsonl", window=16, n_windows=600, batch_size=2)


@pytest.mark.parametrize("name", list(WAYS))
@pytest.mark.filterwarnings("default")  # theirs
def test_each_way_writes_a_traces_features(
    name: str, corpus: Corpus, folder: Path, tiny_tracker: Tracker, tmp_path: Path
) -> None:
    if importlib.util.find_spec(LIBRARIES[name]) is None:
        pytest.skip(f"{LIBRARIES[name]} is not installed; docs/benchmarks.md says how it is")
    task = task_of(corpus, folder, tiny_tracker)
    expected, n_latents = trace_of(task), latents_of(task.saes)
    out = tmp_path / "out"
    out.mkdir()
    WAYS[name].prepare(task)(out)
    encoded = WAYS[name].read(out, task)
    assert same_features(expected, encoded, n_latents) > 0.99
    layer = max(task.saes)
    assert same_features(expected, {**encoded, layer: shifted(encoded[layer])}, n_latents) < 0.9


def task_of(corpus: Corpus, folder: Path, tracker: Tracker) -> Task:
    model = load_model_folder(folder, "float32")
    return Task(corpus, Tracker(tracker.bundle, model, tracker.saes, tracker.labels), tracker.saes, folder)


def shifted(activations: TopK | torch.Tensor) -> TopK | torch.Tensor:
    if isinstance(activations, torch.Tensor):
        return activations.roll(1, 0)
    return TopK(activations.values.roll(1, 0), activations.indices.roll(1, 0))


def test_a_way_that_fails_or_writes_other_features_is_left_out_with_the_reason(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: dict[str, Any] = {"archive": 1.0, "delphi": 0.5, "saelens_bridge": "NotImplementedError: this family"}
    monkeypatch.setattr(caching, "_in_process", lambda _function, name, *_: found[name])
    agreement, refused = check_ways(list(found), "tiny", corpus)
    assert agreement == {"archive": 1.0, "delphi": 0.5}
    assert refused["saelens_bridge"] == "NotImplementedError: this family"
    assert "50.0% of tokens" in refused["delphi"] and "archive" not in refused


def test_ratios_are_of_rounds() -> None:
    timed = {
        "archive": [Measured(2.0, 100), Measured(3.0, 100)],
        "delphi": [Measured(4.0, 400), Measured(3.0, 400)],
    }
    figures = summarize(timed, 100)
    assert figures["archive_to"] == {"delphi": 0.75} and figures["archive_to_range"] == {"delphi": [0.5, 1.0]}
    assert figures["tokens_per_s"] == {"archive": 40, "delphi": 29}
    assert figures["bytes_per_token"] == {"archive": 1, "delphi": 4}
