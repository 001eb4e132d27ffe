"""SAEs trained without BOS: windows start with the text, and its first token counts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import PreTrainedTokenizerFast

from feature_tracker.bundles.bundle import load_bundle
from feature_tracker.circuits.circuit import Node
from feature_tracker.circuits.contributions import contributions_to
from feature_tracker.circuits.measure import measured
from feature_tracker.circuits.question import WhatFeeds
from feature_tracker.circuits.streams import WindowStream
from feature_tracker.circuits.trace_back import first_level
from feature_tracker.corpus.harvest import continue_harvest, load_harvest, start_harvest
from feature_tracker.corpus.origin import Origin
from feature_tracker.corpus.words import WordReader
from feature_tracker.errors import TrackerError
from feature_tracker.feature import Feature
from feature_tracker.model.hooks import replaced_residual
from feature_tracker.model.load import LanguageModel, load_model_folder
from feature_tracker.model.next_token import next_token
from feature_tracker.sae.topk import Sae, TopK
from feature_tracker.tracing.recording import Recording, record
from feature_tracker.tracing.run import batched, run, trace_tokens
from feature_tracker.tracing.trace import Trace
from feature_tracker.tracker import Tracker
from feature_tracker.training.quality import measure_saes
from tests.support import SENTENCES, made_up_windows, random_sae

WINDOW = 16


@pytest.fixture(scope="module")
def model(tiny_model: LanguageModel) -> LanguageModel:
    return replace(tiny_model, prepend_bos=False)


@pytest.fixture(scope="module")
def tracker(tiny_tracker: Tracker, model: LanguageModel) -> Tracker:
    return replace(tiny_tracker, language_model=model)


@pytest.fixture(scope="module")
def recording(tracker: Tracker) -> Recording:
    return record(tracker.tokenize(SENTENCES), tracker.language_model, tracker.saes)


def hidden(model: LanguageModel, ids: np.ndarray) -> tuple[torch.Tensor, ...]:
    """transformers' own hidden states of the ids as they are, with nothing before them."""
    with torch.inference_mode():
        return model.decoder(torch.from_numpy(ids)[None], output_hidden_states=True, use_cache=False).hidden_states


def dense(sae: Sae, resid: torch.Tensor) -> torch.Tensor:
    top = sae.encode(resid)
    return torch.zeros(len(resid), sae.n_latents).scatter(-1, top.indices, top.values)


def test_a_trace_equals_hidden_states_of_the_bare_text(tracker: Tracker, tiny_trace: Trace) -> None:
    trace = tracker.trace(SENTENCES)
    windows = list(trace.tokens.windows())
    assert len(windows) > 3 and len(windows[-1]) < len(windows[0]) == WINDOW - 1
    for layer, sae in tracker.saes.items():
        expected = torch.cat([dense(sae, hidden(tracker.language_model, ids)[layer + 1][0]) for ids in windows])
        np.testing.assert_allclose(trace.layers[layer].dense(), expected, rtol=1e-4, atol=1e-5)
        assert not np.allclose(trace.layers[layer].dense(), tiny_trace.layers[layer].dense(), atol=0.1), "as with BOS"


def test_the_first_token_of_the_text_counts_unless_it_is_an_attention_sink(tracker: Tracker) -> None:
    trace = replace(tracker.trace(SENTENCES), attention_sink=None)
    assert trace.counted[0] == 0 and len(trace.counted) == trace.n_tokens - len(trace.tokens.window_starts) + 1
    sink = np.zeros(trace.n_tokens, bool)
    sink[0] = True
    assert 0 not in replace(trace, attention_sink=sink).counted


def test_one_token_is_a_text(tracker: Tracker) -> None:
    trace = tracker.trace("x")
    assert trace.n_tokens == 1 and trace.layers[1].values.any()


def test_short_windows_are_padded_behind(model: LanguageModel) -> None:
    windows = [np.arange(1, 4), np.arange(5, 7)]
    (batch,) = batched(windows, window=WINDOW, bos_id=model.bos_id)
    assert batch.token_ids.tolist() == [[1, 2, 3], [5, 6, 0]]
    assert (batch.lengths, batch.n_tokens, batch.first) == ([3, 2], 5, 0)


def test_words_start_with_the_first_token(model: LanguageModel) -> None:
    ids = np.asarray(model.tokenizer(SENTENCES, add_special_tokens=False)["input_ids"])
    with_bos, without = (
        WordReader(model.tokenizer).read(next(batched([ids], window=1000, bos_id=bos)), [0]) for bos in (0, None)
    )
    np.testing.assert_array_equal(with_bos.words, without.words)


def test_the_next_token_is_that_after_the_bare_text(tracker: Tracker) -> None:
    tokens = tracker.tokenize(SENTENCES[:40])
    last = torch.from_numpy(tokens.ids[tokens.window_starts[-1] :])[None]
    with torch.inference_mode():
        logits = tracker.language_model.model(last).logits[0, -1]
    assert next_token(tracker.language_model, tokens).id == int(logits.argmax())


