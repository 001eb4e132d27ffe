"""The commands on a tiny model in a folder: what they do, and what they refuse before anything is overwritten."""

from __future__ import annotations

import importlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from safetensors.torch import save_file

from feature_tracker.cli.labels import main as labels_main
from feature_tracker.corpus.harvest import load_harvest
from feature_tracker.model.load import LanguageModel
from feature_tracker.sae.load import load_saes
from feature_tracker.training import make
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
    options = [
        "--finance",
        finance,
        "--tokens",
        tokens,
        "--epochs",
        "1",
        "--latents",
        "40",
        "--k",
        "6",
        "--tune",
        "0",
        *arguments,
    ]
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
    assert train("--tune", "2").exit_code == 0
    stages = {name: load_saes(home / "work" / "saes" / name, LAYERS) for name in ("trained", "twin")}
    tuned = load_saes(home / "work" / "saes" / "tuned", [3])[3]
    installed = load_saes(home / "saes", LAYERS)
    for layer in LAYERS:
        assert not stages["twin"][layer].decoder.equal(stages["trained"][layer].decoder)
    assert installed[1].decoder.equal(stages["trained"][1].decoder)
    assert installed[3].decoder.equal(tuned.decoder)
    assert not tuned.decoder.equal(stages["trained"][3].decoder)
    assert installed[1].selection is None, "the lower half of the model has no slow latents"
    assert installed[3].selection is not None
    assert int((installed[3].selection > 1.5).sum()) == 8, "and the upper half a fifth"
    measured = quality()
    assert measured.exit_code == 0, measured.output
    records = json.loads((home / "saes" / "quality.json").read_text())
    assert [len(record["latents"]["seed_match"]) for record in records] == [40, 40]
    assert len(loads) == 2, "a command loads the model once"


@pytest.mark.parametrize("stop", range(5))
def test_an_interrupted_command_ends_as_if_it_had_not_been(
    home: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    """Whatever was being made when the power went: two layers of two seeds, or the tuning of one."""
    assert train("--tune", "2", "--work", "elsewhere").exit_code == 0
    expected = weights(home)
    shutil.rmtree(home / "saes")
    made: list[str] = []

    def interrupted(name: str) -> Callable[..., object]:
        step = getattr(make, name)

        def until_the_power_goes(*arguments, **options):
            if len(made) == stop:
                raise KeyboardInterrupt
            made.append(name)
            return step(*arguments, **options)

        return until_the_power_goes

    with monkeypatch.context() as patched:
        for name in ("train_sae", "finetune_sae"):
            patched.setattr(make, name, interrupted(name))
        assert train("--tune", "2").exit_code != 0
    assert not (home / "saes").exists(), "the bundle's folder has all layers or none"
    made.clear()
    monkeypatch.setattr(
        make, "train_sae", lambda *a, _step=make.train_sae, **o: made.append("train_sae") or _step(*a, **o)
    )
    assert train("--tune", "2").exit_code == 0
    assert len(made) == max(0, 4 - stop), "what was made is not made again"
    assert weights(home) == expected


@pytest.mark.parametrize(
    ("again", "message"),
    [
        (lambda: train("--replace", "--seed", "1"), "expected seed 1, found 0"),
        (lambda: train("--replace", tokens="2000"), "expected max_tokens 2000, found 1000"),
        (lambda: train("--replace", finance="general.jsonl"), "expected finance_text general.jsonl"),
        (lambda: train("--replace", "--general", "general.jsonl"), "expected general_text general.jsonl ("),
        (lambda: train("--replace", bundle="second.toml"), "expected bundle second, found tiny"),
        (lambda: train("--replace", bundle="more/tiny.toml"), "expected layers 1, 3, 4, found 1, 3"),
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


def test_saes_are_replaced_only_on_request_and_made_with_one_set_of_options(home: Path) -> None:
    assert train().exit_code == 0
    before = weights(home)
    refused(train(), "already holds SAEs of layers 1, 3", "--replace")
    refused(train("--replace", "--latents", "48"), "made with other options", "options.json")
    assert weights(home) == before
    assert train("--replace", "--latents", "48", "--work", "elsewhere").exit_code == 0
    assert load_saes(home / "saes", [3])[3].n_latents == 48


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
    assert weights(home) == before


def test_what_commands_cannot_do_is_told_without_a_traceback(home: Path) -> None:
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


def test_one_document_is_enough_to_train_on(home: Path) -> None:
    Path("one.jsonl").write_text(json.dumps({"text": SENTENCES * 4, "split": "train"}))
    assert train(finance="one.jsonl").exit_code == 0
    refused(
        quality(
            finance="one.jsonl",
        ),
        "one.jsonl: no validation document fills a window of 32 tokens",
    )
