"""Gradients against finite differences, and streams against their parts, on the tiny model in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from feature_tracker.circuits.circuit import Node
from feature_tracker.circuits.contributions import contributions_to
from feature_tracker.circuits.question import NextWord, WhatFeeds
from feature_tracker.circuits.streams import WindowStream, asked_place, logit, question_windows, source_parts
from feature_tracker.circuits.trace_back import first_level
from feature_tracker.feature import Feature
from feature_tracker.model.hooks import EMBEDDINGS
from feature_tracker.tracing.recording import Recording

LAYERS = [1, 3, 4]


def strongest(recording: Recording, layer: int, n: int) -> list[Feature]:
    totals = recording.trace.layers[layer].dense()[recording.trace.counted].sum(axis=0)
    return [Feature(layer, int(index)) for index in np.argsort(-totals)[:n]]


def weighted_sum(
    recording: Recording, target: Node, weights, start: int, around: dict[int, torch.Tensor], change: float, source: int
) -> float:
    """The target's weighted sum of activations with a source changed. Its top-k set is that of `around`."""
    total = 0.0
    for number, weight in weights.items():
        direction = WindowStream(recording, number, start).activations[:, source, None]
        changed = around[number] + change * direction * recording.saes[start].decoder[source]
        stream, unchanged = (
            recording.windows[number].run(start, resid[None], [target.layer])[target.layer][0]
            for resid in (changed, around[number])
        )
        fires = WindowStream(recording, number, target.layer).encoded(unchanged) > 0
        pre = recording.saes[target.layer].pre_activations(stream) * fires * weight
        total += float(pre[:, [feature.index for feature in target.members]].sum())
    return total


@pytest.mark.parametrize(("source_layer", "target_layer"), [(1, 3), (3, 4)])
def test_contributions_equal_central_finite_differences(
    recording: Recording, source_layer: int, target_layer: int
) -> None:
    question = WhatFeeds(tuple(strongest(recording, target_layer, 3)))
    level = first_level(recording, question)
    contributions = contributions_to(recording, question, level.nodes, level.weights, source_layer)
    step = 1e-5
    for part in source_parts(recording, source_layer):
        source = int(part[0])
        around = {n: WindowStream(recording, n, source_layer).without_half(part) for n in level.weights}
        for row, target in enumerate(level.nodes):
            sums = [
                weighted_sum(recording, target, level.weights, source_layer, around, sign * step, source)
                for sign in (1, -1)
            ]
            expected = (sums[0] - sums[1]) / (2 * step)
            assert contributions.signed[row, source] == pytest.approx(expected, rel=1e-4, abs=1e-8)
            assert contributions.size[row, source] >= abs(contributions.signed[row, source]) - 1e-12


def test_a_logits_contributions_equal_central_finite_differences(recording: Recording) -> None:
    question = NextWord(token=7, against=3)
    level = first_level(recording, question)
    contributions = contributions_to(recording, question, level.nodes, level.weights, 4)
    number, place = asked_place(recording, question)
    stream = WindowStream(recording, number, 4)
    source = int(np.argmax(contributions.size[0]))
    step, values = 1e-4, []
    for sign in (1, -1):
        change = stream.activations[:, source, None] * recording.saes[4].decoder[source]
        resid = (stream.resid + sign * step * change)[None]
        if recording.last_block != 4:
            resid = recording.windows[number].run(4, resid, [recording.last_block])[recording.last_block]
        values.append(float(logit(recording, resid, place, 7, 3)[0]))
    assert contributions.signed[0, source] == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-2, abs=1e-6)


def test_a_stream_is_the_sum_of_its_parts(recording: Recording) -> None:
    for layer in LAYERS:
        for number in range(len(recording.windows)):
            stream = WindowStream(recording, number, layer)
            rebuilt = stream.decoded(stream.activations) + stream.sae.b_dec + stream.error
            torch.testing.assert_close(rebuilt[stream.counts], stream.resid[stream.counts])
            assert not stream.unusual[stream.counts].any()
            assert not stream.activations[~stream.counts].any()
            assert not stream.error[~stream.counts].any()


def test_bos_sinks_and_starts_after_a_cut_are_no_tokens_that_count(recording: Recording) -> None:
    stream = WindowStream(recording, 1, 3)
    assert not stream.counts[0]
    assert not stream.counts[1]  # the first token after the cut
    assert stream.counts[2:].any()


def test_a_swapped_word_is_another_word_of_the_text(recording: Recording) -> None:
    stream = WindowStream(recording, 0, EMBEDDINGS)
    others = stream.resid[stream.counts]
    for swap in range(3):
        difference = stream.word_swap([4, 6], swap)
        changed = stream.resid - difference
        assert sorted(torch.nonzero(difference.any(dim=1)).flatten().tolist()) == [5, 7]  # BOS stands first
        for place in (5, 7):
            assert any(torch.equal(changed[place].float(), other.float()) for other in others)


def test_parts_of_the_first_layer_hold_each_latent_once(recording: Recording) -> None:
    parts = source_parts(recording, 1)
    assert len(parts) > 1
    assert sorted(torch.cat(parts).tolist()) == list(range(recording.saes[1].n_latents))
    assert len(source_parts(recording, 3)) == 1


def test_only_windows_in_which_the_feature_fires_are_in_question(recording: Recording) -> None:
    column = recording.trace.column(feature := strongest(recording, 3, 1)[0])
    expected = {n for n in range(len(recording.windows)) if column[recording.tokens_of(n)].any()}
    assert set(question_windows(recording, WhatFeeds((feature,)))) <= expected
