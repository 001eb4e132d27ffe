from __future__ import annotations

import pytest
from scipy.stats import pearsonr

from circuits.correlation import COLUMNS, correlate
from sae.feature import Feature
from tests.tracing.test_rank import trace_of
from tracing.trace import Trace


def test_r_equals_scipys_pair_by_pair(tiny_trace: Trace) -> None:
    features = [Feature(layer, index) for layer in tiny_trace.layers for index in range(0, 40, 3)]
    pairs = correlate(tiny_trace, features)
    assert len(pairs) > 50
    for row in pairs.itertuples():
        left = tiny_trace.column(Feature(row.source_layer, row.source_feature))
        right = tiny_trace.column(Feature(row.target_layer, row.target_feature))
        assert row.r == pytest.approx(pearsonr(left, right).statistic, abs=1e-6)
        assert row.n_either == ((left > 0) | (right > 0)).sum()


def test_pairs_join_different_layers_shallower_first_and_none_twice(tiny_trace: Trace) -> None:
    pairs = correlate(tiny_trace, [Feature(layer, index) for layer in (4, 1, 3) for index in range(20)])
    assert list(pairs.columns) == COLUMNS
    assert (pairs["source_layer"] < pairs["target_layer"]).all()
    assert not pairs.duplicated(COLUMNS[:4]).any()


def test_a_planted_pair_is_found_and_its_namesake_in_the_other_layer_is_not() -> None:
    # Latent 0 of layer 1 moves with latent 2 of layer 3. Latent 0 of layer 3, its namesake, moves against it.
    first = [[1.0, 0, 0], [2.0, 0, 0], [3.0, 0, 0], [0.0, 0, 1]]
    second = [[2.0, 0, 1.0], [1.0, 0, 2.0], [0.0, 0, 3.0], [3.0, 0, 0.0]]
    trace = trace_of({1: first, 3: second})
    pairs = correlate(trace, [Feature(1, 0), Feature(3, 0), Feature(3, 2)], min_support=1)
    r = {(row.source_feature, row.target_feature): row.r for row in pairs.itertuples()}
    assert r[0, 2] == pytest.approx(1.0)
    assert r[0, 0] == pytest.approx(-1.0)


def test_pairs_with_too_few_tokens_or_a_constant_side_are_left_out() -> None:
    trace = trace_of({1: [[1.0, 5.0], [0, 5.0], [0, 5.0], [0, 5.0]], 3: [[2.0], [0], [0], [0]]})
    features = [Feature(1, 0), Feature(1, 1), Feature(3, 0)]
    assert correlate(trace, features, min_support=2).empty
    kept = correlate(trace, features, min_support=1)
    assert kept[["source_feature", "target_feature"]].values.tolist() == [[0, 0]]


def test_no_feature_gives_an_empty_table_with_its_columns(tiny_trace: Trace) -> None:
    assert list(correlate(tiny_trace, []).columns) == COLUMNS
