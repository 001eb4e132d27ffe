"""The commands on a tiny model in a folder: what they do, and what they refuse before anything is overwritten."""

from __future__ import annotations

import importlib
import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from safetensors.torch import save_file

from feature_tracker.cli.labels import main as labels_main
from feature_tracker.corpus.harvest import load_harvest
from feature_tracker.model.load import LanguageModel
from feature_tracker.sae.load import load_saes, save_sae
from tests.support import SENTENCES, random_sae

commands = importlib.import_module("feature_tracker.cli.sae")
LAYERS = (1, 3)


@pytest.fixture
def home(tmp_path: Path, tiny_model: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of a user with a model, a bundle of it and text of both kinds."""
    monkeypatch.chdir(tmp_path)
    tiny_model.model.save_pretrained("model")
    tiny_model.tokenizer.save_pretrained("model")
    write_bundle(tmp_path / "tiny.toml")
    for name, text in (("finance", SENTENCES), ("other", SENTENCES.upper()), ("general", SENTENCES.lower())):
        documents = [{"text": text * 4, "split": split} for split in ("train", "validation")] * 2
        Path(f"{name}.jsonl").write_text("\n".join(map(json.dumps, documents)))
    return tmp_path


def write_bundle(path: Path, layers: tuple[int, ...] = LAYERS, model: str = "model") -> Path:
    folder = path.parent
    path.write_text(
        f'title = "Tiny"\nlayers = {list(layers)}\nwindow = 32\nmax_tokens = 500\ndtype = "float32"\n'
        f'sae_folder = "{folder / "saes"}"\nlabels = "{folder / "labels.csv"}"\n[model]\nfolder = "{folder / model}"\n'
    )
    return path


def run(command: str, *arguments: str, bundle: str = "tiny.toml") -> Result:
    return CliRunner().invoke(commands.main, [command, "--bundle", bundle, *arguments])


def train(*arguments: str, finance: str = "finance.jsonl", tokens: str = "1000", bundle: str = "tiny.toml") -> Result:
    options = ["--finance", finance, "--tokens", tokens, "--epochs", "1", "--latents", "40", "--k", "6", *arguments]
    return run("train", *options, bundle=bundle)


def quality(*arguments: str, finance: str = "finance.jsonl", bundle: str = "tiny.toml") -> Result:
    return run("quality", "--finance", finance, *arguments, bundle=bundle)


def refused(result: Result, *parts: str) -> None:
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit), result.exception
    assert "Error: " in result.output
    for part in parts:
        assert part in result.output


def weights(home: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted((home / "saes").rglob("*")) if path.is_file()}


def test_training_tuning_and_measuring_follow_each_other(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[object] = []
    load_model = commands.load_model
    monkeypatch.setattr(commands, "load_model", lambda bundle: loads.append(bundle) or load_model(bundle))
    assert train().exit_code == 0
    trained = load_saes(home / "saes", LAYERS)
    assert run("finetune", "--steps", "2", "--layer", "3").exit_code == 0
    tuned = load_saes(home / "saes", LAYERS)
    assert [trained[layer].decoder.equal(tuned[layer].decoder) for layer in LAYERS] == [True, False]
    measured = quality()
    assert measured.exit_code == 0, measured.output
    assert len(json.loads((home / "saes" / "quality.json").read_text())) == 2
    assert len(loads) == 3, "a command loads the model once"


@pytest.mark.parametrize(
    ("again", "message"),
    [
        (lambda: train("--seed", "1"), "expected seed 1, found 0"),
        (lambda: train(tokens="2000"), "expected max_tokens 2000, found 1000"),
        (lambda: train(finance="general.jsonl"), "expected finance_text general.jsonl"),
        (lambda: train("--general", "general.jsonl"), "expected general_text general.jsonl ("),
        (lambda: train(bundle="second.toml"), "expected bundle second, found tiny"),
        (lambda: train(bundle="more/tiny.toml"), "expected layers 1, 3, 4, found 1, 3"),
        (lambda: run("finetune", bundle="second.toml"), "expected bundle second, found tiny"),
    ],
)
def test_activations_of_something_else_are_refused(home: Path, again: Callable[[], Result], message: str) -> None:
    assert train().exit_code == 0
    before = weights(home)
    write_bundle(home / "second.toml")
    (home / "more").mkdir()
    (home / "more" / "model").symlink_to(home / "model")
    write_bundle(home / "more" / "tiny.toml", (1, 3, 4))
    refused(again(), "holds activations of something else", message, "--work")
    assert weights(home) == before


def test_features_are_measured_on_what_was_collected(home: Path) -> None:
    def measure(*arguments: str, bundle: str = "tiny.toml") -> Result:
        return CliRunner().invoke(labels_main, ["measure", "--bundle", bundle, *arguments])

    text = ("--finance", "finance.jsonl", "--general", "general.jsonl")
    assert train("--general", "general.jsonl", tokens="100000").exit_code == 0
    for given in ((*text, "--work", "work"), ("--work", "work", "--split", "train"), text[:2], ()):
        refused(measure(*given), "Name text of both kinds with --finance and --general, or with --work")
    refused(measure("--work", "elsewhere"), "No activations in elsewhere")
    write_bundle(home / "second.toml")
    refused(measure("--work", "work", bundle="second.toml"), "expected bundle second, found tiny")
    measured = measure("--work", "work")
    assert measured.exit_code == 0, measured.output
    assert "| layer | finance tokens | general tokens | attention sinks left out |" in measured.output
    n_windows = len(load_harvest(home / "work" / "train").finance)
    stored = pd.read_csv("labels.csv")
    assert set(stored["finance_tokens"] + stored["general_tokens"]) == {n_windows * 31}
    # Text is cut into the same windows and short ones at the documents' ends.
    assert measure(*text, "--split", "train", "--out", "text.csv").exit_code == 0
    np.testing.assert_allclose(
        stored["mean_activation"], pd.read_csv("text.csv")["mean_activation"], rtol=0.2, atol=0.1
    )


def test_measuring_refuses_them_too(home: Path) -> None:
    assert train().exit_code == 0
    assert quality().exit_code == 0
    Path("finance.jsonl").write_text(Path("finance.jsonl").read_text() + "\n")
    refused(quality(), "expected finance_text finance.jsonl")


def test_activations_without_a_record_are_taken_where_layers_and_widths_agree(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert train().exit_code == 0
    path = home / "work" / "train" / "progress.json"
    record = json.loads(path.read_text())
    old = {name: record[name] for name in ("layers", "d_model", "n_done")}
    path.write_text(json.dumps(old))
    assert train().exit_code == 0
    assert "has no record of its model and text" in caplog.text
    path.write_text(json.dumps(old | {"d_model": 64}))
    refused(train(), "expected d_model 32, found 64")
    refused(run("finetune"), "expected d_model 32, found 64")


def test_a_layer_that_is_kept_is_told_with_its_own_size(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert train().exit_code == 0
    before = weights(home)
    assert train("--latents", "48", "--k", "4").exit_code == 0
    assert "layer 3 stays as it was trained, with 40 latents and k = 6" in caplog.text
    assert "anew, with 48 and 4" in caplog.text
    assert weights(home) == before
    assert train("--latents", "48", "--again").exit_code == 0
    assert load_saes(home / "saes", [3])[3].n_latents == 48


def test_only_topk_saes_are_tuned(home: Path) -> None:
    assert train().exit_code == 0
    save_sae(home / "saes", 1, replace(random_sae(32), k=8, activation="groupmax"))
    before = weights(home)
    refused(run("finetune", "--layer", "1"), "only top-k SAEs can be tuned", "groupmax")
    assert weights(home) == before


@pytest.mark.parametrize("name", ["layers.3", "any name"])
def test_saelens_files_are_neither_hidden_nor_overwritten(home: Path, name: str) -> None:
    folder = home / "saes" / name
    folder.mkdir(parents=True)
    sae = random_sae(32)
    tensors = {"W_enc": sae.encoder_weight.T, "b_enc": sae.encoder_bias, "W_dec": sae.decoder, "b_dec": sae.b_dec}
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, folder / "sae_weights.safetensors")
    config = {"architecture": "topk", "k": 6, "metadata": {"hook_name": "blocks.3.hook_resid_post"}}
    (folder / "cfg.json").write_text(json.dumps(config))
    before = weights(home)
    refused(train(), "SAELens's format", "hide")
    refused(run("finetune", "--layer", "3"), "SAELens's format", "hide")
    assert weights(home) == before


def test_what_commands_cannot_do_is_told_without_a_traceback(home: Path) -> None:
    refused(run("finetune"), "No activations in")
    refused(run("finetune", "--layer", "2"), "takes 1, 3 of this bundle; found 2")
    refused(train("--k", "41"), "k must lie between")
    refused(train(finance="none.jsonl"), "should be a folder of .txt files")
    refused(train("--general", "none.jsonl"), "should be a folder of .txt files")


@pytest.mark.parametrize("command", [train, quality])
def test_a_folder_that_cannot_be_written_is_named_before_the_model_is_loaded(
    home: Path, monkeypatch: pytest.MonkeyPatch, command: Callable[..., Result]
) -> None:
    monkeypatch.setattr(commands, "load_model", lambda _bundle: pytest.fail("loaded a model"))
    refused(command("--work", "finance.jsonl/work"), f"The folder {home}/finance.jsonl/work can't", "with --work")
    (home / "saes").write_text("a file")
    refused(command(), f"The folder {home}/saes can't", "`sae_folder`")
    assert not (home / "work").exists()


def test_text_that_fills_no_window_is_named(home: Path) -> None:
    Path("short.jsonl").write_text('{"text": "Rates rose.", "split": "train"}\n')
    refused(train("--general", "short.jsonl"), "short.jsonl: no train document fills a window of 32 tokens")
    assert train().exit_code == 0
    refused(quality(finance="short.jsonl"), "short.jsonl: no validation document fills a window of 32 tokens")


def test_nothing_collected_yet_is_told(home: Path) -> None:
    assert train().exit_code == 0
    for layer in LAYERS:
        (home / "work" / "train" / f"layers.{layer}.bf16").unlink()
    refused(run("finetune"), "No activations in", "feature-tracker sae train")
