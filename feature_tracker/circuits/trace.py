"""Trace a circuit: estimate what matters for a question, then measure every edge between what is shown."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from dataclasses import replace
from itertools import pairwise

import pandas as pd
import torch

from feature_tracker.circuits.circuit import EDGE_COLUMNS, Circuit, Member, Node, lost
from feature_tracker.circuits.faithfulness import measure_faithfulness
from feature_tracker.circuits.measure import measured, measured_turns
from feature_tracker.circuits.question import NextWord, Question, WhatFeeds, WhatItFeeds, require_answerable
from feature_tracker.circuits.streams import WindowStream, question_windows
from feature_tracker.circuits.trace_back import Level, first_level, level_below
from feature_tracker.circuits.trace_forward import forward_effects, forward_levels
from feature_tracker.model.forward_queue import FORWARDS, Turn
from feature_tracker.model.hooks import EMBEDDINGS
from feature_tracker.progress import Progress, silent
from feature_tracker.tracing.recording import Recording

SHARE = 0.8
"""Of each layer's influence that the kept features hold."""


def trace_circuit(
    recording: Recording,
    question: Question,
    *,
    share: float = SHARE,
    means: Mapping[int, torch.Tensor] | None = None,
    progress: Progress = silent,
) -> Generator[Circuit]:
    """Answer a question, and yield the circuit each time that more of it is measured.

    Close the generator if you don't exhaust it: until then, it keeps its place in the queue for the model. What was
    yielded last holds all that was measured.

    Args:
        share: of each layer's influence that is kept.
        means: by layer, (n_latents,) mean activations on ordinary text; those on this text where `None`.

    Raises:
        TrackerError: the text can't answer the question.
    """
    require_answerable(question, recording)
    if isinstance(question, WhatItFeeds):
        yield from _trace_forward(recording, question, share, progress)
    else:
        yield from _trace_back(recording, question, share, means, progress)


def _trace_back(
    recording: Recording,
    question: WhatFeeds | NextWord,
    share: float,
    means: Mapping[int, torch.Tensor] | None,
    progress: Progress,
) -> Generator[Circuit]:
    levels = [first_level(recording, question)]
    n_windows = len(question_windows(recording, question))
    below = [EMBEDDINGS, *(layer for layer in recording.layers if layer < levels[0].layer)]
    n_turns = n_windows * (2 + len(levels[0].nodes)) + 10 * n_windows * (len(below) - 1)
    with FORWARDS.job("Tracing back", n_turns, progress) as job:
        levels += _levels_below(recording, question, levels[0], share, job.turn)
    nodes = [node for level in levels for node in level.nodes]
    n_to_measure = sum(len(_to_take_out(level)) for level in levels[1:])
    value = sum(node.activation for node in levels[0].nodes)
    circuit = _unmeasured(
        question, share, nodes, [row for level in levels for row in level.members], value, n_to_measure
    )
    yield circuit
    n_turns = sum(measured_turns(recording, _to_take_out(level), n_windows) for level in levels[1:])
    with FORWARDS.job("Taking parts out", n_turns, progress) as job:
        n_asked = len(levels[0].nodes)
        whole = value if n_asked == 1 else float(n_asked)  # several features count alike, 1 each
        for rows in _measured_rows(recording, question, levels, whole, job.turn):
            edges = pd.concat([circuit.edges, rows], ignore_index=True)
            circuit = replace(circuit, edges=edges, n_unmeasured=circuit.n_unmeasured - 1)
            yield circuit
    with FORWARDS.job("Running the kept features alone", 3 * n_windows, progress) as job:
        kept = _kept(recording, levels)
        if kept:
            usual = _means(recording) if means is None else means
            yield replace(
                circuit, faithfulness=measure_faithfulness(recording, question, levels[0].nodes, kept, usual, job.turn)
            )


def _levels_below(
    recording: Recording,
    question: WhatFeeds | NextWord,
    first: Level,
    share: float,
    turn: Turn,
    lowest: int = EMBEDDINGS,
) -> list[Level]:
    levels = [first]
    while levels[-1].layer > lowest:
        number = sum(len(level.nodes) for level in levels)
        levels.append(level_below(recording, question, levels[-1], number, share, turn))
    return levels[1:]


