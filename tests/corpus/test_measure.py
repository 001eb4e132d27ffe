from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner, Result

from feature_tracker.cli.labels import main
from feature_tracker.corpus.documents import read_documents
from feature_tracker.corpus.measure import fill_table, measure_features
from feature_tracker.corpus.quantiles import FiringQuantiles
from feature_tracker.errors import TrackerError
from feature_tracker.feature import Feature
from feature_tracker.labels.scores import NO_BETTER, NOT_SCORED
from feature_tracker.labels.table import (
    COLUMNS,
    IMPORTED,
    MEASURED,
    UNVERIFIED,
    LabelTable,
    latents_of,
    load_labels,
    save_labels,
)
from feature_tracker.model.load import LanguageModel
from feature_tracker.model.tokens import tokenize
from feature_tracker.rule_labels.firings import Firings, feature_statistics
from feature_tracker.sae.load import save_sae
from feature_tracker.sae.topk import Sae
from feature_tracker.tracing.run import trace_tokens
from tests.support import SENTENCES, random_sae

FINANCE = [SENTENCES, "Rates rose.", " "]
GENERAL = ["A river ran past old trees while it rained.", SENTENCES[::-1][:150]]
WINDOW = 16


def measured_by_traces(layer: int, model: LanguageModel, saes: dict[int, Sae]) -> pd.DataFrame:
    """The same statistics from traces, a token a window."""
    values, indices, ids, finance = [], [], [], []
    for is_finance, texts in ((True, FINANCE), (False, GENERAL)):
        for text in filter(str.strip, texts):
            tokens = tokenize(text, model.tokenizer, window=WINDOW, max_tokens=10_000)
            trace = trace_tokens(tokens, model, saes).layers[layer]
            values.append(trace.values)
            indices.append(trace.indices)
            ids.append(np.stack([np.zeros_like(tokens.ids), tokens.ids], axis=1))
            finance.append(np.full(len(tokens.ids), is_finance))
    firings = Firings(*map(np.concatenate, (ids, finance, values, indices)), saes[layer].n_latents)
    return feature_statistics(firings)


def test_measuring_in_a_stream_gives_the_statistics_of_the_labeller(
    tiny_model: LanguageModel, tiny_saes: dict[int, Sae]
) -> None:
    measured = measure_features(FINANCE, GENERAL, tiny_model, tiny_saes, window=WINDOW)
    for layer in tiny_saes:
        expected = measured_by_traces(layer, tiny_model, tiny_saes)
        pd.testing.assert_frame_equal(measured[layer], expected, check_dtype=False, rtol=1e-4, atol=1e-6)
        assert expected["density"].sum() > 0


def test_a_limit_of_tokens_holds_for_each_kind(tiny_model: LanguageModel, tiny_saes: dict[int, Sae]) -> None:
    measured = measure_features(FINANCE, GENERAL, tiny_model, tiny_saes, window=WINDOW, max_tokens=21)
    assert set(measured[1]["finance_tokens"]) == set(measured[1]["general_tokens"]) == {21}


def test_no_text_of_a_kind_is_refused(tiny_model: LanguageModel, tiny_saes: dict[int, Sae]) -> None:
    with pytest.raises(TrackerError, match="no general text"):
        measure_features(FINANCE, [" \n"], tiny_model, tiny_saes, window=WINDOW)


def test_quantiles_are_exact_while_values_are_few_and_close_when_binned() -> None:
    generator = np.random.default_rng(0)
    latents = np.minimum(generator.geometric(0.1, 50_000) - 1, 59)
    values = np.exp(2 * generator.normal(size=50_000)).astype(np.float32)
    shares = [0.5, 0.9, 0.99]
    expected = [np.quantile(v, shares) if len(v := values[latents == i]) else np.zeros(3) for i in range(61)]
    kept, binned = FiringQuantiles(61), FiringQuantiles(61, keep=1000)
    for start in range(0, 50_000, 700):
        for quantiles in (kept, binned):
            quantiles.add(latents[start : start + 700], values[start : start + 700])
    np.testing.assert_allclose(kept.quantiles(shares), expected, rtol=1e-12)
    np.testing.assert_allclose(binned.quantiles(shares), expected, rtol=0.004)
    assert kept.exact and not binned.exact


