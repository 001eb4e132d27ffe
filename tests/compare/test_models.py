from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from feature_tracker.errors import TrackerError
from feature_tracker.tracker import Tracker
from tests.support import SENTENCES, random_sae


@pytest.fixture
def finetuned(tiny_tracker: Tracker) -> Tracker:
    """The tiny model with other weights in its first block, read by the same SAEs."""
    model = copy.deepcopy(tiny_tracker.language_model.model)
    with torch.no_grad():
        for parameter in model.model.layers[0].parameters():
            parameter.mul_(1.5)
    language_model = replace(tiny_tracker.language_model, model=model)
    return replace(tiny_tracker, language_model=language_model)


def test_a_model_does_not_differ_from_itself(tiny_tracker: Tracker) -> None:
    features = tiny_tracker.compare_model(tiny_tracker, SENTENCES)
    assert not features["is_certain"].any()
    assert np.allclose(features["difference"], 0, atol=1e-6)


def test_before_and_after_are_the_means_of_the_two_models(tiny_tracker: Tracker, finetuned: Tracker) -> None:
    text = "Net sales rose in the third quarter."
    features = tiny_tracker.compare_model(finetuned, text)
    reader, _ = tiny_tracker.kinds_of_change()
    for side, tracker in (("before", tiny_tracker), ("after", finetuned)):
        expected = reader.mean_strengths(tracker.trace(text))
        row = [reader.features.index((layer, index)) for layer, index in features[["layer", "feature"]].to_numpy()]
        assert np.allclose(features[side], expected[row], atol=1e-4)
    assert (features["difference"].abs() > 0.01).any()


def test_other_saes_and_no_text_are_refused(tiny_tracker: Tracker, finetuned: Tracker) -> None:
    others = {layer: random_sae(sae.d_model, seed=99 + layer) for layer, sae in tiny_tracker.saes.items()}
    with pytest.raises(TrackerError, match="by the same SAEs"):
        tiny_tracker.compare_model(replace(finetuned, saes=others), SENTENCES)
    with pytest.raises(TrackerError, match="has no words"):
        tiny_tracker.compare_model(finetuned, " ")
