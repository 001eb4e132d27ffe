"""Circuits as attribution graphs, on the tiny model."""

from __future__ import annotations

import pytest

from feature_tracker.circuits.positions import attribution_graph_of
from feature_tracker.circuits.question import NextWord, WhatFeeds, WhatItFeeds
from feature_tracker.circuits.trace import trace_circuit
from feature_tracker.circuits.traced import TracedCircuit
from feature_tracker.labels.table import unlabelled_table
from feature_tracker.tracing.recording import Recording
from tests.circuits.test_contributions import strongest


@pytest.fixture(params=["what feeds", "on a word", "what it feeds", "next word", "next word against"])
def traced(request: pytest.FixtureRequest, recording: Recording) -> TracedCircuit:
    (feature,) = strongest(recording, 4, 1)
    question = {
        "what feeds": WhatFeeds((feature,)),
        "on a word": WhatFeeds((feature,), (recording.trace.peak(feature),)),
        "what it feeds": WhatItFeeds(strongest(recording, 1, 1)[0]),
        "next word": NextWord(7),
        "next word against": NextWord(7, 3),
    }[request.param]
    *_, circuit = trace_circuit(recording, question)
    labels = unlabelled_table({layer: sae.n_latents for layer, sae in recording.saes.items()})
    return TracedCircuit(recording, labels, circuit)


def test_features_words_and_logit_are_linked(traced: TracedCircuit) -> None:
    graph = attribution_graph_of(traced, slug="circuit", scan="tiny")
    types = {node["node_id"]: node["feature_type"] for node in graph["nodes"]}
    sources = {types[link["source"]] for link in graph["links"]}
    targets = {types[link["target"]] for link in graph["links"]}
    assert "cross layer transcoder" in sources & targets
    assert "logit" in types.values()  # viewers need one, linked or not
    if isinstance(traced.circuit.question, NextWord):
        assert "logit" in targets
    if not isinstance(traced.circuit.question, WhatItFeeds):
        assert "embedding" in sources
    members = {feature for node in traced.circuit.nodes for feature in node.members}
    for node in graph["nodes"]:
        if node["feature_type"] == "cross layer transcoder":
            layer, latent, _ = map(int, node["node_id"].split("_"))
            assert (layer, latent) in members
            assert node["activation"] >= 0
    assert graph["metadata"]["info"]["description"] == traced.question()


def test_a_feature_and_position_is_one_node(traced: TracedCircuit) -> None:
    graph = attribution_graph_of(traced, slug="circuit", scan="tiny")
    ids = [node["node_id"] for node in graph["nodes"]]
    assert len(ids) == len(set(ids))
    named = [supernode[0] for supernode in graph["qParams"]["supernodes"]]
    assert len(named) == len(set(named))
