"""A circuit on the tiny model: what makes an edge, what is verified first, how influence and shares add up."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest

from feature_tracker.circuits.ablation import ablate, effects_of
from feature_tracker.circuits.attribution import attribute
from feature_tracker.circuits.circuit import Circuit, trace_circuit, unverified_sources, verify
from feature_tracker.circuits.correlation import PAIR_COLUMNS, Correlations, correlate
from feature_tracker.circuits.graph import ErrorNode, circuit_graph, circuit_paths, firing_groups, path_in_words
from feature_tracker.feature import Feature
from feature_tracker.model.load import LanguageModel
from feature_tracker.sae.topk import Sae
from feature_tracker.tracing.recording import Recording, part_of, record
from feature_tracker.tracing.trace import Trace


@pytest.fixture(scope="module")
def recording(tiny_trace: Trace, tiny_model: LanguageModel, tiny_saes: dict[int, Sae]) -> Recording:
    return record(part_of(tiny_trace.tokens, 0, 4), tiny_model, tiny_saes)


@pytest.fixture(scope="module")
def features(recording: Recording) -> list[Feature]:
    """The six strongest of each layer."""
    totals = {layer: layer_trace.dense().sum(axis=0) for layer, layer_trace in recording.trace.layers.items()}
    return [Feature(layer, int(index)) for layer in totals for index in np.argsort(-totals[layer])[:6]]


@pytest.fixture(scope="module")
def correlations(recording: Recording, features: list[Feature]) -> Correlations:
    return correlate(recording.trace, features)


@pytest.fixture(scope="module")
def circuit(recording: Recording, features: list[Feature], correlations: Correlations) -> Circuit:
    return trace_circuit(recording, features, correlations, threshold=0.3)


@pytest.fixture(scope="module")
def verified(recording: Recording, circuit: Circuit) -> list[Circuit]:
    return list(verify(recording, circuit))


def ranked_of(features: list[Feature]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "layer": [feature.layer for feature in features],
            "feature": [feature.index for feature in features],
            "label": [f"label {feature}" for feature in features],
            "activation": 1.0,
        }
    )


def test_direct_edges_carry_the_attribution_and_skips_none(recording: Recording, circuit: Circuit) -> None:
    direct = circuit.edges[circuit.edges["attribution"].notna()]
    assert len(direct) > 20
    assert set(zip(direct["source_layer"], direct["target_layer"], strict=True)) == {(1, 3), (3, 4)}
    for row in direct.itertuples():
        target = Feature(row.target_layer, row.target_feature)
        contributions = attribute(recording, [target]).upstream[row.source_layer].by_feature()[0]
        assert row.attribution == pytest.approx(contributions[row.source_feature], rel=1e-4)
    assert circuit.edges["effect"].isna().all()


def test_correlated_pairs_at_the_threshold_are_edges_too(circuit: Circuit, correlations: Correlations) -> None:
    edges = set(circuit.edges[PAIR_COLUMNS].itertuples(index=False, name=None))
    linked = set(correlations.links(0.3)[PAIR_COLUMNS].itertuples(index=False, name=None))
    assert linked <= edges
    assert any(source_layer == 1 and target_layer == 4 for source_layer, _, target_layer, _ in linked)
    joined = circuit.edges.merge(correlations.pairs, on=PAIR_COLUMNS, suffixes=("", "_pair"))
    np.testing.assert_allclose(joined["r"], joined["r_pair"])
    assert not circuit.edges.duplicated(PAIR_COLUMNS).any()


def test_what_reaches_a_target_adds_up(recording: Recording, circuit: Circuit) -> None:
    for row in circuit.incoming.itertuples():
        attribution = attribute(recording, [Feature(row.layer, row.feature)], next_layer_only=True)
        (upstream,) = attribution.upstream.values()
        from_features = np.abs(upstream.by_feature()).sum()
        assert float(row.in_circuit) + float(row.other) == pytest.approx(from_features, rel=1e-4)
        assert row.error == pytest.approx(upstream.error.sum(), rel=1e-3, abs=1e-4)
    share, error = circuit.completeness()
    assert 0 < share < 1
    assert 0 < error < 1
    assert share + error < 1


def test_the_last_layers_features_hand_their_influence_up(circuit: Circuit) -> None:
    influence = circuit.influence()
    last = influence[[layer == 4 for layer, _ in influence.index]]
    assert last.sum() == pytest.approx(1)
    # What leaves a layer for the features before it is no more than what it holds.
    before = influence[[layer == 3 for layer, _ in influence.index]].sum()
    first = influence[[layer == 1 for layer, _ in influence.index]].sum()
    assert 1 > before > first > 0


def test_verifying_gives_every_edge_the_effect_of_its_ablation(
    recording: Recording, circuit: Circuit, verified: list[Circuit], features: list[Feature]
) -> None:
    assert len(verified) == len(unverified_sources(circuit))
    done = verified[-1].edges
    assert done["effect"].notna().all()
    sources = [feature for feature in features if feature.layer < 4]
    expected = effects_of(list(ablate(recording, sources)), features).rename(columns={"effect": "expected"})
    joined = done.merge(expected, on=PAIR_COLUMNS)
    assert len(joined) == len(done)
    np.testing.assert_allclose(joined["effect"], joined["expected"], rtol=1e-4, atol=1e-4)


def test_stopping_early_leaves_the_rest_unverified(recording: Recording, circuit: Circuit) -> None:
    some = list(itertools.islice(verify(recording, circuit), 3))[-1]
    has_effect = some.edges["effect"].notna()
    assert 0 < has_effect.sum() < len(has_effect)
    assert len(unverified_sources(some)) == len(unverified_sources(circuit)) - 3


def test_the_strongest_edges_are_verified_first(circuit: Circuit) -> None:
    strongest = circuit.edges.sort_values("share", ascending=False).iloc[0]
    assert unverified_sources(circuit, 1) == [Feature(int(strongest.source_layer), int(strongest.source_feature))]
    assert unverified_sources(circuit)[0] == unverified_sources(circuit, 1)[0]


def test_the_graph_is_direct_between_neighbouring_layers_only(
    circuit: Circuit, verified: list[Circuit], features: list[Feature]
) -> None:
    graph = circuit_graph(ranked_of(features), verified[-1])
    assert {(s.layer, t.layer) for s, t, edge in graph.edges(data=True) if edge["direct"]} == {(1, 3), (3, 4)}
    assert {(s.layer, t.layer) for s, t, edge in graph.edges(data=True) if not edge["direct"]} == {(1, 4)}
    assert {node for node in graph if isinstance(node, ErrorNode)} == {ErrorNode(1), ErrorNode(3)}
    # A layer whose features are all filtered out still lies between the others.
    without = circuit_graph(ranked_of([f for f in features if f.layer != 3]), verified[-1])
    assert not any(edge["direct"] for s, _, edge in without.edges(data=True) if isinstance(s, Feature))
    assert circuit_paths(without, 3) == []


def test_a_paths_sign_follows_the_effects_once_they_are_known(
    circuit: Circuit, verified: list[Circuit], features: list[Feature]
) -> None:
    graph = circuit_graph(ranked_of(features), verified[-1])
    paths = circuit_paths(graph, 5)
    assert len(paths) == 5
    for path in paths:
        edges = [graph.edges[edge] for edge in itertools.pairwise(path.nodes)]
        assert path.strength == pytest.approx(math.prod(edge["share"] for edge in edges))
        assert path.sign == math.prod(math.copysign(1, edge["effect"]) for edge in edges)
    words = path_in_words(paths[0], graph)
    assert words.count(" → ") == 2
    assert f"'label {paths[0].nodes[0]}' {paths[0].nodes[0]}" in words


def test_features_that_never_fire_make_a_circuit_without_edges(recording: Recording) -> None:
    silent = [
        Feature(layer, int(np.flatnonzero(~layer_trace.dense().any(axis=0))[0]))
        for layer, layer_trace in recording.trace.layers.items()
    ]
    correlations = correlate(recording.trace, silent)
    assert correlations.n_rare == len(silent)
    circuit = trace_circuit(recording, silent, correlations)
    assert circuit.edges.empty
    assert all(math.isnan(share) for share in circuit.completeness())
    assert list(verify(recording, circuit)) == []
    graph = circuit_graph(ranked_of(silent), circuit)
    assert graph.number_of_edges() == 0
    assert len(graph) == len(silent)


def test_features_that_fire_together_form_groups() -> None:
    rows = [(4, a, 10, b, 0.9, 0.01) for a in (0, 1) for b in (0, 1)] + [
        (4, 5, 10, 6, 0.8, 0.01),
        (4, 0, 10, 6, 0.9, 0.5),
    ]
    links = pd.DataFrame(rows, columns=[*PAIR_COLUMNS, "r", "q"])
    assert firing_groups(links, significant=0.05) == [
        [Feature(4, 0), Feature(4, 1), Feature(10, 0), Feature(10, 1)],
        [Feature(4, 5), Feature(10, 6)],
    ]
    assert firing_groups(links.head(0), significant=0.05) == []


def test_a_part_does_not_count_the_token_at_its_cut(
    tiny_trace: Trace, tiny_model: LanguageModel, tiny_saes: dict[int, Sae]
) -> None:
    whole = tiny_trace.tokens
    part = record(part_of(whole, 1, 2), tiny_model, tiny_saes).trace
    start = whole.window_starts[1]
    counted = [position for position in tiny_trace.counted.tolist() if start <= position < start + part.n_tokens]
    assert (part.counted + start).tolist() == counted
    assert 0 not in part.counted


def test_a_part_of_a_text_is_its_own_words_and_windows(tiny_trace: Trace, tiny_model: LanguageModel) -> None:
    whole = tiny_trace.tokens
    parts = [part_of(whole, first, 4) for first in range(0, len(whole.window_starts), 4)]
    assert "".join(part.text for part in parts) == whole.text
    assert np.concatenate([part.ids for part in parts]).tolist() == whole.ids.tolist()
    assert [word for part in parts for word in part.token_texts] == whole.token_texts
    assert len(parts[0].window_starts) == 4
