"""A user's own model, SAE folder and label files, from files to page and command lines, set by the environment."""

from __future__ import annotations

import importlib
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch
from click.testing import CliRunner, Result
from streamlit.testing.v1 import AppTest

import feature_tracker.cli.circuit as circuit_tracer
import feature_tracker.page.pool
from feature_tracker.bundles.bundle import BUILT_IN, BUNDLES, load_bundle
from feature_tracker.bundles.choice import bundle_names
from feature_tracker.errors import TrackerError
from feature_tracker.model.load import LanguageModel
from feature_tracker.page.results import TITLES
from feature_tracker.page.sidebar import bundle_titles
from feature_tracker.sae.load import save_sae
from feature_tracker.sae.topk import Sae
from feature_tracker.tracker import Tracker
from tests.page.driving import analyze, errors, open_tab
from tests.support import ROOT, SENTENCES, random_sae

LAYERS = (1, 3, 4)
FOLDER = "llama2_7b_finance_layers1 3 4_k6_latents40_wikitext103_torchrun"
labels_command = importlib.import_module("feature_tracker.cli.labels").main
tracing_command = importlib.import_module("feature_tracker.cli.trace").main


@pytest.fixture
def parts(
    tmp_path: Path, tiny_model: LanguageModel, tiny_saes: dict[int, Sae], monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The folder that holds a model, SAEs in a folder with spaces in its name, and raw label files."""
    for name in ("BUNDLE", "BUNDLES", "REVISION"):
        monkeypatch.delenv(f"FEATURE_TRACKER_{name}", raising=False)
    tiny_model.model.save_pretrained(tmp_path / "Llama tiny")
    tiny_model.tokenizer.save_pretrained(tmp_path / "Llama tiny")
    for layer, sae in tiny_saes.items():
        save_sae(tmp_path / FOLDER, layer, sae, dtype=torch.float32)
    write_labels(tmp_path / "their labels")
    monkeypatch.setenv("FEATURE_TRACKER_MODEL", str(tmp_path / "Llama tiny"))
    monkeypatch.setenv("FEATURE_TRACKER_SAES", str(tmp_path / FOLDER))
    monkeypatch.setenv("FEATURE_TRACKER_LAYERS", "1 3 4")
    monkeypatch.setenv("FEATURE_TRACKER_DTYPE", "float32")
    monkeypatch.setenv("FEATURE_TRACKER_LABELS", str(tmp_path / "labels.csv"))
    return tmp_path


def write_labels(folder: Path) -> None:
    """A Delphi run of layer 1 and a CSV summary of layers 3 and 4, as the tools write them."""
    run = folder / "delphi" / "finetuned_model_layer1"
    for part in ("explanations", "scores/detection"):
        (run / part).mkdir(parents=True)
    (run / "run_config.json").write_text("{}")
    record = {"str_tokens": ["Net", " sales"], "activations": [1.0, 0.0], "distance": 1, "probability": None}
    for latent in range(40):
        name = f"layers.1_latent{latent}.txt"
        (run / "explanations" / name).write_text(json.dumps(f"Delphi's label {latent}"))
        judged = [record | {"activating": yes, "prediction": yes, "correct": True} for yes in (True, False) * 5]
        (run / "scores" / "detection" / name).write_text(json.dumps(judged))
    rows = [
        {"layer": layer, "feature": feature, "label": f"Summary {layer} {feature}", "f1_score": 0.8}
        for layer in (3, 4)
        for feature in range(40)
    ]
    pd.DataFrame(rows).to_csv(folder / "results_summary.csv", index=False)


def invoke(command: object, *arguments: str) -> Result:
    return CliRunner().invoke(command, list(arguments))


def import_labels(parts: Path) -> Result:
    return invoke(labels_command, "import", str(parts / "their labels"), "--bundle", "llama2-7b-finance")


@pytest.fixture
def labelled(parts: Path) -> Path:
    """The same folder, with the label files imported."""
    imported = import_labels(parts)
    assert imported.exit_code == 0, imported.output
    return parts


@pytest.fixture
def page(parts: Path) -> Iterator[AppTest]:
    """The page as it opens, its tracker loaded from the folders."""
    feature_tracker.page.pool.tracker_pool.clear()
    yield AppTest.from_file(str(ROOT / "feature_activation_tracker.py"), default_timeout=60).run()
    feature_tracker.page.pool.tracker_pool.clear()


def test_the_whole_page_works_on_the_users_files(labelled: Path, page: AppTest) -> None:
    assert page.selectbox(key="bundle").value == "llama2-7b-finance"
    analyze(page, SENTENCES)
    assert not errors(page)
    assert page.dataframe[0].value["Layer"].nunique() == 3
    for title in TITLES:
        open_tab(page, title)
        assert not errors(page), title
        assert not page.exception
    open_tab(page, "Features")
    shown = page.dataframe[0].value
    assert shown["Layer"].unique().tolist() == list(LAYERS)
    assert shown["Label"].str.contains("Delphi's label|Summary").all()


def test_without_labels_the_page_opens_and_says_how_to_get_them(page: AppTest) -> None:
    assert any("feature\\-tracker labels import" in info.value for info in page.sidebar.info)
    analyze(page, SENTENCES)
    assert not errors(page)
    assert (page.dataframe[0].value["Label"] == "unlabelled").all()


def test_another_bundle_takes_the_trace_of_the_first_away(page: AppTest) -> None:
    analyze(page, SENTENCES)
    assert page.tabs
    page.selectbox(key="bundle").set_value(BUILT_IN).run()
    assert not page.tabs
    assert not page.exception


def test_what_is_missing_is_said_and_the_built_in_model_opens(parts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATURE_TRACKER_SAES", str(parts / "elsewhere"))
    loaded: list[str] = []

    def fails(bundle: object, _progress: object) -> None:
        loaded.append(bundle.name)
        raise TrackerError("not here")

    monkeypatch.setattr(Tracker, "open", fails)
    feature_tracker.page.pool.tracker_pool.clear()
    page = AppTest.from_file(str(ROOT / "feature_activation_tracker.py"), default_timeout=60).run()
    assert page.selectbox(key="bundle").value == BUILT_IN
    assert [option.endswith("files missing") for option in page.selectbox(key="bundle").options] == [False, True]
    assert "elsewhere" in page.sidebar.warning[0].value
    page.selectbox(key="bundle").set_value("llama2-7b-finance").run()
    assert "FEATURE\\_TRACKER\\_SAES" in errors(page)[0]
    assert "llama2-7b-finance" not in loaded
    feature_tracker.page.pool.tracker_pool.clear()


def test_bundles_of_the_same_title_can_be_told_apart(parts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = parts / "bundles"
    folder.mkdir()
    for name in ("ours.toml", "theirs.toml"):
        shutil.copy(BUNDLES / "llama2-7b-finance.toml", folder / name)
    monkeypatch.setenv("FEATURE_TRACKER_BUNDLES", str(folder))
    titles = bundle_titles(bundle_names())
    assert len(set(titles.values())) == len(titles) == 4
    assert titles[BUILT_IN] == load_bundle().title
    assert titles[str(folder / "ours.toml")] == f"Llama-2-7B finance · files missing ({folder / 'ours.toml'})"


def test_a_broken_bundle_is_shown_as_unavailable_with_its_reason_and_the_page_works(
    parts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = parts / "bundles"
    folder.mkdir()
    (folder / "theirs.toml").write_text("window = = 1")
    monkeypatch.setenv("FEATURE_TRACKER_BUNDLES", str(folder))
    monkeypatch.setattr(Tracker, "open", lambda *_args, **_options: pytest.fail("not needed"))
    page = AppTest.from_file(str(ROOT / "feature_activation_tracker.py"), default_timeout=60).run()
    assert "theirs · unavailable" in page.selectbox(key="bundle").options
    assert any("can't be read as TOML" in warning.value for warning in page.sidebar.warning)
    assert page.button(key="analyze").label == "Analyze"
    page.selectbox(key="bundle").set_value(str(folder / "theirs.toml")).run()
    assert "can't be read as TOML" in errors(page)[0]
    page.selectbox(key="bundle").set_value(BUILT_IN).run()
    assert page.button(key="analyze").label == "Analyze"
    feature_tracker.page.pool.tracker_pool.clear()


@pytest.mark.slow
def test_one_large_tracker_is_kept_and_an_evicted_load_ends(parts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = feature_tracker.page.pool.TrackerPool()
    first = load_bundle("llama2-7b-finance")
    monkeypatch.setenv("FEATURE_TRACKER_DTYPE", "bfloat16")
    second = load_bundle("llama2-7b-finance")
    old = pool.loading(first)
    old.outcome.result(timeout=60)
    new = pool.loading(second)
    assert new.outcome.result(timeout=60).language_model.model.dtype == torch.bfloat16
    with pytest.raises(TrackerError, match="to make room"):
        old.report("Loading", 0.5)
    with pytest.raises(TrackerError, match="to make room"):
        pool.loading(first).outcome.result(timeout=0)
    assert pool.loading(second) is new  # the glance at the first took nothing away
    assert pool.loading(first, retry=True).outcome.result(timeout=60)
    assert pool.loading(second).failed


def test_both_command_lines_work_on_the_users_files(labelled: Path) -> None:
    traced = invoke(tracing_command, SENTENCES, "--top", "3")
    assert traced.exit_code == 0, traced.output
    table = pd.read_csv(io.StringIO(traced.stdout))
    assert table.groupby("layer").size().to_dict() == dict.fromkeys(LAYERS, 3)
    assert "Llama-2-7B finance" in traced.stderr
    assert "Looking for the model" in traced.stderr
    assert "Ranked by activation" in traced.stderr
    assert "Ranked by activation" not in invoke(tracing_command, SENTENCES, "--by", "activation").stderr
    out = labelled / "results of a circuit"
    traced = invoke(circuit_tracer.main, SENTENCES, "--out", str(out))
    assert traced.exit_code == 0, traced.output
    assert {"nodes.csv", "edges.csv", "figure.html"} <= {path.name for path in out.iterdir()}


def test_options_take_the_place_of_variables(parts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATURE_TRACKER_SAES", str(parts / "elsewhere"))
    refused = invoke(tracing_command, "Rates rose.")
    assert refused.exit_code == 1
    assert f"looked for {parts}/elsewhere" in refused.output
    assert invoke(tracing_command, "Rates rose.", "--saes", str(parts / FOLDER)).exit_code == 0


def test_fewer_layers_open_a_table_of_all_and_are_all_that_is_imported(
    labelled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    traced = invoke(tracing_command, SENTENCES, "--layers", "1 4", "--top", "1")
    assert traced.exit_code == 0, traced.output
    shown = pd.read_csv(io.StringIO(traced.stdout))
    assert shown["layer"].tolist() == [1, 4]
    assert shown["label"].str.contains("Delphi's label|Summary").all()
    monkeypatch.setenv("FEATURE_TRACKER_LAYERS", "1 4")
    assert invoke(labels_command, "check", "--bundle", "llama2-7b-finance").exit_code == 0
    (labelled / "labels.csv").unlink()
    assert "results_summary.csv: 40 of layers that are not chosen were left out" in import_labels(labelled).output


def test_parts_that_do_not_belong_together_are_refused_before_the_weights_are_read(
    parts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "feature_tracker.model.load.load_model", lambda *_args, **_options: pytest.fail("weights were read")
    )
    for layer in LAYERS:
        save_sae(parts / "of another model", layer, random_sae(4096, n_latents=8), dtype=torch.float32)
    monkeypatch.setenv("FEATURE_TRACKER_SAES", str(parts / "of another model"))
    with pytest.raises(TrackerError, match="4096 wide, but the model's is 32"):
        Tracker.open("llama2-7b-finance")
    monkeypatch.setenv("FEATURE_TRACKER_SAES", str(parts / FOLDER))
    monkeypatch.setenv("FEATURE_TRACKER_LABELS", str(parts / "their labels" / "results_summary.csv"))
    with pytest.raises(TrackerError, match="feature-tracker labels import"):
        Tracker.open("llama2-7b-finance")
    monkeypatch.setenv("FEATURE_TRACKER_LABELS", str(load_bundle().labels))
    with pytest.raises(TrackerError, match="labels of bundle smollm2-135m, not of llama2-7b-finance"):
        Tracker.open("llama2-7b-finance")
