from __future__ import annotations

import copy
import io
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner, Result

from feature_tracker.cli.labels import main
from feature_tracker.corpus import checkpoint as checkpoint_module, measure as measure_module
from feature_tracker.corpus.documents import read_documents, windows_of
from feature_tracker.corpus.harvest import Harvest, continue_harvest, start_harvest
from feature_tracker.corpus.measure import Measurement, fill_table
from feature_tracker.corpus.origin import Origin
from feature_tracker.corpus.passages import PassageSums
from feature_tracker.corpus.quantiles import FiringQuantiles
from feature_tracker.errors import TrackerError
from feature_tracker.feature import SLOW
from feature_tracker.labels.columns import IMPORTED, MEASURED, REQUIRED, UNVERIFIED
from feature_tracker.labels.csv_files import load_labels, save_labels
from feature_tracker.labels.scores import NO_BETTER, NOT_SCORED
from feature_tracker.labels.table import LabelTable, latents_of
from feature_tracker.model.load import LanguageModel
from feature_tracker.model.tokens import tokenize
from feature_tracker.sae.load import save_sae
from feature_tracker.sae.topk import Sae
from feature_tracker.tracing import attention_sinks
from feature_tracker.tracing.run import batched
from feature_tracker.tracker import Tracker
from tests.support import SENTENCES, Interrupted, interrupted_after, made_up_windows, random_sae

FINANCE = [SENTENCES, "Rates rose.", " "]
GENERAL = ["A river ran past old trees while it rained.", SENTENCES[::-1][:150]]
WINDOW = 16


def naive_windows(
    model: LanguageModel, saes: dict[int, Sae], texts: list[str], window: int
) -> dict[int, list[np.ndarray]]:
    """By layer, `naive_activations` of every window."""
    windows: dict[int, list[np.ndarray]] = {layer: [] for layer in saes}
    for text in filter(str.strip, texts):
        for ids in tokenize(text, model.tokenizer, window=window, max_tokens=100_000).windows():
            row = torch.tensor([[model.bos_id, *ids]])
            with torch.inference_mode():
                hidden = model.decoder(input_ids=row, output_hidden_states=True, use_cache=False).hidden_states
            for layer, sae in saes.items():
                windows[layer].append(naive_activations(hidden[layer + 1][0, 1:], sae))
    return windows


