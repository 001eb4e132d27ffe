from __future__ import annotations

import copy
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma3nTextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from feature_tracker.errors import TrackerError
from feature_tracker.model.hooks import read_residuals, replaced_residual
from feature_tracker.model.load import LanguageModel
from feature_tracker.model.replay import record_window

# Of each thread: `make fuzz` runs 20,000, which takes minutes.
_FORWARDS = int(os.environ.get("FORWARDS", "2000"))


def collect(model: LanguageModel, ids: torch.Tensor, layers: list[int]) -> dict[int, torch.Tensor]:
    read: dict[int, torch.Tensor] = {}
    read_residuals(model.decoder, ids, layers, lambda layer, resid: read.__setitem__(layer, resid.clone()))
    return read


def assert_equal_to_hidden_states(model: LanguageModel, ids: torch.Tensor, layers: list[int]) -> None:
    read = collect(model, ids, layers)
    with torch.inference_mode():
        hidden = model.decoder(input_ids=ids, output_hidden_states=True, use_cache=False).hidden_states
    for layer in layers:
        assert torch.equal(read[layer], hidden[layer + 1]), f"layer {layer}"


def n_hooks(model: PreTrainedModel) -> int:
    return sum(len(module._forward_hooks) for module in model.modules())


def test_residuals_equal_hidden_states_to_the_last_bit(tiny_model: LanguageModel) -> None:
    assert_equal_to_hidden_states(tiny_model, torch.randint(1, 300, (3, 20)), [0, 1, 3, 4])


@pytest.mark.model
def test_residuals_of_the_built_in_model_equal_hidden_states_to_the_last_bit(builtin_model: LanguageModel) -> None:
    assert_equal_to_hidden_states(builtin_model, torch.randint(1, 49_000, (2, 100)), [4, 10, 16, 22, 28])


def test_last_block_is_read_before_the_final_norm(tiny_model: LanguageModel) -> None:
    ids = torch.randint(1, 300, (1, 12))
    last = tiny_model.n_layers - 1
    with torch.inference_mode():
        normed = tiny_model.decoder(input_ids=ids, use_cache=False).last_hidden_state
        assert torch.equal(tiny_model.decoder.norm(collect(tiny_model, ids, [last])[last]), normed)


def test_forward_stops_after_the_last_wanted_layer(tiny_model: LanguageModel) -> None:
    ran: list[int] = []
    layers = tiny_model.decoder.layers
    handles = [
        layers[i].register_forward_pre_hook(lambda _module, _args, i=i: ran.append(i)) for i in range(len(layers))
    ]
    collect(tiny_model, torch.randint(1, 300, (1, 8)), [1, 3])
    for handle in handles:
        handle.remove()
    assert ran == [0, 1, 2, 3]


def test_no_hook_survives_an_exception(tiny_model: LanguageModel) -> None:
    def fail(layer: int, _resid: torch.Tensor) -> None:
        raise RuntimeError(f"at {layer}")

    before = n_hooks(tiny_model.model)  # transformers leaves hooks of its own
    with pytest.raises(RuntimeError, match="at 1"):
        read_residuals(tiny_model.decoder, torch.randint(1, 300, (1, 8)), [1, 3], fail)
    assert n_hooks(tiny_model.model) == before
    assert set(collect(tiny_model, torch.randint(1, 300, (1, 8)), [2])) == {2}, "the failed one is active still"


