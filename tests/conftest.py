"""A tiny random Llama for logic, the built-in model for truth."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from feature_tracker.bundles.bundle import Bundle, WheelSource, load_bundle
from feature_tracker.errors import TrackerError
from feature_tracker.labels.table import latents_of, unlabelled_table
from feature_tracker.model.load import LanguageModel, load_model
from feature_tracker.sae.load import load_saes
from feature_tracker.sae.topk import Sae
from feature_tracker.tracing.trace import Trace
from feature_tracker.tracker import Tracker
from tests.support import ROOT, SENTENCES, SHARED, random_sae


@pytest.fixture(autouse=True)
def no_labels_of_the_developers_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data-home"))


@pytest.fixture(scope="session")
def tiny_tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<bos>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator([SENTENCES], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<bos>")


@pytest.fixture(scope="session")
def tiny_model(tiny_tokenizer: PreTrainedTokenizerFast) -> LanguageModel:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tiny_tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        bos_token_id=tiny_tokenizer.bos_token_id,
    )
    return LanguageModel(LlamaForCausalLM(config).eval(), tiny_tokenizer)


@pytest.fixture(scope="session")
def tiny_saes(tiny_model: LanguageModel) -> dict[int, Sae]:
    return {layer: random_sae(tiny_model.d_model, seed=layer) for layer in (1, 3, 4)}


@pytest.fixture(scope="session")
def tiny_bundle(tiny_saes: dict[int, Sae]) -> Bundle:
    return Bundle(
        name="tiny",
        title="Tiny random Llama",
        layers=tuple(tiny_saes),
        window=16,
        max_tokens=500,
        dtype="float32",
        model=WheelSource("none==0", "0" * 64, "none.gguf"),
        sae_folder=Path("absent"),
        labels=Path("absent.csv"),
    )


@pytest.fixture(scope="session")
def tiny_tracker(tiny_model: LanguageModel, tiny_saes: dict[int, Sae], tiny_bundle: Bundle) -> Tracker:
    return Tracker(tiny_bundle, tiny_model, tiny_saes, unlabelled_table(latents_of(tiny_saes)))


@pytest.fixture(scope="session")
def builtin_model() -> LanguageModel:
    """The built-in model, fetched where it isn't cached; tests that use it skip where that can't be done."""
    try:
        return load_model(load_bundle())
    except TrackerError as error:
        pytest.skip(f"built-in model not available: {error}")


@pytest.fixture(scope="session")
def builtin_saes() -> dict[int, Sae]:
    bundle = load_bundle()
    return load_saes(bundle.sae_folder, bundle.layers)


@pytest.fixture(scope="session")
def tiny_trace(tiny_tracker: Tracker) -> Trace:
    return tiny_tracker.trace(SENTENCES)


@pytest.fixture(scope="session")
def shared_corpus() -> Path:
    folder = SHARED / "corpus"
    if not folder.is_dir():
        pytest.skip(f"no {folder}: the training and measuring text lies beside the project")
    return folder


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree; skips where the tree isn't a git checkout, which says what belongs into it."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder], cwd=ROOT, check=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command of an environment with the wheel, which takes everything else from the one that the tests run in."""
    environment = tmp_path_factory.mktemp("installed")
    venv.create(environment, symlinks=True)
    python = environment / "bin" / "python"
    site = Path(sysconfig.get_path("purelib", vars={"base": str(environment)}))
    (site / "tests.pth").write_text(sysconfig.get_path("purelib"))
    install = [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-index", "--no-deps", wheel]
    subprocess.run(install, check=True)
    return environment / "bin" / "feature-tracker"


@pytest.fixture
def decoys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder whose `feature_tracker` and `streamlit` end every program that imports them."""
    folder = tmp_path_factory.mktemp("decoys")
    for name in ("feature_tracker", "streamlit"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("raise SystemExit('the decoy was imported')")
    return folder


@pytest.fixture
def tab() -> Iterator[Any]:
    """A tab of a headless Chromium, 1440 pixels wide; skips with the reason where there is none."""
    from benchmarks.page import CHROMIUM_ARGUMENTS, find_chromium

    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = find_chromium()
    if chromium is None:
        pytest.skip("no Chromium on this machine; on Debian: apt install chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_ARGUMENTS)
        try:
            yield browser.new_page(viewport={"width": 1440, "height": 1000})
        finally:
            browser.close()