def test_a_harvest_holds_the_streams_of_bare_windows_and_gives_them_back(tmp_path: Path, model: LanguageModel) -> None:
    windows = made_up_windows(6, WINDOW)
    start_harvest(tmp_path, windows, Origin(layers=(1, 3), d_model=model.d_model))
    harvest = continue_harvest(tmp_path, model, tokens=2 * WINDOW)
    for row, ids in enumerate(windows.token_ids[:, 1:].astype(np.int64)):
        stored = harvest.resid(3).view(6, WINDOW - 1, -1)[row].float()
        torch.testing.assert_close(stored, hidden(model, ids)[4][0], rtol=2e-2, atol=2e-2)
    ids = load_harvest(tmp_path).token_ids[:, 1:].astype(np.int64)
    encoded = []
    batches = batched(ids, window=WINDOW, bos_id=None)
    saes = {3: random_sae(model.d_model)}
    list(run(batches, model, [3], saes=saes, forward=harvest.forward, activation_sinks=[lambda *a: encoded.append(a)]))
    assert sum(len(part.values) for _, part, _ in encoded) == 6 * (WINDOW - 1)
    (row,) = measure_saes(saes, harvest, model, windows=6)
    with torch.inference_mode():
        logits = model.model(torch.from_numpy(ids)).logits[:, :-1].flatten(0, 1)
    expected = torch.nn.functional.cross_entropy(logits, torch.from_numpy(ids)[:, 1:].flatten())
    assert row.baseline.ce == pytest.approx(float(expected), rel=1e-4)


def strongest(recording: Recording, layer: int, n: int) -> list[Feature]:
    totals = recording.trace.layers[layer].dense()[recording.trace.counted].sum(axis=0)
    return [Feature(layer, int(index)) for index in np.argsort(-totals)[:n]]


def effects(recording: Recording, source: Feature, targets: list[Feature]) -> np.ndarray:
    level = first_level(recording, question := WhatFeeds(tuple(targets)))
    node = Node(len(targets), source.layer, "features", (source,), (), 0.0, 0.0)
    ((_, lost),) = measured(recording, question, [node], level.nodes)
    return lost


def test_an_effect_equals_the_whole_models(recording: Recording, model: LanguageModel) -> None:
    source, targets = strongest(recording, 1, 1)[0], strongest(recording, 3, 3)
    lost = effects(recording, source, targets)
    assert np.abs(lost).max() > 0.01
    np.testing.assert_allclose(lost, whole_effects(recording, model, source, targets), rtol=1e-3, atol=1e-3)


def whole_effects(recording: Recording, model: LanguageModel, source: Feature, targets: list[Feature]) -> np.ndarray:
    sae, lost = recording.saes[source.layer], np.zeros(len(targets))
    counted = np.zeros(recording.trace.n_tokens, dtype=bool)
    counted[recording.trace.counted] = True
    for window, ids in enumerate(recording.trace.tokens.windows()):
        counts = torch.from_numpy(counted[recording.tokens_of(window)])

        def take_out(resid: torch.Tensor, counts: torch.Tensor = counts) -> torch.Tensor:
            top = sae.encode(resid)
            only = TopK(torch.where((top.indices == source.index) & counts[None, :, None], top.values, 0), top.indices)
            return resid - (sae.decode(only, resid) - sae.offset(resid))

        ids = ids if model.bos_id is None else np.concatenate([[model.bos_id], ids])
        clean = hidden(model, ids)
        with replaced_residual(model.decoder, source.layer, take_out, first=model.first_token):
            changed = hidden(model, ids)
        for number, target in enumerate(targets):
            for states, sign in ((clean, 1), (changed, -1)):
                acts = dense(recording.saes[target.layer], states[target.layer + 1][0, model.first_token :])
                lost[number] += sign * float(acts[counts, target.index].sum())
    return lost


@pytest.mark.parametrize("prepend_bos", [True, False])
@pytest.mark.parametrize(
    "changes",
    [
        {"normalization": "layer_norm"},
        {"normalization": "unit_norm"},
        {"activation": "jumprelu", "threshold": torch.full((40,), 0.05), "k": 40},
        {"activation": "relu", "k": 40, "normalization": "layer_norm"},
    ],
    ids=["layer_norm", "unit_norm", "jumprelu", "relu"],
)
def test_circuits_of_other_kinds_of_sae_are_exact(
    tiny_tracker: Tracker, prepend_bos: bool, changes: dict[str, object]
) -> None:
    model = replace(tiny_tracker.language_model, prepend_bos=prepend_bos)
    saes = {layer: replace(sae, **changes) for layer, sae in tiny_tracker.saes.items()}
    recording = record(tiny_tracker.tokenize(SENTENCES), model, saes)
    source, targets = strongest(recording, 1, 1)[0], strongest(recording, 3, 3)
    lost = effects(recording, source, targets)
    assert np.abs(lost).max() > 1e-3
    np.testing.assert_allclose(lost, whole_effects(recording, model, source, targets), rtol=1e-3, atol=2e-3)
    level = first_level(recording, question := WhatFeeds((strongest(recording, 4, 1)[0],)))
    contributions = contributions_to(recording, question, level.nodes, level.weights, 3)
    from_features = from_error = 0.0
    for number, weights in level.weights.items():
        stream, deeper = WindowStream(recording, number, 3), WindowStream(recording, number, 4)
        start = stream.resid[None].clone().requires_grad_()
        pre = saes[4].pre_activations(recording.windows[number].run(3, start, [4])[4][0])
        value = (pre * (deeper.activations > 0) * weights).sum()
        gradient = torch.autograd.grad(value, start)[0][0]
        from_features += float((gradient * stream.decoded(stream.activations)).sum())
        from_error += float((gradient * stream.error).sum())
    assert contributions.signed.sum() == pytest.approx(from_features, rel=1e-3, abs=1e-3)
    assert contributions.error.sum() == pytest.approx(from_error, rel=1e-3, abs=1e-3)