@pytest.fixture
def switching_at_once() -> Iterator[None]:
    """Threads take turns every microsecond, so that they meet in the middle of everything."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def run_together(model: LanguageModel, *, n_threads: int, n_forwards: int) -> list[str]:
    """What went wrong in the forwards of threads that read, replace and record streams of one model."""
    inputs = [torch.randint(1, 20, (1, 3 + i)) for i in range(n_threads)]
    layers = [[0, 1], [1], [0], [1, 2]]
    expected = [collect(model, ids, layers[i % 4]) for i, ids in enumerate(inputs)]
    barrier = threading.Barrier(n_threads, timeout=60)
    failures: list[str] = []

    def read(i: int, number: int) -> dict[int, torch.Tensor]:
        if number % 16 == 15:
            return record_window(model.decoder, inputs[i], layers[i % 4]).resid
        if number % 16 == 7:  # what is replaced in one forward must reach no other
            with replaced_residual(model.decoder, 0, torch.zeros_like):
                collect(model, inputs[i], [0, 1])
        return collect(model, inputs[i], layers[i % 4])

    def run(i: int) -> None:
        barrier.wait()
        for number in range(n_forwards):
            try:
                streams = read(i, number)
            except RuntimeError as error:
                failures.append(f"thread {i}: {error}")
                return
            same = [torch.equal(streams[layer].view(resid.shape), resid) for layer, resid in expected[i].items()]
            if not all(same) or streams.keys() != expected[i].keys():
                failures.append(f"thread {i}, forward {number}: another stream")

    with ThreadPoolExecutor(n_threads) as pool:
        errors = [ended.exception() for ended in [pool.submit(run, i) for i in range(n_threads)]]
    return failures + [repr(error) for error in errors if error is not None]


@pytest.fixture
def smallest_model(tiny_tokenizer: PreTrainedTokenizerFast) -> LanguageModel:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=20, hidden_size=8, intermediate_size=8, num_hidden_layers=3, num_attention_heads=1, bos_token_id=0
    )
    return LanguageModel(LlamaForCausalLM(config).eval(), tiny_tokenizer)


@pytest.mark.no_cover  # a tracer of lines in threads that switch every microsecond is more than the test is about
def test_threads_on_one_model_read_their_own_forward_alone(
    smallest_model: LanguageModel, switching_at_once: None
) -> None:
    before = n_hooks(smallest_model.model)
    assert run_together(smallest_model, n_threads=8, n_forwards=60) == []
    assert n_hooks(smallest_model.model) == before


@pytest.mark.no_cover
@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_eight_threads_run_thousands_of_forwards_each_without_a_race(
    smallest_model: LanguageModel, switching_at_once: None
) -> None:
    assert run_together(smallest_model, n_threads=8, n_forwards=_FORWARDS) == []


def test_a_copy_of_a_model_has_hooks_of_its_own(smallest_model: LanguageModel) -> None:
    copied = LanguageModel(copy.deepcopy(smallest_model.model), smallest_model.tokenizer)
    assert n_hooks(copied.model) == n_hooks(smallest_model.model)
    ids = torch.randint(1, 20, (1, 5))
    assert torch.equal(collect(copied, ids, [1])[1], collect(smallest_model, ids, [1])[1])


@pytest.mark.parametrize("wrong", [20, 10_000, -1])
def test_an_id_without_embedding_is_refused_before_the_forward(smallest_model: LanguageModel, wrong: int) -> None:
    with pytest.raises(TrackerError, match=rf"id {wrong:,}, but this llama model has embeddings for ids 0 to 19"):
        collect(smallest_model, torch.tensor([[0, 3, wrong]]), [1])


def test_a_family_that_carries_several_streams_is_refused_by_name(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    sizes: dict[str, Any] = {
        "vocab_size": 20, "vocab_size_per_layer_input": 20, "hidden_size": 8, "hidden_size_per_layer_input": 4,
        "intermediate_size": 8, "num_hidden_layers": 3, "num_attention_heads": 1, "num_key_value_heads": 1,
        "head_dim": 8, "laurel_rank": 2, "num_kv_shared_layers": 0, "layer_types": ["full_attention"] * 3,
        "activation_sparsity_pattern": [0.0] * 3,
    }  # fmt: skip
    model = LanguageModel(AutoModelForCausalLM.from_config(Gemma3nTextConfig(**sizes)).eval(), tiny_tokenizer)
    with pytest.raises(TrackerError, match=r"Block 1 of this gemma3n_text model gives 4 x 1 x 5 x 8 .* of 1 x 5 x 8"):
        collect(model, torch.randint(1, 20, (1, 5)), [1])
    with (
        pytest.raises(TrackerError, match="gemma3n_text"),
        replaced_residual(model.decoder, 1, torch.zeros_like),
    ):
        collect(model, torch.randint(1, 20, (1, 5)), [1])


@pytest.mark.parametrize(
    ("output", "found"),
    [
        (lambda resid: resid.flatten(0, 1), "6 x 8"),
        (lambda resid: (resid[..., :4], None), "2 x 3 x 4"),
        (lambda resid: resid.transpose(0, 1), "3 x 2 x 8"),
        (lambda _resid: (None, 1), "NoneType"),
    ],
)
def test_a_block_that_returns_anything_but_the_stream_is_refused(
    smallest_model: LanguageModel, output: Callable[[torch.Tensor], object], found: str
) -> None:
    handle = smallest_model.decoder.layers[1].register_forward_hook(
        lambda _b, _args, resid: output(resid), prepend=True
    )
    with pytest.raises(TrackerError, match=f"gives {found} where one residual stream of 2 x 3 x 8 is expected"):
        collect(smallest_model, torch.randint(1, 20, (2, 3)), [1])
    handle.remove()


def test_layers_that_share_a_block_or_never_run_are_refused(smallest_model: LanguageModel) -> None:
    model = copy.deepcopy(smallest_model.model)
    model.model.layers[2] = model.model.layers[0]
    with pytest.raises(TrackerError, match="one block in several layers"):
        LanguageModel(model, smallest_model.tokenizer)
    smallest_model.model.config.num_hidden_layers = 2  # the forward runs as many blocks as this says
    with pytest.raises(TrackerError, match=r"doesn't run its blocks \[2\]"):
        collect(smallest_model, torch.randint(1, 20, (1, 3)), [1, 2])
