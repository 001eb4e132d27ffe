"""The families of models that a bundle may hold: hooks, windows and replay are the same for all."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    DynamicCache,
    Gemma2Config,
    Gemma3TextConfig,
    GemmaConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)

from feature_tracker.model.hooks import read_residuals, replaced_residual
from feature_tracker.model.load import LanguageModel
from feature_tracker.model.replay import record_window

SIZES = {
    "vocab_size": 300, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 5, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 64, "bos_token_id": 0, "eos_token_id": 0,
    "pad_token_id": 0,
}  # fmt: skip
CONFIGS: dict[str, Any] = {
    "llama": LlamaConfig(**SIZES),
    "mistral": MistralConfig(**SIZES, sliding_window=8),
    "qwen2": Qwen2Config(**SIZES),
    "qwen3": Qwen3Config(**SIZES),
    "gemma": GemmaConfig(**SIZES),
    "gemma2": Gemma2Config(**SIZES, sliding_window=8),
    "gemma3": Gemma3TextConfig(**SIZES, sliding_window=8),
    "gpt2": GPT2Config(
        vocab_size=300, n_embd=32, n_layer=5, n_head=4, n_positions=64, bos_token_id=0, eos_token_id=0, pad_token_id=0
    ),
}


@pytest.fixture(params=list(CONFIGS))
def model(request: pytest.FixtureRequest, tiny_tokenizer: PreTrainedTokenizerFast) -> LanguageModel:
    torch.manual_seed(0)
    return LanguageModel(AutoModelForCausalLM.from_config(CONFIGS[request.param]).eval(), tiny_tokenizer)


def test_residuals_equal_hidden_states_to_the_last_bit(model: LanguageModel) -> None:
    ids = torch.randint(1, 300, (2, 20))
    read: dict[int, torch.Tensor] = {}
    read_residuals(model.decoder, ids, [0, 1, 3], lambda layer, resid: read.__setitem__(layer, resid.clone()))
    with torch.inference_mode():
        hidden = model.decoder(input_ids=ids, output_hidden_states=True, use_cache=False).hidden_states
    for layer in (0, 1, 3):
        assert torch.equal(read[layer], hidden[layer + 1]), f"layer {layer}"


def test_sizes_are_the_configurations(model: LanguageModel) -> None:
    assert (model.n_layers, model.d_model) == (5, 32)
    assert (model.window(2048), model.window(16)) == (64, 16)
    assert model.layer_device(3).type == "cpu"


def test_a_window_run_on_from_its_middle_gives_the_same_stream(model: LanguageModel) -> None:
    ids = torch.randint(1, 300, (20,))
    replay = record_window(model.decoder, ids[None], [1, 3])
    again = replay.run(1, replay.resid[1][None], [3])[3][0]
    torch.testing.assert_close(again, replay.resid[3])


def test_a_replaced_stream_reaches_the_layers_above(model: LanguageModel) -> None:
    ids = torch.randint(1, 300, (1, 12))
    with torch.inference_mode():
        before = model.model(input_ids=ids, use_cache=False).logits
        with replaced_residual(model.decoder, 2, lambda resid: resid):
            same = model.model(input_ids=ids, use_cache=False).logits
        with replaced_residual(model.decoder, 2, lambda resid: resid + torch.randn(resid.shape)):
            other = model.model(input_ids=ids, use_cache=False).logits
    assert torch.equal(before, same)
    assert torch.equal(before[:, 0], other[:, 0])
    assert not torch.allclose(before[:, 1:], other[:, 1:])


def test_a_stream_is_replaced_alike_with_and_without_a_cache(model: LanguageModel) -> None:
    ids = torch.randint(1, 300, (1, 20))
    added = torch.randn(32)

    def logits(part: torch.Tensor, first: int, **options: Any) -> torch.Tensor:
        with torch.inference_mode(), replaced_residual(model.decoder, 2, lambda resid: resid + added, first=first):
            return model.model(input_ids=part, **options).logits

    whole = logits(ids, 1, use_cache=False)
    cache = DynamicCache(config=model.model.config)
    parts = [logits(ids[:, :9], 1, cache=cache, use_cache=True)]
    parts += [logits(part, 0, cache=cache, use_cache=True) for part in ids[:, 9:].split(1, dim=1)]
    assert torch.allclose(torch.cat(parts, dim=1), whole, atol=1e-4)
