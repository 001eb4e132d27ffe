from __future__ import annotations

import threading

import pytest
import torch
from transformers import PreTrainedModel

from feature_tracker.model.hooks import read_residuals
from feature_tracker.model.load import LanguageModel


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


def test_threads_on_one_model_read_their_own_forward_alone(tiny_model: LanguageModel) -> None:
    inputs = [torch.randint(1, 300, (1, 10 + i)) for i in range(8)]
    layer_sets = [[1, 3], [2], [0, 4], [3], [1], [0, 1, 2], [4], [2, 3]]
    expected = [collect(tiny_model, ids, layers) for ids, layers in zip(inputs, layer_sets, strict=True)]
    before = n_hooks(tiny_model.model)
    barrier = threading.Barrier(len(inputs))
    failures: list[str] = []

    def run(i: int) -> None:
        barrier.wait()
        for _ in range(20):
            read = collect(tiny_model, inputs[i], layer_sets[i])
            if set(read) != set(expected[i]) or any(not torch.equal(read[n], expected[i][n]) for n in read):
                failures.append(f"thread {i}")

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(inputs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert n_hooks(tiny_model.model) == before
