from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from feature_tracker.feature import Feature
from feature_tracker.features.lineage import lineage
from feature_tracker.sae.topk import Sae
from feature_tracker.tracing.trace import LayerTrace, Trace


def with_twin(saes: dict[int, Sae], source: Feature, target: Feature) -> dict[int, Sae]:
    """The same SAEs, but the target's decoder direction is the source's."""
    decoder = saes[target.layer].decoder.clone()
    decoder[target.index] = saes[source.layer].decoder[source.index]
    return {**saes, target.layer: replace(saes[target.layer], decoder=decoder)}


def without(trace: Trace, feature: Feature) -> Trace:
    """The same trace, but the feature never fires."""
    old = trace.layers[feature.layer]
    values = np.where(old.indices == feature.index, 0, old.values)
    return replace(trace, layers={**trace.layers, feature.layer: replace(old, values=values)})


def test_one_row_a_layer_with_the_chosen_feature_in_its_own(tiny_trace: Trace, tiny_saes: dict[int, Sae]) -> None:
    line = lineage(tiny_trace, tiny_saes, Feature(3, 7))
    assert list(line.columns) == ["layer", "feature", "cosine", "r", "activation"]
    assert line["layer"].tolist() == [1, 3, 4]
    assert line["feature"][1] == 7
    assert np.isnan(line["cosine"][1])
    assert np.isnan(line["r"][1])
    assert line["activation"][1] == pytest.approx(tiny_trace.column(Feature(3, 7)).max())


def test_follows_the_direction_and_not_the_index(tiny_trace: Trace, tiny_saes: dict[int, Sae]) -> None:
    # Neither twin fires, so that the directions alone decide.
    start, twin = Feature(1, 5), Feature(3, 31)
    trace = without(tiny_trace, start)
    line = lineage(trace, with_twin(tiny_saes, start, twin), start)
    assert line["feature"][1] == 31
    assert line["cosine"][1] == pytest.approx(1.0, abs=1e-5)
    assert np.isnan(line["r"][1])


def test_follows_the_activations_where_directions_say_nothing(tiny_trace: Trace) -> None:
    generator = np.random.default_rng(0)
    rhythm = (generator.random((tiny_trace.n_tokens, 1)) * 5).astype(np.float32)
    other = (generator.random((tiny_trace.n_tokens, 1)) * 5).astype(np.float32)
    layers = {
        1: LayerTrace(1, rhythm, np.full(rhythm.shape, 2, np.int32), 4),
        3: LayerTrace(3, np.hstack([other, rhythm]), np.tile(np.int32([[2, 0]]), (len(rhythm), 1)), 4),
    }
    eye = torch.eye(8)
    saes = {
        1: Sae(eye[:4], torch.zeros(4), eye[:4], torch.zeros(8), 1),
        3: Sae(eye[4:], torch.zeros(4), eye[4:], torch.zeros(8), 2),
    }
    line = lineage(replace(tiny_trace, layers=layers), saes, Feature(1, 2))
    assert line["feature"].tolist() == [2, 0]
    assert line["r"][1] == pytest.approx(1.0)
    assert line["cosine"][1] == pytest.approx(0.0)
