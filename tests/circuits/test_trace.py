"""Circuits on the tiny model: which nodes they have, and that every edge is what really happens."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from feature_tracker.circuits import where
from feature_tracker.circuits.circuit import Circuit, Node
from feature_tracker.circuits.faithfulness import measure_faithfulness
from feature_tracker.circuits.question import NextWord, Question, WhatFeeds, WhatItFeeds
from feature_tracker.circuits.streams import asked_place, positions_before
from feature_tracker.circuits.trace import trace_circuit
from feature_tracker.circuits.trace_back import strongest_words
from feature_tracker.circuits.where import edge_heads, edge_words, measure_members
from feature_tracker.errors import TrackerError
from feature_tracker.feature import Feature
from feature_tracker.model.hooks import replaced_residual
from feature_tracker.model.load import LanguageModel
from feature_tracker.sae.topk import Sae, TopK
from feature_tracker.tracing.recording import Recording, record
from feature_tracker.tracing.trace import Trace
from tests.circuits.test_contributions import strongest


def deepest(recording: Recording, n: int = 1) -> tuple[Feature, ...]:
    return tuple(strongest(recording, 4, n))


def peak(recording: Recording, feature: Feature) -> int:
    return recording.trace.peak(feature)


def whole(recording: Recording, question: Question, **options) -> Circuit:
    *_, circuit = trace_circuit(recording, question, **options)
    return circuit


@pytest.fixture(scope="module")
def circuit(recording: Recording) -> Circuit:
    return whole(recording, WhatFeeds(deepest(recording)))


def of_layer(circuit: Circuit, layer: int, *kinds: str) -> list[Node]:
    return [node for node in circuit.nodes if node.layer == layer and node.kind in kinds]


def test_nodes_lead_from_the_target_to_the_words(circuit: Circuit, recording: Recording) -> None:
    assert circuit.layers == [-1, 1, 3, 4]
    assert [node.number for node in circuit.nodes] == list(range(len(circuit.nodes)))
    assert circuit.nodes[0].members == deepest(recording)
    for layer in (1, 3):
        assert of_layer(circuit, layer, "features")
        assert len(of_layer(circuit, layer, "error")) == len(of_layer(circuit, layer, "sinks")) == 1
    words = of_layer(circuit, -1, "words")
    tokens = recording.trace.tokens
    for node in words:
        texts = {tokens.text[slice(*tokens.words.spans[tokens.words.word_of[p]])].casefold() for p in node.positions}
        assert len(texts) == 1
    members = list(itertools.chain(*(node.members for node in circuit.nodes)))
    assert len(members) == len(set(members)) == len(circuit.members)


def test_every_edge_is_measured_and_none_leads_to_what_nothing_feeds(circuit: Circuit) -> None:
    assert circuit.n_unmeasured == 0
    assert circuit.edges[["effect", "lost"]].notna().all().all()
    by_number = {node.number: node for node in circuit.nodes}
    layers = circuit.layers
    for edge in circuit.edges.itertuples():
        source, target = by_number[edge.source], by_number[edge.target]
        assert layers.index(target.layer) == layers.index(source.layer) + 1
        assert target.members
        assert source.kind != "sinks"
    removable = [node for node in circuit.nodes[1:] if node.kind != "sinks"]
    assert set(circuit.edges["source"]) == {node.number for node in removable}


def test_kept_features_hold_the_stated_share(recording: Recording) -> None:
    few, many = (whole(recording, WhatFeeds(deepest(recording)), share=share) for share in (0.3, 0.95))
    assert len(few.members) < len(many.members)
    for layer in (1, 3):
        held = sum(node.influence for node in few.nodes if node.layer == layer and node.members)
        everything = sum(node.influence for node in many.nodes if node.layer == layer and node.members)
        assert held <= everything + 1e-9


def independent(
    recording: Recording, model: LanguageModel, members: tuple[Feature, ...], target: Node, positions
) -> float:
    """What a target loses, the long way: whole forwards with the features subtracted by a hook."""
    layer, lost = members[0].layer, 0.0
    sae, wanted = recording.saes[layer], [feature.index for feature in members]
    counted = np.zeros(recording.trace.n_tokens, dtype=bool)
    counted[recording.trace.counted] = True
    inside = np.zeros(recording.trace.n_tokens, dtype=bool)
    inside[positions] = True
    for number, ids in enumerate(recording.trace.tokens.windows()):
        tokens = torch.from_numpy(np.concatenate([[model.bos_id], ids]))[None]
        span = recording.tokens_of(number)

        counts = torch.from_numpy(counted[span])

        def take_out(resid: torch.Tensor, counts: torch.Tensor = counts) -> torch.Tensor:
            top = sae.encode(resid)
            chosen = torch.isin(top.indices, torch.tensor(wanted)) & counts[None, :, None]
            only = TopK(torch.where(chosen, top.values, 0), top.indices)
            return resid - (sae.decode(only) - sae.b_dec)

        with torch.inference_mode():
            clean = model.decoder(tokens, output_hidden_states=True, use_cache=False).hidden_states
            with replaced_residual(model.decoder, layer, take_out):
                changed = model.decoder(tokens, output_hidden_states=True, use_cache=False).hidden_states
        for streams, sign in ((clean, 1), (changed, -1)):
            top = recording.saes[target.layer].encode(streams[target.layer + 1][0, 1:])
            is_target = torch.isin(top.indices, torch.tensor([feature.index for feature in target.members]))
            lost += sign * float((top.values * is_target)[torch.from_numpy(inside[span])].sum())
    return lost


def test_effects_equal_an_independent_forward(
    circuit: Circuit, recording: Recording, exact_model: LanguageModel
) -> None:
    for node in of_layer(circuit, 1, "features"):
        for target in of_layer(circuit, 3, "features"):
            expected = independent(recording, exact_model, node.members, target, recording.trace.counted)
            edge = circuit.edges[(circuit.edges["source"] == node.number) & (circuit.edges["target"] == target.number)]
            assert edge["effect"].item() == pytest.approx(expected, rel=1e-5, abs=1e-7)
            assert edge["lost"].item() == pytest.approx(expected / target.activation, rel=1e-5, abs=1e-7)


def test_a_word_is_asked_about_alone(recording: Recording) -> None:
    (feature,) = deepest(recording)
    position = peak(recording, feature)
    circuit = whole(recording, WhatFeeds((feature,), (position,)))
    assert circuit.value == pytest.approx(float(recording.trace.column(feature)[position]))
    window = next(n for n in range(len(recording.windows)) if position in range(*recording.tokens_of(n).indices(10**6)))
    for node in circuit.nodes:
        assert all(recording.tokens_of(window).start <= p <= position for p in node.positions)


def test_what_a_feature_feeds_is_what_changes_without_it(recording: Recording, exact_model: LanguageModel) -> None:
    feature = strongest(recording, 1, 1)[0]
    circuit = whole(recording, WhatItFeeds(feature))
    assert circuit.layers == [1, 3, 4]
    assert circuit.nodes[0].members == (feature,)
    assert circuit.edges[["effect", "lost"]].notna().all().all()
    assert circuit.edges["attribution"].isna().all()
    target = of_layer(circuit, 3, "features")[0]
    expected = independent(recording, exact_model, (feature,), target, recording.trace.counted)
    edge = circuit.edges[(circuit.edges["source"] == 0) & (circuit.edges["target"] == target.number)]
    assert edge["effect"].item() == pytest.approx(expected, rel=1e-5, abs=1e-7)


def test_a_next_word_is_a_node_of_its_own(recording: Recording) -> None:
    question = NextWord(token=7, against=3)
    circuit = whole(recording, question)
    node = circuit.nodes[0]
    number, place = asked_place(recording, question)
    ids = torch.tensor([[recording.language_model.bos_id, *list(recording.trace.tokens.windows())[number]]])
    with torch.inference_mode():
        logits = recording.language_model.model(input_ids=ids).logits[0, place].float()
    assert node.kind == "logit"
    assert circuit.value == pytest.approx(float(logits[7] - logits[3]), rel=1e-3, abs=1e-4)
    assert set(circuit.edges["target"]) >= {0}


def test_stopping_keeps_what_was_measured(recording: Recording) -> None:
    steps = trace_circuit(recording, WhatFeeds(deepest(recording)))
    first = next(steps)
    assert first.edges.empty
    assert first.n_unmeasured
    third = [next(steps) for _ in range(3)][-1]
    steps.close()
    assert third.n_unmeasured == first.n_unmeasured - 3
    assert third.edges["source"].nunique() == 3
    assert whole(recording, WhatFeeds(deepest(recording))).faithfulness  # the queue is free again


def test_all_features_kept_recover_all_and_none_recover_nothing(recording: Recording) -> None:
    question = WhatFeeds(deepest(recording))
    targets = whole(recording, question).nodes[:1]
    means = {layer: torch.zeros(recording.saes[layer].n_latents) for layer in (1, 3)}
    everything = {layer: torch.ones(recording.saes[layer].n_latents, dtype=torch.bool) for layer in (1, 3)}
    from contextlib import nullcontext

    measured = measure_faithfulness(recording, question, targets, everything, means, nullcontext)
    assert measured.kept == pytest.approx(1.0, rel=1e-6)
    assert measured.without == pytest.approx(measured.none)
    assert measured.recovered == pytest.approx(1.0)


def test_several_features_count_alike(recording: Recording) -> None:
    circuit = whole(recording, WhatFeeds(deepest(recording, 3)))
    assert [node.influence for node in circuit.nodes[:3]] == pytest.approx([1 / 3] * 3)
    assert set(circuit.edges["target"]) >= {0, 1, 2}


def test_members_alone_are_measured_on_request(circuit: Circuit, recording: Recording) -> None:
    node = max(of_layer(circuit, 3, "features", "rest"), key=lambda node: len(node.members))
    members = measure_members(recording, circuit, node)
    assert len(members) == len(node.members)
    if len(node.members) == 1:
        edge = circuit.edges[circuit.edges["source"] == node.number]
        assert members["effect"].item() == pytest.approx(edge["effect"].item())


def test_where_an_edge_acts(circuit: Circuit, recording: Recording) -> None:
    source, target = of_layer(circuit, 3, "features")[0], circuit.nodes[0]
    words = edge_words(recording, circuit, source, target)
    assert not words.empty
    assert words["effect"].abs().is_monotonic_decreasing
    same_window = [
        np.searchsorted(recording.starts, row.source_position, "right")
        == np.searchsorted(recording.starts, row.target_position, "right")
        for row in words.itertuples()
    ]
    assert all(same_window)
    assert (words["target_position"] >= words["source_position"]).all()
    assert set(words["target_position"]) <= set(positions_before(recording, circuit.question).tolist())


def test_the_words_taken_out_are_those_that_matter_to_the_target(
    recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    (feature,) = deepest(recording)
    circuit = whole(recording, WhatFeeds((feature,), (peak(recording, feature),)))
    for source in of_layer(circuit, 3, "rest", "features", "error"):
        monkeypatch.setattr(where, "_MOST_WORDS", 100)
        every = edge_words(recording, circuit, source, circuit.nodes[0])
        monkeypatch.setattr(where, "_MOST_WORDS", 4)
        some = edge_words(recording, circuit, source, circuit.nodes[0])
        assert some["source_position"].nunique() <= 4
        assert some["effect"].abs().max() == pytest.approx(every["effect"].abs().max())


def test_estimates_of_a_question_about_several_features_are_shares_of_all(recording: Recording) -> None:
    circuit = whole(recording, WhatFeeds(deepest(recording, 3)))
    assert circuit.edges["attribution"].abs().sum() > 0.1


def test_heads_of_an_edge(circuit: Circuit, recording: Recording, exact_model: LanguageModel) -> None:
    source, target = of_layer(circuit, 1, "features")[0], of_layer(circuit, 3, "features")[0]
    heads = edge_heads(recording, circuit, source, target)
    assert set(heads["layer"]) == {2, 3}
    assert len(heads) == 2 * exact_model.model.config.num_attention_heads
    assert heads["share"].sum() == pytest.approx(1.0)
    blocks = recording.windows[0].blocks
    assert not any(block.self_attn.o_proj._forward_pre_hooks for block in blocks)


def test_sinks_are_not_taken_out(circuit: Circuit, recording: Recording) -> None:
    (sinks,) = of_layer(circuit, 3, "sinks")
    for inside in (edge_words, edge_heads):
        with pytest.raises(TrackerError, match="not taken out"):
            inside(recording, circuit, sinks, circuit.nodes[0])


def test_questions_that_the_text_cannot_answer(recording: Recording) -> None:
    silent = np.flatnonzero(~recording.trace.layers[4].dense().any(axis=0))
    n_tokens = recording.trace.n_tokens
    (feature,) = deepest(recording)
    rare = min(strongest(recording, 3, 40), key=lambda other: np.count_nonzero(recording.trace.column(other)) or 10**6)
    quiet = int(np.flatnonzero(recording.trace.column(rare) == 0)[0])
    for question, words in (
        (WhatFeeds((Feature(4, int(silent[0])),)), "doesn't fire in this text"),
        (WhatFeeds((rare,), (quiet,)), "doesn't fire on the chosen word"),
        (WhatFeeds(()), "No feature is chosen"),
        (WhatFeeds((feature, Feature(3, 0))), "of one layer"),
        (WhatFeeds((Feature(2, 0),)), "There is no feature L2/F0"),
        (WhatFeeds((Feature(4, 10**6),)), "There is no feature"),
        (WhatFeeds((feature,), (n_tokens,)), f"Token {n_tokens} is not in this text"),
        (WhatItFeeds(feature), "lies in the last SAE layer"),
        (NextWord(3, position=-1), "Token -1 is not in this text"),
    ):
        with pytest.raises(TrackerError, match=words):
            next(trace_circuit(recording, question))


def test_a_feature_of_the_first_layer_is_fed_by_words_alone(recording: Recording) -> None:
    circuit = whole(recording, WhatFeeds((strongest(recording, 1, 1)[0],)))
    assert circuit.layers == [-1, 1]
    assert circuit.faithfulness is None


def test_a_text_of_two_words(tiny_model: LanguageModel, tiny_saes: dict[int, Sae], tiny_trace: Trace) -> None:
    from feature_tracker.model.tokens import tokenize

    recording = record(tokenize("net sales", tiny_model.tokenizer, window=16, max_tokens=100), tiny_model, tiny_saes)
    circuit = whole(recording, WhatFeeds((strongest(recording, 4, 1)[0],)))
    assert circuit.n_unmeasured == 0
    assert np.isfinite(circuit.edges["effect"]).all()


def test_inside_an_edge_every_target_is_read_on_the_words_that_are_asked_about(recording: Recording) -> None:
    features = deepest(recording, 3)
    firing = np.all([recording.trace.column(feature) > 0 for feature in features], axis=0)
    position = int(recording.trace.counted[firing[recording.trace.counted]][-1])
    circuit = whole(recording, WhatFeeds(features, (position,)))
    source = of_layer(circuit, 3, "features")[0]
    for target in circuit.nodes[:3]:
        assert set(edge_words(recording, circuit, source, target)["target_position"]) <= {position}


def test_a_node_names_words_before_punctuation_and_punctuation_where_there_is_nothing_else(
    recording: Recording,
) -> None:
    tokens = recording.trace.tokens
    texts = [tokens.text[slice(*tokens.words.spans[word])] for word in tokens.words.word_of]
    is_word = np.array([any(map(str.isalnum, text)) for text in texts])
    assert is_word.any() and not is_word.all()
    strongest_on_signs = np.where(is_word, 1.0, 9.0)
    named = strongest_words(recording, strongest_on_signs, most=3)
    assert len(named) == 3 and is_word[list(named)].all()
    signs = strongest_words(recording, np.where(is_word, 0.0, 1.0))
    assert signs and not is_word[list(signs)].any()
