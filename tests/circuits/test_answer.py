"""What a circuit says in words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from feature_tracker.circuits.answer import answer, explains_little, faithfulness_in_words
from feature_tracker.circuits.circuit import Faithfulness
from feature_tracker.circuits.question import NextWord, Question, WhatFeeds, WhatItFeeds, in_words
from feature_tracker.circuits.trace import trace_circuit
from feature_tracker.circuits.traced import TracedCircuit
from feature_tracker.labels.table import unlabelled_table
from feature_tracker.tracing.recording import Recording
from tests.circuits.test_contributions import strongest


def traced(recording: Recording, question: Question) -> TracedCircuit:
    """A circuit that explains enough; those of a model with random weights don't."""
    *_, circuit = trace_circuit(recording, question)
    labels = unlabelled_table({layer: sae.n_latents for layer, sae in recording.saes.items()})
    return TracedCircuit(recording, labels, replace(circuit, faithfulness=Faithfulness(0.7, 0.2, 0.1)))


@pytest.fixture(scope="module")
def fed(recording: Recording) -> TracedCircuit:
    return traced(recording, WhatFeeds((strongest(recording, 4, 1)[0],)))


def with_edges(fed: TracedCircuit, **lost: float) -> TracedCircuit:
    """The same circuit with all edges weak but the named ones, `n12_0=0.5`."""
    edges = fed.circuit.edges.assign(lost=0.0)
    for name, value in lost.items():
        source, target = map(int, name[1:].split("_"))
        edges.loc[(edges["source"] == source) & (edges["target"] == target), "lost"] = value
    return replace(fed, circuit=replace(fed.circuit, edges=edges))


def test_the_answer_follows_the_strongest_edges_down(fed: TracedCircuit) -> None:
    first = next(node for node in fed.circuit.nodes if node.kind == "features" and node.layer == 3)
    below = next(node for node in fed.circuit.nodes if node.kind == "features" and node.layer == 1)
    said = answer(with_edges(fed, **{f"n{first.number}_0": 0.53, f"n{below.number}_{first.number}": 0.4}))
    assert "without it, it loses 53%" in said
    assert "That in turn is fed by" in said
    assert "(40%)" in said
    assert "holds it down" not in said


def test_what_holds_the_target_down_is_said(fed: TracedCircuit) -> None:
    first, second = [node for node in fed.circuit.nodes if node.kind == "features" and node.layer == 3][:2]
    said = answer(with_edges(fed, **{f"n{first.number}_0": 0.53, f"n{second.number}_0": -0.2}))
    assert "holds it down: without it, there would be 20% more" in said


def test_where_nothing_matters_that_is_the_answer(fed: TracedCircuit) -> None:
    assert "Nothing that was taken out changes" in answer(with_edges(fed))


def test_faithfulness_is_one_sentence_and_absent_until_it_is_measured(fed: TracedCircuit) -> None:
    measured = replace(fed, circuit=replace(fed.circuit, faithfulness=Faithfulness(0.7, 0.2, 0.1)))
    assert "bring back 62% of it; without them, 10% is left." in faithfulness_in_words(measured)
    assert not explains_little(measured)
    more = replace(fed, circuit=replace(fed.circuit, faithfulness=Faithfulness(0.7, 0.2, 2.04)))
    assert "without them, 204% of what it was is there" in faithfulness_in_words(more)
    less = replace(fed, circuit=replace(fed.circuit, faithfulness=Faithfulness(0.7, 0.2, -0.5)))
    assert "without them, it turns into its opposite." in faithfulness_in_words(less)
    assert not faithfulness_in_words(replace(fed, circuit=replace(fed.circuit, faithfulness=None)))


@pytest.mark.parametrize("kept", [0.2, 0.25, -1.0])
def test_a_circuit_that_brings_back_little_explains_little(fed: TracedCircuit, kept: float) -> None:
    little = replace(fed, circuit=replace(fed.circuit, faithfulness=Faithfulness(kept, 0.0, 0.5)))
    assert explains_little(little)


def test_a_circuit_through_which_little_passes_says_so_instead_of_paths(fed: TracedCircuit) -> None:
    nodes = tuple(node._replace(influence=node.influence / 10) for node in fed.circuit.nodes)
    little = replace(fed, circuit=replace(fed.circuit, nodes=nodes))
    assert explains_little(little)
    assert answer(little).startswith("This circuit explains little")
    assert not explains_little(fed)


@pytest.mark.parametrize(("text", "name"), [(" rose", "rose"), ("\n\n", "line break"), (" ", "blank")])
def test_a_next_word_has_a_name_even_where_it_is_blank(text: str, name: str) -> None:
    assert in_words(NextWord(7), {}, text) == f"What makes “{name}” the next word?"


@pytest.mark.parametrize("kind", ["forward", "word"])
def test_other_questions_have_answers(recording: Recording, kind: str) -> None:
    question = WhatItFeeds(strongest(recording, 1, 1)[0]) if kind == "forward" else NextWord(7, 3)
    said = answer(traced(recording, question))
    assert said.startswith(("Without", "“", "Nothing that was taken out"))
    assert "nan" not in said
