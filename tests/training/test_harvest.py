from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from feature_tracker.model.load import LanguageModel
from feature_tracker.training.harvest import continue_harvest, load_harvest, start_harvest
from feature_tracker.training.origin import Origin


class CutOff(Exception):
    """Stands for anything that ends a run before its time."""


@pytest.fixture
def folder(tmp_path: Path, tiny_model: LanguageModel) -> Path:
    token_ids = np.random.default_rng(0).integers(1, 300, (10, 12)).astype(np.int32)
    token_ids[:, 0] = tiny_model.bos_id
    start_harvest(tmp_path, token_ids, np.arange(10) % 2 == 0, Origin(layers=(1, 3), d_model=tiny_model.d_model))
    return tmp_path


def expected_rows(folder: Path, model: LanguageModel, layer: int) -> torch.Tensor:
    ids = torch.from_numpy(load_harvest(folder).token_ids.astype(np.int64))
    with torch.inference_mode():
        hidden = model.decoder(input_ids=ids, output_hidden_states=True, use_cache=False).hidden_states
    return hidden[layer + 1][:, 1:].flatten(0, 1)


def test_rows_are_the_residual_stream_in_window_order_without_bos(folder: Path, tiny_model: LanguageModel) -> None:
    harvest = continue_harvest(folder, tiny_model, batch=4)
    assert harvest.n_tokens == 10 * 11
    for layer in harvest.origin.layers:
        torch.testing.assert_close(
            harvest.resid(layer).float(), expected_rows(folder, tiny_model, layer), rtol=2e-2, atol=2e-2
        )


def test_an_interrupted_harvest_goes_on_where_it_stood(folder: Path, tiny_model: LanguageModel, tmp_path: Path) -> None:
    calls = 0

    def cut_off(_module: torch.nn.Module, _args: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise CutOff

    handle = tiny_model.decoder.layers[2].register_forward_pre_hook(cut_off)
    with pytest.raises(CutOff):
        continue_harvest(folder, tiny_model, batch=4)
    handle.remove()
    assert load_harvest(folder).n_done == 8
    harvest = continue_harvest(folder, tiny_model, batch=4)
    assert harvest.n_done == 10
    torch.testing.assert_close(harvest.resid(3).float(), expected_rows(folder, tiny_model, 3), rtol=2e-2, atol=2e-2)


def test_starting_again_keeps_what_is_there(folder: Path, tiny_model: LanguageModel) -> None:
    continue_harvest(folder, tiny_model)
    start_harvest(folder, np.zeros((1, 2), np.int32), np.zeros(1, bool), Origin(layers=(0,), d_model=1))
    assert load_harvest(folder).n_done == 10
