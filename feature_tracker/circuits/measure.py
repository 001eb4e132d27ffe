"""Measure a circuit's edges: take a node out of the residual stream, run on, and see what the next layer's nodes lose.

What a node holds is subtracted from the stream (see `circuits.streams`); words are replaced by other words of the text.
The blocks up to the next SAE layer run again, and that layer is encoded again, top-k included. The effect on a node
there is its activation before minus after, summed over the tokens that bear on the question: positive where the first
feeds the second. BOS and attention sinks are not taken out: no model works without them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext

import numpy as np
import torch

from feature_tracker.circuits.circuit import Node
from feature_tracker.circuits.question import NextWord, Question
from feature_tracker.circuits.streams import (
    WORD_SWAPS,
    WindowStream,
    asked_place,
    logit,
    position_mask,
    question_windows,
    read_positions,
    run_on,
)
from feature_tracker.model.forward_queue import Turn
from feature_tracker.tracing.recording import Recording

_TOKENS_PER_FORWARD = 512  # within a second on two cores; others wait for it, and nobody can stop it


def removed(stream: WindowStream, node: Node) -> torch.Tensor:
    """(n, window, d_model) what taking a node out subtracts from a window's stream, in `n` versions."""
    if node.kind == "error":
        return stream.error[None]
    if not node.members:
        return torch.stack([stream.word_swap(node.positions, swap) for swap in range(WORD_SWAPS)])
    is_member = torch.zeros(stream.sae.n_latents, device=stream.resid.device)
    is_member[[feature.index for feature in node.members]] = 1.0
    return stream.decoded(stream.activations * is_member)[None]


def measured(
    recording: Recording, question: Question, nodes: Sequence[Node], targets: Sequence[Node], turn: Turn = nullcontext
) -> Iterator[tuple[Node, np.ndarray]]:
    """Take out each of some nodes, several per forward, and yield what each target loses.

    Args:
        nodes: of one layer, none of them sinks.
        targets: of the next layer.
        turn: taken once per forward.
    """
    numbers = question_windows(recording, question)
    longest = max(len(recording.windows[number].resid[recording.layers[0]]) for number in numbers)
    step = _nodes_per_forward(longest, nodes)
    for start in range(0, len(nodes), step):
        batch = nodes[start : start + step]
        effects = np.zeros((len(batch), len(targets)))
        for number in numbers:
            effects += _effects(recording, question, number, batch, targets, turn)
        yield from zip(batch, effects, strict=True)


def measured_turns(recording: Recording, nodes: Sequence[Node], n_windows: int) -> int:
    """How many turns `measured` takes at most."""
    longest = max(len(window.resid[recording.layers[0]]) for window in recording.windows)
    return n_windows * -(-len(nodes) // _nodes_per_forward(longest, nodes)) if nodes else 0


def _nodes_per_forward(longest: int, nodes: Sequence[Node]) -> int:
    versions = 1 if any(node.members or node.kind == "error" for node in nodes) else WORD_SWAPS
    return max(1, _TOKENS_PER_FORWARD // (longest * versions))


@torch.inference_mode()
def _effects(
    recording: Recording,
    question: Question,
    number: int,
    nodes: Sequence[Node],
    targets: Sequence[Node],
    turn: Turn,
) -> np.ndarray:
    stream = WindowStream(recording, number, nodes[0].layer)
    versions = [removed(stream, node) for node in nodes]
    changed = (stream.resid - torch.cat(versions)).to(stream.resid.dtype)
    of_node = np.cumsum([0, *map(len, versions)])[:-1]
    is_logit = targets[0].kind == "logit"
    with turn():
        stop = recording.last_block if is_logit else targets[0].layer
        deeper = run_on(recording, number, stream.layer, changed, stop)
        if is_logit and isinstance(question, NextWord):
            _, position = asked_place(recording, question)
            after = logit(recording, deeper, position, question.token, question.against)[:, None]
            effects = targets[0].activation - after.double().cpu().numpy()
        else:
            before = summed(recording, question, number, recording.windows[number].resid[stop][None], targets)
            effects = before - summed(recording, question, number, deeper, targets)
    return np.add.reduceat(effects, of_node) / np.array(list(map(len, versions)))[:, None]


def summed(
    recording: Recording, question: Question, number: int, resid: torch.Tensor, nodes: Sequence[Node]
) -> np.ndarray:
    """(n, n_nodes) activation of each node of one layer on streams (n, window, d_model), over tokens in question."""
    sae = recording.saes[nodes[0].layer]
    positions = read_positions(recording, question, nodes[0].layer)
    inside = position_mask(recording, number, positions).to(resid.device)
    top = sae.encode(resid[:, inside])
    by_latent = torch.zeros(len(resid), sae.n_latents, dtype=torch.float64, device=resid.device)
    by_latent.scatter_add_(1, top.indices.flatten(1), top.values.flatten(1).double())
    columns = [by_latent[:, [feature.index for feature in node.members]].sum(dim=1) for node in nodes]
    return torch.stack(columns, dim=1).cpu().numpy()
