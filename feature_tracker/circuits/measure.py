"""Measure a circuit's edges: take a node out of the residual stream, run on, and see what the next layer's nodes lose.

What a node holds is subtracted from the stream (see `circuits.streams`); words are replaced by other words of the text.
The blocks up to the next SAE layer run again, and that layer is encoded again, top-k included. The effect on a node
there is its activation before minus after, summed over the tokens that bear on the question: positive where the first
feeds the second. BOS and attention sinks are not taken out: no model works without them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from feature_tracker.circuits.circuit import Node
from feature_tracker.circuits.question import NextWord, WhatFeeds
from feature_tracker.circuits.streams import WORD_SWAPS, WindowStream, logit, run_on
from feature_tracker.circuits.trace_back import Level, asked_position, position_mask, tokens_in_question
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
    recording: Recording, question: WhatFeeds | NextWord, nodes: Sequence[Node], above: Level, turn: Turn
) -> Iterator[tuple[Node, np.ndarray]]:
    """Take out each of some nodes, several per forward, and yield what each node of the level above loses.

    Args:
        nodes: of the layer below `above`, none of them sinks.
        turn: taken once per forward.
    """
    numbers = [asked_position(recording, question)[0]] if isinstance(question, NextWord) else sorted(above.weights)
    longest = max(len(recording.windows[number].resid[recording.layers[0]]) for number in numbers)
    step = _nodes_per_forward(longest, nodes)
    for start in range(0, len(nodes), step):
        batch = nodes[start : start + step]
        effects = np.zeros((len(batch), len(above.nodes)))
        for number in numbers:
            effects += _effects(recording, question, number, batch, above, turn)
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
    question: WhatFeeds | NextWord,
    number: int,
    nodes: Sequence[Node],
    above: Level,
    turn: Turn,
) -> np.ndarray:
    stream = WindowStream(recording, number, nodes[0].layer)
    versions = [removed(stream, node) for node in nodes]
    changed = (stream.resid - torch.cat(versions)).to(stream.resid.dtype)
    of_node = np.cumsum([0, *map(len, versions)])[:-1]
    is_logit = above.layer > recording.last_block
    with turn():
        stop = recording.last_block if is_logit else above.layer
        deeper = run_on(recording, number, stream.layer, changed, stop)
        if is_logit and isinstance(question, NextWord):
            _, position = asked_position(recording, question)
            after = logit(recording, deeper, position, question.token, question.against)[:, None]
            effects = above.nodes[0].activation - after.double().cpu().numpy()
        else:
            before = summed(recording, question, number, recording.windows[number].resid[stop][None], above)
            effects = before - summed(recording, question, number, deeper, above)
    return np.add.reduceat(effects, of_node) / np.array(list(map(len, versions)))[:, None]


def summed(
    recording: Recording, question: WhatFeeds | NextWord, number: int, resid: torch.Tensor, above: Level
) -> np.ndarray:
    """(n, n_nodes) activation of each node on streams (n, window, d_model), over the tokens in question."""
    sae = recording.saes[above.layer]
    positions = tokens_in_question(recording, question)
    if above.nodes[0].number == 0 and isinstance(question, WhatFeeds) and question.positions is not None:
        positions = np.array(question.positions)  # the target itself is asked about on these alone
    inside = position_mask(recording, number, positions).to(resid.device)
    top = sae.encode(resid[:, inside])
    by_latent = torch.zeros(len(resid), sae.n_latents, dtype=torch.float64, device=resid.device)
    by_latent.scatter_add_(1, top.indices.flatten(1), top.values.flatten(1).double())
    columns = [by_latent[:, [feature.index for feature in node.members]].sum(dim=1) for node in above.nodes]
    return torch.stack(columns, dim=1).cpu().numpy()