def contributions_by_token(
    recording: Recording, question: Question, share: float, turn: Turn
) -> dict[int, dict[int, torch.Tensor]]:
    """By SAE layer and window, (window, n_latents) what each activation contributes to the target.

    Where the question is what a feature feeds, what each activation loses without it.
    """
    if isinstance(question, WhatItFeeds):
        levels = forward_levels(recording, question, share, turn)
        return {
            level.layer: {number: response.features for number, response in level.responses.items()} for level in levels
        }
    first = first_level(recording, question)
    below = _levels_below(recording, question, first, share, turn, lowest=recording.layers[0])
    return {
        level.layer: {
            number: WindowStream(recording, number, level.layer).activations * weight
            for number, weight in level.weights.items()
        }
        for level in (first, *below)
        if level.weights
    }


def _trace_forward(recording: Recording, question: WhatItFeeds, share: float, progress: Progress) -> Generator[Circuit]:
    n_windows = len(recording.windows)
    with FORWARDS.job("Taking the feature out", n_windows, progress) as job:
        levels = forward_levels(recording, question, share, job.turn)
    nodes = [node for level in levels for node in level.nodes]
    members = [row for level in levels for row in level.members]
    n_to_measure = sum(len(level.nodes) for level in levels[:-1])
    circuit = _unmeasured(question, share, nodes, members, nodes[0].activation, n_to_measure)
    yield circuit
    with FORWARDS.job("Taking parts out", n_to_measure * len(levels[0].responses), progress) as job:
        for level, deeper in pairwise(levels):
            for node, effects in forward_effects(recording, level, deeper, job.turn):
                rows = [
                    (node.number, target.number, float("nan"), effect, lost(effect, target))
                    for target, effect in zip(deeper.nodes, effects, strict=True)
                    if target.members
                ]
                edges = pd.concat([circuit.edges, pd.DataFrame(rows, columns=EDGE_COLUMNS)], ignore_index=True)
                circuit = replace(circuit, edges=edges, n_unmeasured=circuit.n_unmeasured - 1)
                yield circuit


def _unmeasured(
    question: Question,
    share: float,
    nodes: list[Node],
    members: list[Member],
    value: float,
    n_to_measure: int,
) -> Circuit:
    return Circuit(
        question,
        share,
        nodes=tuple(nodes),
        edges=pd.DataFrame({name: pd.Series(dtype=_DTYPES.get(name, float)) for name in EDGE_COLUMNS}),
        members=pd.DataFrame(members, columns=list(Member._fields)),
        value=value,
        n_unmeasured=n_to_measure,
    )


def _to_take_out(level: Level) -> list[Node]:
    return [node for node in level.nodes if node.kind != "sinks"]


_DTYPES = {"source": int, "target": int}


def _measured_rows(
    recording: Recording, question: WhatFeeds | NextWord, levels: list[Level], whole: float, turn: Turn
) -> Iterator[pd.DataFrame]:
    for above, level in pairwise(levels):
        if not level.nodes:  # nothing before the word that is asked about counts
            continue
        first = level.nodes[0].number
        for node, effects in measured(recording, question, _to_take_out(level), above.nodes, turn):
            contributions = level.contributions[node.number - first]
            rows = [
                (node.number, target.number, contribution / whole, effect, lost(effect, target))
                for target, contribution, effect in zip(above.nodes, contributions, effects, strict=True)
                if target.members or target.kind == "logit"
            ]
            yield pd.DataFrame(rows, columns=EDGE_COLUMNS)


def _kept(recording: Recording, levels: list[Level]) -> dict[int, torch.Tensor]:
    kept = {}
    for level in levels[1:]:
        if level.layer != EMBEDDINGS:
            mask = torch.zeros(recording.saes[level.layer].n_latents, dtype=torch.bool)
            mask[[feature.index for node in level.nodes for feature in node.members]] = True
            kept[level.layer] = mask
    return kept


def _means(recording: Recording) -> dict[int, torch.Tensor]:
    counted = recording.trace.counted
    return {
        layer: torch.from_numpy(trace.dense()[counted].mean(axis=0)) for layer, trace in recording.trace.layers.items()
    }
