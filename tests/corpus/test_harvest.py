from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from feature_tracker.bundles.bundle import Bundle
from feature_tracker.corpus.documents import whole_windows
from feature_tracker.corpus.harvest import collect_split, continue_harvest, load_harvest, start_harvest
from feature_tracker.corpus.origin import Origin
from feature_tracker.errors import TrackerError
from feature_tracker.model.load import LanguageModel
from feature_tracker.tracing.run import Encoded, batched, run
from tests.support import SENTENCES, made_up_windows, random_sae

N_WINDOWS, WINDOW = 10, 12
BATCH_TOKENS = 4 * WINDOW


class CutOff(Exception):
    """Stands for anything that ends a run before its time."""


@pytest.fixture
def folder(tmp_path: Path, tiny_model: LanguageModel) -> Path:
    start(tmp_path / "train", tiny_model)
    return tmp_path / "train"


def start(folder: Path, model: LanguageModel) -> None:
    windows = made_up_windows(N_WINDOWS, WINDOW, bos_id=model.bos_id)
    start_harvest(folder, windows, Origin(layers=(1, 3), d_model=model.d_model))


def layer_files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.bf16"))}


def expected_rows(folder: Path, model: LanguageModel, layer: int) -> torch.Tensor:
    ids = torch.from_numpy(load_harvest(folder).token_ids.astype(np.int64))
    with torch.inference_mode():
        hidden = model.decoder(input_ids=ids, output_hidden_states=True, use_cache=False).hidden_states
    return hidden[layer + 1][:, 1:].flatten(0, 1)


def test_rows_are_the_residual_stream_in_window_order_without_bos(folder: Path, tiny_model: LanguageModel) -> None:
    harvest = continue_harvest(folder, tiny_model, tokens=BATCH_TOKENS)
    assert harvest.n_tokens == 10 * 11
    for layer in harvest.origin.layers:
        torch.testing.assert_close(
            harvest.resid(layer).float(), expected_rows(folder, tiny_model, layer), rtol=2e-2, atol=2e-2
        )


def test_a_harvest_keeps_where_its_windows_come_from(folder: Path, tiny_model: LanguageModel) -> None:
    stored, expected = load_harvest(folder).windows, made_up_windows(N_WINDOWS, WINDOW, bos_id=tiny_model.bos_id)
    for array, expected_array in zip(stored[:-1], expected[:-1], strict=True):
        np.testing.assert_array_equal(array, expected_array)
    assert stored.sources == ("even", "odd")


def test_a_run_reads_streams_from_disk_and_leaves_the_model_alone(folder: Path, tiny_model: LanguageModel) -> None:
    harvest = continue_harvest(folder, tiny_model)
    chosen = [7, 2, 5, 0]
    read: dict[int, list[torch.Tensor]] = {1: [], 3: []}
    encoded: dict[int, list[Encoded]] = {1: [], 3: []}
    batches = batched(harvest.token_ids[chosen, 1:], window=WINDOW, bos_id=tiny_model.bos_id, tokens=2 * WINDOW)
    handle = tiny_model.decoder.register_forward_pre_hook(lambda *_: pytest.fail("ran the model"))
    saes = {layer: random_sae(tiny_model.d_model, seed=layer) for layer in read}
    try:
        ran = run(
            batches, tiny_model, [1, 3], saes=saes, forward=harvest.forward,
            stream_sinks=[lambda layer, resid, _batch: read[layer].append(resid)],
            activation_sinks=[lambda layer, part, _batch: encoded[layer].append(part)],
        )  # fmt: skip
        assert sum(batch.n_windows for batch in ran) == 4
    finally:
        handle.remove()
    for layer, sae in saes.items():
        resid = torch.cat(read[layer])
        assert resid.dtype == torch.bfloat16
        assert not resid[:, 0].any()
        expected = harvest.resid(layer).view(N_WINDOWS, WINDOW - 1, -1)[chosen]
        assert torch.equal(resid[:, 1:], expected)
        assert torch.equal(
            torch.cat([part.values for part in encoded[layer]]), sae.encode(expected).values.flatten(0, 1)
        )


def test_text_that_a_harvest_does_not_hold_is_refused(folder: Path, tiny_model: LanguageModel) -> None:
    harvest = continue_harvest(folder, tiny_model)
    other, shorter = harvest.token_ids[:2].copy(), harvest.token_ids[:2, :-1]
    other[1, 3] += 1
    for token_ids in (other, shorter):
        with pytest.raises(TrackerError, match="train does not hold the activations of this text"):
            harvest.forward(tiny_model.decoder, torch.from_numpy(token_ids).long(), [1], lambda *_: None)


