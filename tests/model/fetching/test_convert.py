from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors import SafetensorError
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from feature_tracker.model.fetching import convert, wheel as fetch
from feature_tracker.model.fetching.convert import convert_gguf
from feature_tracker.model.load import LanguageModel, load_model_folder
from tests.model.fetching.tiny_gguf import write_gguf
from tests.support import SENTENCES


@pytest.fixture
def tiny_gguf(tmp_path: Path, tiny_model: LanguageModel, tiny_tokenizer: PreTrainedTokenizerFast) -> Path:
    path = tmp_path / "tiny.gguf"
    write_gguf(path, tiny_model, tiny_tokenizer)
    return path


def test_a_converted_model_has_the_weights_and_tokens_of_the_gguf(
    tmp_path: Path, tiny_gguf: Path, tiny_model: LanguageModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    folder = tmp_path / "converted"
    folder.mkdir()
    convert_gguf(tiny_gguf, folder)
    converted = load_model_folder(folder, "bfloat16")
    weights = converted.model.state_dict()
    expected = tiny_model.model.state_dict()
    assert weights.keys() == expected.keys()
    for name, weight in expected.items():
        assert torch.equal(weights[name], weight.to(torch.bfloat16)), name
    assert converted.bos_id == tiny_tokenizer.bos_token_id
    assert converted.tokenizer(SENTENCES)["input_ids"] == tiny_tokenizer(SENTENCES)["input_ids"]


@pytest.mark.parametrize(
    "raised",
    [
        SafetensorError("I/O error: No space left on device (os error 28)"),
        Exception("No space left on device (os error 28)"),
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
    ],
)
def test_a_full_disk_has_its_own_exit_status(
    tmp_path: Path, tiny_gguf: Path, monkeypatch: pytest.MonkeyPatch, raised: Exception
) -> None:
    def fail(*_args: object, **_options: object) -> None:
        raise raised

    monkeypatch.setattr(LlamaForCausalLM, "save_pretrained", fail)
    result = CliRunner().invoke(convert.main, [str(tiny_gguf), str(tmp_path)])
    assert result.exit_code == convert.DISK_FULL == fetch._CONVERT_DISK_FULL


def test_another_error_keeps_its_traceback(tmp_path: Path) -> None:
    (tmp_path / "broken.gguf").write_bytes(b"GGUF, but no more")
    result = CliRunner().invoke(convert.main, [str(tmp_path / "broken.gguf"), str(tmp_path)])
    assert result.exit_code == 1
    assert result.exception is not None
