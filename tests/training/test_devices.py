"""Rows and SAEs follow the model to its device, whichever it is."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

from feature_tracker.corpus.harvest import Harvest, continue_harvest, start_harvest
from feature_tracker.corpus.origin import Origin
from feature_tracker.model.load import LanguageModel
from feature_tracker.training.finetune import FinetuneConfig, finetune_sae
from feature_tracker.training.quality import measure_saes
from tests.support import made_up_windows, random_sae


class Reached(Exception):
    """Ends a run once it has come far enough."""


class ModelOnMeta(LanguageModel):
    """A model whose weights lie on the meta device, where nothing is computed but what meets there is checked."""

    def layer_device(self, layer: int) -> torch.device:
        return self.model.device


@pytest.fixture
def on_meta(tiny_model: LanguageModel) -> LanguageModel:
    return ModelOnMeta(copy.deepcopy(tiny_model.model).to("meta"), tiny_model.tokenizer)


@pytest.fixture
def harvest(tmp_path: Path, tiny_model: LanguageModel) -> Harvest:
    start_harvest(tmp_path / "a", made_up_windows(12, 16), Origin(layers=(1, 3), d_model=tiny_model.d_model))
    return continue_harvest(tmp_path / "a", tiny_model)


def test_token_ids_are_on_the_models_device(tmp_path: Path, harvest: Harvest, on_meta: LanguageModel) -> None:
    def look(_module: torch.nn.Module, _args: object, kwargs: dict[str, torch.Tensor]) -> None:
        assert kwargs["input_ids"].device.type == "meta"
        raise Reached

    on_meta.decoder.register_forward_pre_hook(look, with_kwargs=True)
    start_harvest(tmp_path / "b", harvest.windows, harvest.origin)
    with pytest.raises(Reached):
        continue_harvest(tmp_path / "b", on_meta)
    with pytest.raises(Reached):
        measure_saes({1: random_sae(32)}, harvest, on_meta)


def test_an_sae_is_tuned_on_its_layers_device(
    harvest: Harvest, on_meta: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(optimizer: torch.optim.Optimizer) -> None:
        parameters = optimizer.param_groups[0]["params"]
        assert all(parameter.grad.device.type == "meta" for parameter in parameters)
        raise Reached

    monkeypatch.setattr(torch.optim.Adam, "step", step)
    # The forward looks at positions' values here, which tensors on meta don't have.
    monkeypatch.setattr("transformers.masking_utils.find_packed_sequence_indices", lambda _positions: None)
    token_ids = torch.from_numpy(harvest.token_ids).long()
    with pytest.raises(Reached):
        finetune_sae(random_sae(32), 1, on_meta, token_ids, 1.0, FinetuneConfig(steps=2))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_measures_and_tunes_as_the_processor_does(harvest: Harvest, tiny_model: LanguageModel) -> None:
    on_gpu = LanguageModel(copy.deepcopy(tiny_model.model).to("cuda"), tiny_model.tokenizer)
    sae, config = random_sae(32), FinetuneConfig(steps=2)
    ours, theirs = (measure_saes({3: sae}, harvest, model)[0].without_sinks for model in (on_gpu, tiny_model))
    assert ours == pytest.approx(theirs, rel=1e-3)
    token_ids = torch.from_numpy(harvest.token_ids).long()
    tuned, expected = (finetune_sae(sae, 3, model, token_ids, 1.0, config) for model in (on_gpu, tiny_model))
    torch.testing.assert_close(tuned.to(torch.device("cpu")).decoder, expected.decoder, rtol=1e-2, atol=1e-3)
