from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.planted import all_features, bursts, trace_of
from feature_tracker.circuits.correlation import (
    COLUMNS,
    PAIR_COLUMNS,
    SIGNIFICANT,
    correlate,
    effective_size,
    p_value,
    standardize,
)
from feature_tracker.feature import Feature
from feature_tracker.tracing.trace import Trace

LAYERS = (4, 10, 16, 22, 28)


def test_r_equals_numpys_on_the_dense_matrix(tiny_trace: Trace) -> None:
    features = all_features(tiny_trace)
    pairs = correlate(tiny_trace, features).pairs
    dense = np.stack([tiny_trace.column(feature)[tiny_trace.counted] for feature in features]).astype(float)
    with np.errstate(invalid="ignore"):
        expected = np.corrcoef(dense)
    row_of = {feature: row for row, feature in enumerate(features)}
    assert len(pairs) > 250
    for row in pairs.itertuples():
        source = row_of[Feature(row.source_layer, row.source_feature)]
        target = row_of[Feature(row.target_layer, row.target_feature)]
        assert row.r == pytest.approx(expected[source, target], abs=1e-6)
        assert row.n_either == ((dense[source] > 0) | (dense[target] > 0)).sum()


def test_pairs_join_different_layers_shallower_first_and_none_twice(tiny_trace: Trace) -> None:
    pairs = correlate(tiny_trace, [Feature(layer, index) for layer in (4, 1, 3) for index in range(20)]).pairs
    assert list(pairs.columns) == COLUMNS
    assert (pairs["source_layer"] < pairs["target_layer"]).all()
    assert not pairs.duplicated(PAIR_COLUMNS).any()


def test_a_planted_pair_is_found_and_its_namesake_in_the_other_layer_is_not() -> None:
    # Latent 0 of layer 1 moves with latent 1 of layer 3; latent 0 of layer 3, its namesake, moves against it.
    rhythm = np.arange(20.0) % 5
    trace = trace_of({1: rhythm[:, None], 3: np.stack([4 - rhythm, 2 * rhythm], axis=1)})
    r = {row.target_feature: row.r for row in correlate(trace, all_features(trace)).pairs.itertuples()}
    assert r == {0: pytest.approx(-1.0), 1: pytest.approx(1.0)}


def test_rare_and_constant_features_are_left_out_and_counted() -> None:
    generator = np.random.default_rng(0)
    usual = generator.random((30, 2))
    rare = np.zeros((30, 1))
    rare[:4] = 1
    trace = trace_of({1: np.hstack([usual[:, :1], rare]), 3: np.hstack([usual[:, 1:], np.full((30, 1), 5.0)])})
    correlations = correlate(trace, all_features(trace), min_fires=5)
    assert correlations.n_rare == 2
    assert correlations.pairs[["source_feature", "target_feature"]].values.tolist() == [[0, 0]]


@pytest.mark.parametrize("n_tokens", [1, 3, 7])
def test_a_text_too_short_to_judge_gives_no_pair(n_tokens: int) -> None:
    generator = np.random.default_rng(0)
    trace = trace_of({1: generator.random((n_tokens, 3)), 3: generator.random((n_tokens, 3))})
    correlations = correlate(trace, all_features(trace), min_fires=1)
    assert list(correlations.pairs.columns) == COLUMNS
    assert correlations.pairs.empty
    assert correlations.chance(0.5) == 0


def test_no_feature_gives_an_empty_table(tiny_trace: Trace) -> None:
    correlations = correlate(tiny_trace, [])
    assert list(correlations.pairs.columns) == COLUMNS
    assert correlations.links(0.5).empty
    assert np.isnan(correlations.false_discovery_rate(0.5))