def write_bundle(folder: Path, model: LanguageModel, *, prepend_bos: bool | None, line: str = "") -> Path:
    """A model folder, SAELens's SAEs of it, and a TOML file."""
    model.model.save_pretrained(folder / "model")
    model.tokenizer.save_pretrained(folder / "model")
    for layer in (1, 3):
        sae, place = random_sae(model.d_model, seed=layer), folder / "saes" / f"layers.{layer}"
        place.mkdir(parents=True)
        tensors = {"W_enc": sae.encoder_weight.T, "b_enc": sae.encoder_bias, "W_dec": sae.decoder, "b_dec": sae.b_dec}
        save_file({name: part.contiguous() for name, part in tensors.items()}, place / "sae_weights.safetensors")
        metadata = {"hook_name": f"blocks.{layer}.hook_resid_post", "prepend_bos": prepend_bos}
        (place / "cfg.json").write_text(json.dumps({"architecture": "topk", "k": sae.k, "metadata": metadata}))
    path = folder / "mine.toml"
    path.write_text(
        f'title = "Mine"\nlayers = [1, 3]\nwindow = {WINDOW}\nmax_tokens = 500\ndtype = "float32"\n'
        f'sae_folder = "saes"\nlabels = "labels.csv"\n{line}\n[model]\nfolder = "model"\n'
    )
    return path


@pytest.mark.parametrize(("in_file", "line"), [(False, ""), (None, "prepend_bos = false")])
def test_a_bundle_without_bos_opens_so_and_stays_so(
    tmp_path: Path, tiny_model: LanguageModel, in_file: bool | None, line: str
) -> None:
    path = write_bundle(tmp_path, tiny_model, prepend_bos=in_file, line=line)
    tracker = Tracker.open(load_bundle(str(path)))
    assert tracker.language_model.bos_id is None and tracker.exact_model().bos_id is None
    assert tracker.bundle.prepend_bos is False
    assert tracker.sae_notes == ["The SAEs were trained without BOS, so windows start with the text."]
    assert "without BOS" in str(Origin.from_bundle(tracker.bundle, 32).model)
    trace = tracker.trace(SENTENCES[:30])
    expected = dense(tracker.saes[3], hidden(tiny_model, trace.tokens.ids)[4][0])
    np.testing.assert_allclose(trace.layers[3].dense(), expected, rtol=1e-4, atol=1e-5)
    files = tracker.circuit_files(tracker.circuit(SENTENCES[:30]))
    (graph,) = (
        json.loads(content) for name, content in files.items() if name.endswith(".json") and b"schema" in content
    )
    assert graph["metadata"]["prompt_tokens"] == trace.token_texts


def test_a_tokenizer_without_bos_will_do_where_none_is_wanted(tmp_path: Path, tiny_model: LanguageModel) -> None:
    tiny_model.model.save_pretrained(tmp_path)
    backend = getattr(tiny_model.tokenizer, "backend_tokenizer")  # noqa: B009  # pyright knows it on fast ones only
    PreTrainedTokenizerFast(tokenizer_object=backend).save_pretrained(tmp_path)
    with pytest.raises(TrackerError, match=r"prepend_bos = false above \[model\]"):
        load_model_folder(tmp_path, "float32")
    model = load_model_folder(tmp_path, "float32", prepend_bos=False)
    assert model.bos_id is None
    (batch,) = batched([np.arange(1, 5)], window=WINDOW, bos_id=model.bos_id)
    assert WordReader(model.tokenizer).read(batch, [0]).words.shape == (4,)


def test_tracing_is_the_same_in_one_window_and_in_a_batch(tracker: Tracker) -> None:
    tokens = tracker.tokenize(SENTENCES)
    whole = trace_tokens(tokens, tracker.language_model, tracker.saes)
    for layer, layer_trace in record(tokens, tracker.language_model, tracker.saes).trace.layers.items():
        np.testing.assert_allclose(layer_trace.dense(), whole.layers[layer].dense(), rtol=1e-4, atol=1e-5)