def test_filling_a_table_keeps_labels_and_replaces_what_was_reported(
    tiny_model: LanguageModel, tiny_saes: dict[int, Sae], tmp_path: Path
) -> None:
    measured = measure_features(FINANCE, GENERAL, tiny_model, tiny_saes, window=WINDOW)
    index = pd.MultiIndex.from_tuples([(3, 7)], names=["layer", "feature"])
    row = dict.fromkeys([*COLUMNS, *IMPORTED], np.nan) | {
        "label": "Loans", "f1": 0.5, "f1_always_yes": 0.9, "mark": NO_BETTER, "f1_method": "reported", "rule": "",
        "specialization": -5.0, "specialization_source": UNVERIFIED, "label_source": "a.csv", "original_label": "Loans",
    }  # fmt: skip
    for standing in (LabelTable(pd.DataFrame([row], index=index)), None):
        save_labels(fill_table(standing, measured, "tiny"), tmp_path / "t.csv")
        table = load_labels(tmp_path / "t.csv", latents_of(tiny_saes))
        assert len(table.frame) == 120
        assert table.has_quantiles
        assert not table.reliable.any()
        assert table.bundles == ["tiny"]
        here = table.find(Feature(3, 7))
        assert here["specialization"] == pytest.approx(measured[3].loc[7, "specialization"], rel=1e-5, abs=1e-9)
        if standing is not None:
            assert (here["label"], here["f1"], here["mark"]) == ("Loans", 0.5, NO_BETTER)
            assert set(table.frame["specialization_source"]) == {MEASURED}
            assert table.frame.loc[(1, 0), ["label", "mark"]].tolist() == ["unlabelled", NOT_SCORED]


@pytest.fixture
def folder(tiny_model: LanguageModel, tmp_path: Path) -> Path:
    """Holds a model, SAEs of 30 and 40 latents, and text."""
    tiny_model.model.save_pretrained(tmp_path / "model")
    tiny_model.tokenizer.save_pretrained(tmp_path / "model")
    for layer, n_latents in ((1, 30), (3, 40)):
        save_sae(tmp_path / "saes", layer, random_sae(tiny_model.d_model, n_latents=n_latents), dtype=torch.float32)
    (tmp_path / "text.jsonl").write_text('{"text": "Rates rose. Shares of banks fell."}\n')
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
    assert "measured values of 70 features already. Replace them with --replace" in refused.output
    assert measure(folder, "--out", str(folder / "t.csv")).exit_code == 1
    assert measure(folder, "--tokens", "3", "--out", str(folder / "other.csv")).exit_code == 0
    assert "stands there already" in measure(folder, "--out", str(folder / "other.csv")).output
    assert "rows of layers that are not chosen" in measure(folder, "--replace", layers="3").output
    assert (folder / "t.csv").read_bytes() == before
    assert measure(folder, "--tokens", "3", "--replace").exit_code == 0
    assert (folder / "t.csv").read_bytes() == (folder / "other.csv").read_bytes() != before


def test_what_is_wrong_is_told_before_a_model_is_fetched(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "feature_tracker.cli.labels_measure.ensure_model_folder", lambda *_: pytest.fail("fetched a model")
    )
    (folder / "text.jsonl.gz").write_text('{"text": "Not compressed."}\n')
    (folder / "empty").mkdir()
    for general, said in (("none", "neither"), ("text.jsonl.gz", "text.jsonl.gz"), ("empty", "no general text in")):
        failed = measure(folder, general=general)
        assert failed.exit_code == 1
        assert said in failed.output
    lacking = measure(folder, layers="1 2")
    assert "it lacks layers.2" in lacking.output
    assert "FEATURE_TRACKER_SAES" in lacking.output


def test_documents_need_no_split_where_all_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n{"text": "two", "split": "validation"}\n')
    assert list(read_documents(tmp_path / "a.jsonl", None)) == ["one", "two"]
    (tmp_path / "b.txt").write_bytes(b"\xff")
    with pytest.raises(TrackerError, match=r"b\.txt is not UTF-8"):
        list(read_documents(tmp_path, None))