def naive_activations(resid: torch.Tensor, sae: Sae) -> np.ndarray:
    """(n_tokens, n_latents) float64 activations of a window, NaN on attention sinks."""
    top = sae.encode(resid)
    dense = torch.zeros(len(resid), sae.n_latents).scatter(1, top.indices, top.values).double().numpy()
    norms = resid.double().pow(2).sum(dim=1).numpy()
    dense[norms > attention_sinks.SINK_RATIO * np.sort(norms)[(len(norms) - 1) // 2]] = np.nan
    return dense


def naive_passages(windows: list[np.ndarray]) -> dict[str, np.ndarray]:
    """What `PassageSums.columns` gives, from windows with NaN on tokens that don't count."""
    means, sds = {}, {}
    for length in (256, 64):
        pieces = []
        for window in windows:
            n_pieces = max(1, round(len(window) / length))
            bounds = [len(window) * i // n_pieces for i in range(1, n_pieces)]
            pieces += [piece[~np.isnan(piece[:, 0])] for piece in np.split(window, bounds)]
        averages = [np.sqrt(piece).mean(axis=0) for piece in pieces if len(piece) >= length / 2]
        unknown = np.full(windows[0].shape[1], np.nan)
        means[length] = np.mean(averages, axis=0) if averages else unknown
        sds[length] = np.std(averages, axis=0, ddof=1) if len(averages) > 1 else unknown
    first, second = (np.concatenate(part) for part in zip(*((w[:-20], w[20:]) for w in windows), strict=True))
    both = ~np.isnan(first[:, 0]) & ~np.isnan(second[:, 0])
    return {
        "window_mean": means[256], "window_sd": sds[256], "window_sd_64": sds[64],
        "autocorrelation": pd.DataFrame(first[both]).corrwith(pd.DataFrame(second[both])).to_numpy(),
    }  # fmt: skip


def naive_statistics(finance: list[np.ndarray], general: list[np.ndarray]) -> pd.DataFrame:
    """The statistics of a layer by their definitions, from `naive_windows`."""
    finance_rows, general_rows = np.concatenate(finance), np.concatenate(general)
    finance_rows, general_rows = (rows[~np.isnan(rows[:, 0])] for rows in (finance_rows, general_rows))
    f, g, both = finance_rows.mean(axis=0), general_rows.mean(axis=0), np.concatenate([finance_rows, general_rows])
    firing = [column[column > 0] for column in both.T]
    quantiles = np.array([np.quantile(v, [0.5, 0.9, 0.99]) if len(v) else np.zeros(3) for v in firing])
    with np.errstate(invalid="ignore"):
        index = (f - g) / (f + g)
    return pd.DataFrame(
        {
            "specialization": f - g, "specialization_index": index, "finance_mean": f, "general_mean": g,
            "finance_tokens": len(finance_rows), "general_tokens": len(general_rows),
            "density": (both > 0).mean(axis=0), "mean_activation": both.mean(axis=0),
            "max_activation": both.max(axis=0), "q50": quantiles[:, 0], "q90": quantiles[:, 1], "q99": quantiles[:, 2],
            **naive_passages([*finance, *general]),
        }
    )  # fmt: skip


def measure_features(model: LanguageModel, saes: dict[int, Sae], **options: Any) -> dict[int, pd.DataFrame]:
    return Measurement(model, saes, window=WINDOW, **options).measure(FINANCE, GENERAL)


@pytest.mark.parametrize(
    ("finance", "general", "window", "sink_ratio"),
    [
        (FINANCE, GENERAL, 16, 1.2),
        (["Rates rose."], ["Trees."], 16, 4.0),
        (["\n", "Rates rose.", ""], [" ", SENTENCES], 30, 4.0),
        ([SENTENCES * 3], ["Rain"] * 40, 16, 1.2),
        ([SENTENCES * 4, "Rates."], [SENTENCES[::-1] * 2], 200, 1.2),
    ],
    ids=["mixed", "shorter than a batch", "blank documents", "several batches", "passages"],
)
def test_measuring_gives_what_the_definitions_give(
    tiny_model: LanguageModel, tiny_saes: dict[int, Sae], monkeypatch: pytest.MonkeyPatch, finance: list[str],
    general: list[str], window: int, sink_ratio: float,
) -> None:  # fmt: skip
    monkeypatch.setattr(attention_sinks, "SINK_RATIO", sink_ratio)
    monkeypatch.setattr(measure_module, "batched", partial(batched, tokens=256))
    measurement = Measurement(tiny_model, tiny_saes, window=window)
    measured = measurement.measure(finance, general)
    windows = [naive_windows(tiny_model, tiny_saes, texts, window) for texts in (finance, general)]
    for layer in tiny_saes:
        by_kind = [by_layer[layer] for by_layer in windows]
        expected = naive_statistics(*by_kind)
        pd.testing.assert_frame_equal(measured[layer], expected, check_dtype=False, rtol=1e-4, atol=1e-4)
        assert expected["density"].sum() > 0
        assert expected[["window_sd", "window_sd_64"]].notna().all(axis=None) == (window == 200)
        n_sinks = sum(int(np.isnan(dense[:, 0]).sum()) for dense in (*by_kind[0], *by_kind[1]))
        assert measurement.n_attention_sinks[layer] == n_sinks
        assert sink_ratio == 4.0 or n_sinks > 0


def test_a_harvest_is_measured_without_running_the_model(
    tiny_model: LanguageModel, tiny_saes: dict[int, Sae], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted at its second batch, and unfinished: windows that were not collected don't count."""
    monkeypatch.setattr(measure_module, "batched", partial(batched, tokens=4 * 40))
    monkeypatch.setattr(checkpoint_module, "_SECONDS", -1.0)
    origin = Origin(layers=tuple(tiny_saes), d_model=tiny_model.d_model, finance_text=("a",), split="train", seed=0)
    start_harvest(tmp_path / "train", made_up_windows(12, 40, bos_id=tiny_model.bos_id), origin)
    harvest = replace(continue_harvest(tmp_path / "train", tiny_model), n_done=11)
    forward, n_read = Harvest.forward, 0

    def forward_once(*arguments: Any) -> None:
        nonlocal n_read
        n_read += 1
        if n_read > 1:
            raise Interrupted
        forward(*arguments)

    def measurement() -> Measurement:
        options = {"window": 40, "max_tokens": harvest.n_tokens, "origin": origin}
        return Measurement(tiny_model, tiny_saes, checkpoint=tmp_path / "sums", **options)

    monkeypatch.setattr(Harvest, "forward", forward_once)
    with pytest.raises(Interrupted):
        measurement().measure_harvest(harvest)
    monkeypatch.setattr(Harvest, "forward", forward)
    with interrupted_after(0, tiny_model):
        measured = measurement().measure_harvest(harvest)
    for layer, sae in tiny_saes.items():
        windows = [naive_activations(rows, sae) for rows in harvest.resid(layer).view(11, 39, -1)]
        expected = naive_statistics(windows[::2], windows[1::2])
        pd.testing.assert_frame_equal(measured[layer], expected, check_dtype=False, rtol=1e-4, atol=1e-4)


def test_sums_over_passages_agree_with_plain_arithmetic() -> None:
    """Windows of many lengths, in which some latents last for tens of tokens and one fires nowhere."""
    generator = np.random.default_rng(0)
    windows, sums = [], PassageSums(50)
    for n_tokens in (1, 20, 21, 31, 32, 95, 127, 128, 383, 385, 511, 511, 511):
        level = np.repeat(generator.normal(size=(n_tokens // 40 + 1, 50)), 40, axis=0)[:n_tokens]
        dense = np.maximum(level + generator.normal(size=(n_tokens, 50)) * np.linspace(0.2, 4, 50), 0)
        dense[:, 49] = 0
        indices = np.argsort(-dense, axis=1)[:, :20]
        values = np.take_along_axis(dense, indices, axis=1).astype(np.float32)
        counted = generator.random(n_tokens) > 0.05
        sums.add(values, indices.astype(np.int32), counted)
        kept = np.zeros_like(dense)
        np.put_along_axis(kept, indices, values, axis=1)
        windows.append(np.where(counted[:, None], kept, np.nan))
    expected = naive_passages(windows)
    again = PassageSums(50)
    again.restore(sums.state())
    for name, column in again.columns().items():
        np.testing.assert_allclose(column, expected[name], rtol=1e-4, atol=1e-5, err_msg=name)
    slow = expected["autocorrelation"] > SLOW
    assert slow[:5].all() and not slow[-5:].any()
    assert np.isnan(expected["autocorrelation"][49]) and expected["window_sd"][49] == 0


def test_a_limit_of_tokens_holds_for_each_kind(tiny_model: LanguageModel, tiny_saes: dict[int, Sae]) -> None:
    measured = measure_features(tiny_model, tiny_saes, max_tokens=21)
    assert set(measured[1]["finance_tokens"]) == set(measured[1]["general_tokens"]) == {21}


@pytest.mark.parametrize("batches", [0, 1, 3, 5])
def test_an_interrupted_measurement_goes_on_to_equal_sums(
    tiny_model: LanguageModel, tiny_saes: dict[int, Sae], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batches: int
) -> None:
    monkeypatch.setattr(checkpoint_module, "_SECONDS", -1.0)
    monkeypatch.setattr(measure_module, "batched", partial(batched, tokens=2 * WINDOW))
    checkpoint = tmp_path / "sums.npz"
    whole = measure_features(tiny_model, tiny_saes)
    one, two = (Origin(layers=tuple(tiny_saes), d_model=32, bundle=bundle) for bundle in ("one", "two"))
    with interrupted_after(batches, tiny_model):
        with pytest.raises(Interrupted):
            measure_features(tiny_model, tiny_saes, checkpoint=checkpoint, origin=one)
        with pytest.raises(TrackerError, match="expected bundle two, found one"):
            measure_features(tiny_model, tiny_saes, checkpoint=checkpoint, origin=two)
    resumed = measure_features(tiny_model, tiny_saes, checkpoint=checkpoint, origin=one)
    for layer, frame in whole.items():
        pd.testing.assert_frame_equal(resumed[layer], frame)


def test_a_measurement_interrupted_between_its_texts_goes_on_with_the_second(
    tiny_model: LanguageModel, tiny_saes: dict[int, Sae], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint_module, "_SECONDS", -1.0)
    whole = measure_features(tiny_model, tiny_saes)

    def unreadable() -> Iterator[str]:
        raise Interrupted
        yield

    with pytest.raises(Interrupted):
        Measurement(tiny_model, tiny_saes, window=WINDOW, checkpoint=tmp_path / "sums").measure(FINANCE, unreadable())
    n_general = len(list(batched(windows_of(GENERAL, tiny_model.tokenizer, window=WINDOW), window=WINDOW, bos_id=0)))
    with interrupted_after(n_general, tiny_model):
        resumed = measure_features(tiny_model, tiny_saes, checkpoint=tmp_path / "sums")
    with interrupted_after(0, tiny_model):
        measured_before = measure_features(tiny_model, tiny_saes, checkpoint=tmp_path / "sums")
    for layer, frame in whole.items():
        pd.testing.assert_frame_equal(resumed[layer], frame)
        pd.testing.assert_frame_equal(measured_before[layer], frame)


def test_a_checkpoint_of_other_options_is_refused(
    tiny_model: LanguageModel, tiny_saes: dict[int, Sae], tmp_path: Path
) -> None:
    checkpoint = tmp_path / "sums.npz"
    measure_features(tiny_model, tiny_saes, checkpoint=checkpoint)
    before = checkpoint.read_bytes()
    half = LanguageModel(copy.deepcopy(tiny_model.model).to(torch.bfloat16), tiny_model.tokenizer)
    trained_anew = tiny_saes | {3: random_sae(32, seed=9)}
    for message, model, saes, options in (
        ("expected window 8, found 16", tiny_model, tiny_saes, {"window": 8}),
        ("expected max_tokens 5, found all", tiny_model, tiny_saes, {"max_tokens": 5}),
        (r"expected dtype torch\.bfloat16, found torch\.float32", half, tiny_saes, {}),
        ("expected saes", tiny_model, trained_anew, {}),
        ("expected layers 1, found 1, 3, 4", tiny_model, {1: tiny_saes[1]}, {}),
    ):
        with pytest.raises(TrackerError, match=f"holds a measurement of something else: .*{message}"):
            Measurement(model, saes, checkpoint=checkpoint, **{"window": WINDOW} | options)
    assert checkpoint.read_bytes() == before


def test_a_damaged_checkpoint_is_named(tiny_model: LanguageModel, tiny_saes: dict[int, Sae], tmp_path: Path) -> None:
    checkpoint = tmp_path / "sums.npz"
    measure_features(tiny_model, tiny_saes, checkpoint=checkpoint)
    whole = checkpoint.read_bytes()
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 1
    array = io.BytesIO()
    np.save(array, np.zeros(3))
    archive = io.BytesIO()
    np.savez(archive, progress=np.array('{"origin": "other"}'))
    shortened = [whole[: len(whole) * part // 10] for part in range(10)]
    for content in (*shortened, bytes(damaged), b"PK\x03\x04 cut short", array.getvalue(), archive.getvalue()):
        checkpoint.write_bytes(content)
        with pytest.raises(TrackerError, match=r"sums\.npz is not a checkpoint of a measurement, or is damaged"):
            measure_features(tiny_model, tiny_saes, checkpoint=checkpoint)
    with pytest.raises(TrackerError, match="is not a checkpoint"):
        measure_features(tiny_model, tiny_saes, checkpoint=tmp_path)
    checkpoint.write_bytes(whole)
    with np.load(checkpoint) as arrays:
        older = {name: arrays[name] for name in arrays.files if "pair" not in name}
    with checkpoint.open("wb") as file:
        np.savez(file, **older)
    with pytest.raises(TrackerError, match=r"is not a checkpoint .*pair"):
        measure_features(tiny_model, tiny_saes, checkpoint=checkpoint)


def test_a_checkpoint_that_cannot_be_written_is_told_before_any_text_is_run(
    tiny_model: LanguageModel, tiny_saes: dict[int, Sae], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with interrupted_after(0, tiny_model), pytest.raises(TrackerError, match="can't be written"):
        measure_features(tiny_model, tiny_saes, checkpoint=tmp_path / "file" / "sums.npz")


def test_no_text_of_a_kind_is_refused(tiny_model: LanguageModel, tiny_saes: dict[int, Sae]) -> None:
    with pytest.raises(TrackerError, match="no general text"):
        Measurement(tiny_model, tiny_saes, window=WINDOW).measure(FINANCE, [" \n"])


def test_quantiles_are_exact_while_values_are_few_and_close_when_binned() -> None:
    generator = np.random.default_rng(0)
    latents = np.minimum(generator.geometric(0.1, 50_000) - 1, 59)
    values = np.exp(2 * generator.normal(size=50_000)).astype(np.float32)
    shares = [0.5, 0.9, 0.99]
    expected = [np.quantile(v, shares) if len(v := values[latents == i]) else np.zeros(3) for i in range(61)]
    exact, binned = FiringQuantiles(61), FiringQuantiles(61, max_exact=1000)
    for start in range(0, 50_000, 700):
        for quantiles in (exact, binned):
            quantiles.add(latents[start : start + 700], values[start : start + 700])
    np.testing.assert_allclose(exact.quantiles(shares), expected, rtol=1e-12)
    np.testing.assert_allclose(binned.quantiles(shares), expected, rtol=0.004)
    assert exact.exact and not binned.exact


def test_filling_a_table_keeps_labels_and_replaces_what_was_reported(
    tiny_model: LanguageModel, tiny_saes: dict[int, Sae], tmp_path: Path
) -> None:
    measured = measure_features(tiny_model, tiny_saes)
    index = pd.MultiIndex.from_tuples([(3, 7)], names=["layer", "feature"])
    row = dict.fromkeys([*REQUIRED, *IMPORTED], np.nan) | {
        "label": "Loans", "f1": 0.5, "f1_always_yes": 0.9, "mark": NO_BETTER, "f1_method": "reported",
        "specialization": -5.0, "specialization_source": UNVERIFIED, "label_source": "a.csv", "original_label": "Loans",
    }  # fmt: skip
    for standing in (LabelTable(pd.DataFrame([row], index=index)), None):
        save_labels(fill_table(standing, measured, "tiny"), tmp_path / "t.csv")
        table = load_labels(tmp_path / "t.csv", latents_of(tiny_saes))
        assert len(table.frame) == 120
        assert table.has_quantiles
        assert not table.reliable.any()
        assert table.bundles == ["tiny"]
        here = table.frame.xs((3, 7))
        assert here["specialization"] == pytest.approx(measured[3].loc[7, "specialization"], rel=1e-5, abs=1e-9)
        if standing is not None:
            assert (here["label"], here["f1"], here["mark"]) == ("Loans", 0.5, NO_BETTER)
            assert set(table.frame["specialization_source"]) == {MEASURED}
            assert table.frame.loc[(1, 0), ["label", "mark"]].tolist() == ["unlabelled", NOT_SCORED]


@pytest.fixture
def folder(tiny_model: LanguageModel, tmp_path: Path) -> Path:
    """A folder with a model, SAEs of 30 and 40 latents, and text."""
    tiny_model.model.save_pretrained(tmp_path / "model")
    tiny_model.tokenizer.save_pretrained(tmp_path / "model")
    for layer, n_latents in ((1, 30), (3, 40)):
        save_sae(tmp_path / "saes", layer, random_sae(tiny_model.d_model, n_latents=n_latents), dtype=torch.float32)
    (tmp_path / "text.jsonl").write_text('{"text": "Rates rose. Shares of banks fell.", "split": "train"}\n')
    return tmp_path


def measure(folder: Path, *options: str, general: str = "text.jsonl", layers: str = "1 3") -> Result:
    return CliRunner().invoke(
        main,
        ["measure", "--bundle", "llama2-7b-finance", "--model", str(folder / "model"), "--saes", str(folder / "saes"),
         "--layers", layers, "--dtype", "float32", "--labels", str(folder / "t.csv"),
         "--finance", str(folder / "text.jsonl"), "--general", str(folder / general), *options],
    )  # fmt: skip


def test_the_command_measures_saes_of_different_sizes(folder: Path) -> None:
    done = measure(folder)
    assert done.exit_code == 0, done.output
    assert "Looking for the model" in done.stderr
    assert "Looking for the model" not in done.stdout
    table = load_labels(folder / "t.csv", {1: 30, 3: 40})
    assert len(table.frame) == 70
    assert table.has_quantiles
    assert table.bundles == ["llama2-7b-finance"]


def test_measured_values_are_replaced_only_when_asked(folder: Path) -> None:
    assert measure(folder).exit_code == 0
    before = (folder / "t.csv").read_bytes()
    refused = measure(folder, "--tokens", "3")
    assert refused.exit_code == 1
    assert "already holds measured values of 70 features. Replace them with --replace" in refused.output
    assert measure(folder, "--out", str(folder / "t.csv")).exit_code == 1
    assert measure(folder, "--tokens", "3", "--out", str(folder / "other.csv")).exit_code == 0
    assert "already exists" in measure(folder, "--out", str(folder / "other.csv")).output
    assert "rows of layers that are not chosen" in measure(folder, "--replace", layers="3").output
    assert (folder / "t.csv").read_bytes() == before
    assert measure(folder, "--tokens", "3", "--replace").exit_code == 0
    assert (folder / "t.csv").read_bytes() == (folder / "other.csv").read_bytes() != before


def test_what_is_wrong_is_told_before_a_model_is_fetched(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tracker, "open", lambda *_, **__: pytest.fail("fetched a model"))
    (folder / "text.jsonl.gz").write_text('{"text": "Not compressed."}\n')
    (folder / "empty").mkdir()
    for general, part in (("none", "neither"), ("text.jsonl.gz", "text.jsonl.gz"), ("empty", "no general text in")):
        failed = measure(folder, general=general)
        assert failed.exit_code == 1
        assert part in failed.output
    assert "can't be written" in measure(folder, "--out", str(folder / "text.jsonl" / "t.csv")).output
    lacking = measure(folder, layers="1 2")
    assert "it lacks layers.2" in lacking.output
    assert "FEATURE_TRACKER_SAES" in lacking.output


def test_the_command_goes_on_from_its_checkpoint(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint_module, "_SECONDS", -1.0)
    monkeypatch.setattr(measure_module, "batched", partial(batched, tokens=4))
    checkpoint, out = folder / "sums.npz", folder / "out.csv"
    assert measure(folder, "--window", "4").exit_code == 0
    expected = (folder / "t.csv").read_bytes()

    def resume(*options: str, forwards: int = sys.maxsize) -> Result:
        open_tracker = Tracker.open

        def open_interrupted(*arguments: Any, **keywords: Any) -> Tracker:
            tracker = open_tracker(*arguments, **keywords)
            stack.enter_context(interrupted_after(forwards, tracker.language_model))
            return tracker

        with ExitStack() as stack, monkeypatch.context() as patch:
            patch.setattr(Tracker, "open", open_interrupted)
            return measure(folder, "--checkpoint", str(checkpoint), "--out", str(out), *options)

    for forwards in (2, 0, 3):
        assert isinstance(resume("--window", "4", forwards=forwards).exception, Interrupted)
        assert not out.exists()
    assert "expected window 5, found 4" in resume("--window", "5").output
    assert "expected max_tokens 3, found all" in resume("--window", "4", "--tokens", "3").output
    assert "expected split train, found all" in resume("--window", "4", "--split", "train").output
    with monkeypatch.context() as patch:
        patch.setattr("feature_tracker.cli.labels_measure.replace_table", Mock(side_effect=TrackerError("Disk full.")))
        assert "Disk full." in resume("--window", "4").output
    assert checkpoint.exists()
    done = resume("--window", "4", forwards=0)  # everything was measured before the disk was full
    assert done.exit_code == 0, done.output
    assert out.read_bytes() == expected
    assert not checkpoint.exists()


def test_documents_need_no_split_where_all_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n{"text": "two", "split": "validation"}\n')
    assert [document.text for document in read_documents(tmp_path / "a.jsonl", None)] == ["one", "two"]
    (tmp_path / "b.txt").write_bytes(b"\xff")
    with pytest.raises(TrackerError, match=r"b\.txt is not UTF-8"):
        list(read_documents(tmp_path, None))
