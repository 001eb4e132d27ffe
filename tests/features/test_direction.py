from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from feature_tracker.bundles.bundle import load_bundle
from feature_tracker.feature import Feature
from feature_tracker.features.direction import direction_logits, logit_lens, nearest_features
from feature_tracker.model.load import LanguageModel
from feature_tracker.sae.load import load_saes
from feature_tracker.sae.topk import Sae


def by_hand(model: LanguageModel, direction: np.ndarray) -> np.ndarray:
    """RMS norm and unembedding in float64."""
    norm = model.decoder.norm
    normed = direction / np.sqrt((direction**2).mean() + norm.variance_epsilon) * norm.weight.detach().double().numpy()
    return model.model.get_output_embeddings().weight.detach().double().numpy() @ normed


def test_logits_are_those_of_the_norm_and_the_unembedding(tiny_model: LanguageModel, tiny_saes: dict[int, Sae]) -> None:
    direction = tiny_saes[3].decoder[7]
    by_model = direction_logits(tiny_model, direction).numpy()
    assert np.abs(by_model - by_hand(tiny_model, direction.double().numpy())).max() < 1e-4


@pytest.mark.model
def test_logits_of_the_built_in_model_are_those_in_float64(builtin_model: LanguageModel) -> None:
    bundle = load_bundle("smollm2-135m")
    saes = load_saes(bundle.sae_folder, bundle.layers)
    for layer, sae in saes.items():
        direction = sae.decoder[layer]
        by_model = direction_logits(builtin_model, direction).numpy()
        assert np.abs(by_model - by_hand(builtin_model, direction.double().numpy())).max() < 1e-4


def test_the_lens_lists_both_ends_around_the_mean(tiny_model: LanguageModel, tiny_saes: dict[int, Sae]) -> None:
    direction = tiny_saes[3].decoder[7]
    lens = logit_lens(tiny_model, direction, top=4)
    logits = direction_logits(tiny_model, direction)
    assert lens.promoted["logit"].tolist() == pytest.approx(
        (logits.sort(descending=True).values[:4] - logits.mean()).tolist()
    )
    assert lens.suppressed["logit"].tolist() == pytest.approx((logits.sort().values[:4] - logits.mean()).tolist())
    assert lens.promoted["token"].iloc[0] == tiny_model.tokenizer.decode([int(logits.argmax())])


def test_the_nearest_features_point_the_same_way(tiny_saes: dict[int, Sae]) -> None:
    decoder = tiny_saes[4].decoder.clone()
    decoder[5] = 3 * tiny_saes[3].decoder[7]  # of another length
    nearest = nearest_features({**tiny_saes, 4: replace(tiny_saes[4], decoder=decoder)}, Feature(3, 7), top=2)
    assert nearest["layer"].tolist() == [1, 1, 3, 3, 4, 4]
    first = nearest.drop_duplicates("layer").set_index("layer")
    assert (first.loc[4, "feature"], first.loc[4, "cosine"]) == (5, pytest.approx(1))
    assert not ((nearest["layer"] == 3) & (nearest["feature"] == 7)).any()
    rows = torch.nn.functional.normalize(tiny_saes[1].decoder, dim=1)
    expected = (rows @ torch.nn.functional.normalize(tiny_saes[3].decoder[7], dim=0)).max()
    assert first.loc[1, "cosine"] == pytest.approx(float(expected))
