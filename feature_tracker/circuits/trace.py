"""Trace a circuit: estimate what matters for a question, then measure every edge between what is shown."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from dataclasses import replace
from itertools import pairwise

import pandas as pd
import torch

from feature_tracker.circuits.circuit import EDGE_COLUMNS, MEMBER_COLUMNS, Circuit, Node
from feature_tracker.circuits.faithfulness import measure_faithfulness
from feature_tracker.circuits.measure import measured, measured_turns
from feature_tracker.circuits.question import NextWord, Question, WhatFeeds, require_answerable
from feature_tracker.circuits.trace_back import Level, first_level, level_below
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
    levels = [first_level(recording, question)]
    n_windows = max(1, len(levels[0].weights))
    below = [EMBEDDINGS, *(layer for layer in recording.layers if layer < levels[0].layer)]
    n_turns = n_windows * (2 + len(levels[0].nodes)) + 10 * n_windows * (len(below) - 1)
    with FORWARDS.job("Tracing back", n_turns, progress) as job:
        while levels[-1].layer != EMBEDDINGS:
            number = sum(len(level.nodes) for level in levels)
            levels.append(level_below(recording, question, levels[-1], number, share, job.turn))
    circuit = _unmeasured(question, share, levels)
    yield circuit
    n_turns = sum(measured_turns(recording, _to_take_out(level), n_windows) for level in levels[1:])
    with FORWARDS.job("Taking parts out", n_turns, progress) as job:
        for rows in _measured_rows(recording, question, levels, circuit.value, job.turn):
            edges = pd.concat([circuit.edges, rows], ignore_index=True)
            circuit = replace(circuit, edges=edges, n_unmeasured=circuit.n_unmeasured - 1)
            yield circuit
    with FORWARDS.job("Running the kept features alone", 3 * n_windows, progress) as job:
        kept = _kept(recording, levels)
        if kept:
            usual = _means(recording) if means is None else means
            yield replace(
                circuit, faithfulness=measure_faithfulness(recording, question, levels[0], kept, usual, job.turn)
            )


def _unmeasured(question: WhatFeeds | NextWord, share: float, levels: list[Level]) -> Circuit:
    members = [row for level in levels for row in level.members]
    return Circuit(
        question,
        share,
        nodes=tuple(node for level in levels for node in level.nodes),
        edges=pd.DataFrame({name: pd.Series(dtype=_DTYPES.get(name, float)) for name in EDGE_COLUMNS}),
        members=pd.DataFrame(members, columns=MEMBER_COLUMNS),
        value=sum(node.activation for node in levels[0].nodes),
        n_unmeasured=sum(len(_to_take_out(level)) for level in levels[1:]),
    )


def _to_take_out(level: Level) -> list[Node]:
    return [node for node in level.nodes if node.kind != "sinks"]


_DTYPES = {"source": int, "target": int}


def _measured_rows(
    recording: Recording, question: WhatFeeds | NextWord, levels: list[Level], value: float, turn: Turn
) -> Iterator[pd.DataFrame]:
    for above, level in pairwise(levels):
        first = level.nodes[0].number
        for node, effects in measured(recording, question, _to_take_out(level), above, turn):
            contributions = level.contributions[node.number - first]
            rows = [
                (node.number, target.number, contribution / value, effect, effect / target.activation)
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