def test_p_is_the_share_of_permutations_with_a_larger_r_also_for_rare_features() -> None:
    generator = np.random.default_rng(1)
    left = np.where(generator.random(300) < 0.05, generator.random(300), 0)
    right = np.where(generator.random(300) < 0.08, generator.random(300), 0)
    scaled = standardize(np.stack([left, right], axis=1))
    null = np.array([scaled[:, 0] @ generator.permutation(scaled[:, 1]) for _ in range(20_000)])
    skewness = np.sqrt(300) * (scaled**3).sum(axis=0)
    for r in (0.1, 0.2, 0.3):
        p = p_value(np.array(r), np.array(300.0), np.array(skewness.prod()))
        assert p == pytest.approx(2 * (null >= r).mean(), rel=0.5, abs=1e-3)


def test_effective_size_is_that_of_the_variance_of_r() -> None:
    generator = np.random.default_rng(2)
    r, sizes = [], []
    for _ in range(300):
        left, right = (standardize(bursts(400, 1, rho=0.9, density=0.3, generator=generator)) for _ in range(2))
        r.append(float((left.T @ right).item()))
        sizes.append(float(effective_size(left, right).item()))
    assert 1 / np.var(r) == pytest.approx(np.median(sizes), rel=0.35)
    assert np.median(sizes) < 200


@pytest.mark.slow
@pytest.mark.parametrize(("rho", "density"), [(0.0, 0.3), (0.5, 0.1), (0.9, 0.1), (0.95, 0.3)])
def test_independent_bursts_give_a_significant_link_in_fewer_than_one_run_in_twenty(rho: float, density: float) -> None:
    false_runs = 0
    for seed in range(100):
        generator = np.random.default_rng(seed)
        trace = trace_of({n: bursts(400, 6, rho=rho, density=density, generator=generator) for n in LAYERS})
        false_runs += bool((correlate(trace, all_features(trace), n_shifts=1).pairs["q"] <= SIGNIFICANT).any())
    assert false_runs < 5


def test_planted_links_of_one_half_are_found() -> None:
    n_found = n_planted = 0
    for seed in range(30):
        generator = np.random.default_rng(seed)
        first, second = (bursts(400, 10, rho=0.5, density=0.4, generator=generator) for _ in range(2))
        shared = first[:, 0] / first[:, 0].std()
        noise = second[:, 0] / second[:, 0].std()
        second[:, 0] = shared + np.sqrt(3) * noise  # r = 1 / sqrt(1 + 3)
        trace = trace_of({4: first, 10: second})
        pairs = correlate(trace, all_features(trace), n_shifts=1).pairs.set_index(["source_feature", "target_feature"])
        n_planted += 1
        n_found += float(pairs["q"].loc[[(0, 0)]].iloc[0]) <= SIGNIFICANT
    assert n_found / n_planted > 0.9


@pytest.mark.parametrize("threshold", [0.1, 0.15])
def test_the_chance_count_is_what_shuffled_layers_give(tiny_trace: Trace, threshold: float) -> None:
    generator = np.random.default_rng(0)
    counted, displayed = [], []
    for _ in range(20):
        shuffled = Trace(
            tiny_trace.tokens,
            {
                layer: replace(layer_trace, values=layer_trace.values[order], indices=layer_trace.indices[order])
                for layer, layer_trace in tiny_trace.layers.items()
                for order in [generator.permutation(tiny_trace.n_tokens)]
            },
        )
        correlations = correlate(shuffled, all_features(shuffled))
        counted.append(len(correlations.links(threshold)))
        displayed.append(correlations.chance(threshold))
    assert np.mean(counted) > 20
    assert np.mean(displayed) == pytest.approx(np.mean(counted), rel=0.2)


def test_chance_and_false_discovery_rate_count_what_lies_at_or_beyond_the_threshold() -> None:
    generator = np.random.default_rng(3)
    shared = generator.random((100, 3))
    trace = trace_of({4: shared, 10: shared + 0.01 * generator.random((100, 3))})
    correlations = correlate(trace, all_features(trace))
    assert len(correlations.links(0.9)) == 3
    assert correlations.chance(0.9) == 0
    assert correlations.false_discovery_rate(0.9) == 0
    assert correlations.chance(0.0) == len(correlations.pairs) == 9
