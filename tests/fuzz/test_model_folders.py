"""Model folders with anything in them: loaded and run, or refused in a sentence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, PreTrainedConfig, PreTrainedTokenizerFast
from transformers.utils import logging

from feature_tracker.bundles.missing import model_gap
from feature_tracker.errors import TrackerError
from feature_tracker.model.hooks import read_residuals
from feature_tracker.model.load import load_model_folder, model_width
from feature_tracker.model.tokens import tokenize
from tests.fuzz.limits import FUZZ, within_limits
from tests.support import SENTENCES

pytestmark = pytest.mark.slow
CONFIGS: dict[str, PreTrainedConfig] = {
    "llama": LlamaConfig(
        vocab_size=300, hidden_size=16, intermediate_size=32, num_hidden_layers=3, num_attention_heads=2, bos_token_id=0
    ),
    "gpt2": GPT2Config(vocab_size=300, n_embd=16, n_layer=3, n_head=2, n_positions=64, bos_token_id=0),
}
JSON_FILES = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "generation_config.json",
    "model.safetensors.index.json",
)
NUMBERS = (10**6, 10**9, 2**31, 2**63, 10**30, -(10**9), 0.5, 1e-300, 1e300, float("nan"), float("inf"))
WORDS = [
    "llama",
    "gpt2",
    "gemma3n_text",
    "mamba",
    "bert",
    "auto",
    "float16",
    "int8",
    "silu",
    "../x",
    "a/b",
    "<bos>",
    "LlamaTokenizer",
    "BertTokenizer",
    "BPE",
    "Unigram",
    "NFC",
    "x.bin",
    "../out.safetensors",
    "model.safetensors",
    "\x00",
]
KEYS = [
    "quantization_config",
    "rope_scaling",
    "rope_parameters",
    "layer_types",
    "num_hidden_layers",
    "hidden_size",
    "head_dim",
    "vocab_size",
    "attn_implementation",
    "auto_map",
    "architectures",
    "text_config",
    "torch_dtype",
    "sliding_window",
    "truncation",
    "tokenizer_class",
    "bos_token",
    "added_tokens_decoder",
    "extra_special_tokens",
    "transformers_weights",
    "num_local_experts",
]
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 70), st.sampled_from(NUMBERS), st.sampled_from(WORDS), st.text(max_size=5)
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner))


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> Iterator[None]:
    """transformers tells of everything odd in a file, thousands of times."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    yield
    logging.set_verbosity(before)
    logging.enable_progress_bar()


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By family, a whole model in shards."""
    folder = tmp_path_factory.mktemp("sound")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<bos>"], initial_alphabet=alphabet)
    tokenizer.train_from_iterator([SENTENCES], trainer)
    for family, config in CONFIGS.items():
        AutoModelForCausalLM.from_config(config).save_pretrained(folder / family, max_shard_size="8KB")
        PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<bos>").save_pretrained(folder / family)
    return {family: folder / family for family in CONFIGS}


def copy_of(folder: Path, place: Path) -> Path:
    shutil.rmtree(place, ignore_errors=True)
    return Path(shutil.copytree(folder, place))


def changed(draw: st.DrawFn, value: Any) -> Any:
    """JSON with one thing in it replaced, left out or added."""
    if isinstance(value, dict) and value and draw(st.integers(0, 3)):
        key = draw(st.sampled_from(sorted(value)))
        if draw(st.integers(0, 4)) == 0:
            return {other: part for other, part in value.items() if other != key}
        return value | {key: changed(draw, value[key])}
    if isinstance(value, list) and value and draw(st.booleans()):
        place = draw(st.integers(0, len(value) - 1))
        return [*value[:place], changed(draw, value[place]), *value[place + 1 :]]
    if isinstance(value, dict) and draw(st.booleans()):
        return value | {draw(st.sampled_from(KEYS)): draw(VALUES)}
    return draw(VALUES)


def run(folder: Path) -> None:
    """Do with a folder what an analysis does: what isn't refused must run."""
    with within_limits():
        try:
            if model_gap(folder):
                return
            d_model = model_width(folder, [0, 1])
            loaded = load_model_folder(folder, "float32")
            tokens = tokenize("Net sales rose 5.4%.", loaded.tokenizer, window=loaded.window(16), max_tokens=100)
            widths: list[int] = []
            for ids in tokens.windows():
                token_ids = torch.from_numpy(ids)[None]
                read_residuals(loaded.decoder, token_ids, [0, 1], lambda _layer, resid: widths.append(resid.shape[2]))
            assert set(widths) == {d_model}
        except TrackerError:
            return


@FUZZ
@given(data=st.data())
def test_changed_settings_are_read_or_refused(sound: dict[str, Path], tmp_path: Path, data: st.DataObject) -> None:
    folder = copy_of(sound[data.draw(st.sampled_from(list(CONFIGS)))], tmp_path / "model")
    for _ in range(data.draw(st.integers(1, 2))):
        path = folder / data.draw(st.sampled_from(JSON_FILES))
        value = changed(data.draw, json.loads(path.read_text(encoding="utf-8")))
        path.write_text(json.dumps(value), encoding="utf-8")
    run(folder)


@FUZZ
@given(data=st.data())
def test_damaged_files_are_read_or_refused(sound: dict[str, Path], tmp_path: Path, data: st.DataObject) -> None:
    folder = copy_of(sound[data.draw(st.sampled_from(list(CONFIGS)))], tmp_path / "model")
    path = data.draw(st.sampled_from(sorted(folder.iterdir())))
    raw = path.read_bytes()
    place = data.draw(st.one_of(st.integers(0, len(raw)), st.integers(0, min(400, len(raw)))))
    end = data.draw(st.sampled_from([raw[place:], raw[place + 1 :], raw[place + 8 :], b""]))
    path.write_bytes(raw[:place] + data.draw(st.binary(max_size=8)) + end)
    run(folder)