def test_an_interrupted_harvest_goes_on_where_it_stood(folder: Path, tiny_model: LanguageModel) -> None:
    calls = 0

    def cut_off(_module: torch.nn.Module, _args: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise CutOff

    handle = tiny_model.decoder.layers[2].register_forward_pre_hook(cut_off)
    with pytest.raises(CutOff):
        continue_harvest(folder, tiny_model, tokens=BATCH_TOKENS)
    handle.remove()
    assert load_harvest(folder).n_done == 8
    harvest = continue_harvest(folder, tiny_model, tokens=BATCH_TOKENS)
    assert harvest.n_done == 10
    torch.testing.assert_close(harvest.resid(3).float(), expected_rows(folder, tiny_model, 3), rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("n_recorded", [0, 4, 8, 10])
@pytest.mark.parametrize(
    ("in_first", "in_second"),
    [(0, 0), (4, 4), (4.3, 4), (8, 4.99), (8, 8), (8.5, 8.5), (10, 8), (10, 9.7), (2.5, 10), (10, 10), (None, 10)],
)
def test_an_interruption_at_any_byte_leads_to_the_same_harvest(
    tmp_path: Path, tiny_model: LanguageModel, n_recorded: int, in_first: float | None, in_second: float | None
) -> None:
    """Files that hold fewer windows than were recorded (a copy cut short), more, parts of one, or are not there."""
    whole = tmp_path / "whole"
    start(whole, tiny_model)
    expected = continue_harvest(whole, tiny_model, tokens=BATCH_TOKENS)
    contents = layer_files(whole)
    for layer, n_windows in ((1, in_first), (3, in_second)):
        path = whole / f"layers.{layer}.bf16"
        content = path.read_bytes()
        path.unlink()
        if n_windows is not None:
            path.write_bytes(content[: round(len(content) * n_windows / N_WINDOWS)])
    record = json.loads((whole / "progress.json").read_text())
    (whole / "progress.json").write_text(json.dumps(record | {"n_done": n_recorded}))
    n_stored = int(min(in_first or 0, in_second or 0))
    assert load_harvest(whole).n_done == min(n_recorded, n_stored)
    resumed = continue_harvest(whole, tiny_model, tokens=BATCH_TOKENS)
    assert resumed.n_done == expected.n_done == N_WINDOWS
    assert layer_files(whole) == contents


def test_starting_again_keeps_what_is_there(folder: Path, tiny_model: LanguageModel) -> None:
    continue_harvest(folder, tiny_model)
    start_harvest(folder, made_up_windows(1, 2), Origin(layers=(0,), d_model=1))
    assert load_harvest(folder).n_done == 10


def test_a_harvest_that_is_done_runs_nothing(folder: Path, tiny_model: LanguageModel) -> None:
    continue_harvest(folder, tiny_model)
    handle = tiny_model.decoder.register_forward_pre_hook(lambda *_: pytest.fail("ran the model"))
    try:
        assert continue_harvest(folder, tiny_model).n_done == 10
    finally:
        handle.remove()


@pytest.mark.parametrize("name", ["progress.json", "windows.npz"])
@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"5", b"PK\x03\x04 cut short"])
def test_a_damaged_harvest_is_named(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(TrackerError, match="train is damaged"):
        load_harvest(folder)


def test_a_harvest_that_was_not_begun_has_no_rows(folder: Path) -> None:
    with pytest.raises(TrackerError, match="No activations in"):
        load_harvest(folder).resid(1)
    with pytest.raises(TrackerError, match="No activations in"):
        load_harvest(folder.parent / "validation")


def test_a_file_that_cannot_be_written_is_told(folder: Path, tiny_model: LanguageModel) -> None:
    (folder / "layers.3.bf16").mkdir()
    with pytest.raises(TrackerError, match=r"train can't be written \(Is a directory\).*--work"):
        continue_harvest(folder, tiny_model)


@pytest.mark.parametrize("n_sentences", [1, 40])
def test_one_document_is_a_corpus(
    tmp_path: Path, tiny_model: LanguageModel, tiny_bundle: Bundle, n_sentences: int
) -> None:
    """Shorter than one batch, or longer than several, with a last window that isn't whole."""
    text = SENTENCES * n_sentences
    (tmp_path / "one.jsonl").write_text(json.dumps({"text": text, "split": "validation"}) + "\n")
    bundle = replace(tiny_bundle, layers=(1, 3))
    harvest = collect_split(
        "validation", bundle, tiny_model, finance=tmp_path / "one.jsonl", general=None, work=tmp_path / "work", seed=0
    )
    windows = whole_windows([text], tiny_model.tokenizer, window=bundle.window)
    assert sorted(harvest.token_ids.tolist()) == sorted(windows.tolist())
    assert harvest.n_done == len(windows)
    assert harvest.origin.split == "validation"
    torch.testing.assert_close(
        harvest.resid(3).float(), expected_rows(harvest.folder, tiny_model, 3), rtol=2e-2, atol=2e-2
    )
