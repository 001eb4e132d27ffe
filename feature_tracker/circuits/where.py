"""Inside one edge of a circuit: on which words it acts, through which attention heads, and which members carry it."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from feature_tracker.circuits.circuit import Circuit, Node, lost
from feature_tracker.circuits.measure import measured, removed
from feature_tracker.circuits.question import NextWord
from feature_tracker.circuits.streams import (
    WindowStream,
    asked_place,
    asked_positions,
    logit,
    position_mask,
    question_windows,
    read_positions,
    run_on,
)
from feature_tracker.errors import TrackerError
from feature_tracker.model.forward_queue import FORWARDS
from feature_tracker.progress import Progress, silent
from feature_tracker.tracing.recording import Recording

_MOST_WORDS = 12
_VARIANTS = 4  # of a window in one forward


def measure_members(recording: Recording, circuit: Circuit, node: Node, progress: Progress = silent) -> pd.DataFrame:
    """Take out each member of a node alone.

    Returns:
        `layer, feature, target, effect, lost` for each member and each node of the next layer; see `Circuit.edges`.
    """
    targets = targets_of(circuit, node)
    alone = [node._replace(members=(member,)) for member in node.members]
    rows = []
    with FORWARDS.job("Taking members out", len(alone) * len(recording.windows), progress) as job:
        for member, effects in measured(recording, circuit.question, alone, targets, job.turn):
            rows += [
                (*member.members[0], target.number, effect, lost(effect, target))
                for target, effect in zip(targets, effects, strict=True)
                if np.isfinite(target.activation)
            ]
    return pd.DataFrame(rows, columns=["layer", "feature", "target", "effect", "lost"])


def targets_of(circuit: Circuit, node: Node) -> list[Node]:
    """The nodes of the next layer that something can feed."""
    deeper = [layer for layer in circuit.layers if layer > node.layer]
    able = [target for target in circuit.nodes if target.members or target.kind == "logit"]
    return [target for target in able if deeper and target.layer == deeper[0]]


def edge_words(
    recording: Recording, circuit: Circuit, source: Node, target: Node, progress: Progress = silent
) -> pd.DataFrame:
    """On which words an edge acts: the source is taken out on one word at a time.

    Returns:
        `source_position, target_position, effect`: what the target loses on one token when the source is taken out on
        another, for the twelve tokens of a window that matter most to the target by their gradient. Largest effects
        first.

    Raises:
        TrackerError: the source is a node of attention sinks, which are not taken out.
    """
    _require_removable(source)
    rows: list[tuple[int, int, float]] = []
    numbers = question_windows(recording, circuit.question)
    with FORWARDS.job("Taking words out", len(numbers) * (1 + _MOST_WORDS // _VARIANTS), progress) as job:
        for number in numbers:
            stream = WindowStream(recording, number, source.layer)
            out = removed(stream, source)[0]
            with job.turn():
                matters = _matters(recording, circuit, number, stream, out, target)
            places = [
                int(place) for place in matters.topk(min(_MOST_WORDS, len(matters))).indices if matters[place] > 0
            ]
            for start in range(0, len(places), _VARIANTS):
                batch = places[start : start + _VARIANTS]
                with job.turn():
                    effects = _effects_by_position(recording, circuit, number, stream, out, batch, target)
                offset = recording.starts[number] - recording.first
                for place, by_position in zip(batch, effects, strict=True):
                    rows += [(place + offset, position, effect) for position, effect in by_position]
    frame = pd.DataFrame(rows, columns=["source_position", "target_position", "effect"])
    order = frame["effect"].abs().sort_values(ascending=False, kind="stable").index
    return frame.reindex(order).reset_index(drop=True)


def _matters(
    recording: Recording, circuit: Circuit, number: int, stream: WindowStream, out: torch.Tensor, target: Node
) -> torch.Tensor:
    """(window,) estimated size of what the target loses when the source is taken out on one position alone."""
    start = stream.resid[None].detach().clone().requires_grad_()
    stop = recording.last_block if target.kind == "logit" else target.layer
    value = _target_value(recording, circuit, number, run_on(recording, number, stream.layer, start, stop), target)
    (gradient,) = torch.autograd.grad(value, start)
    return (gradient[0] * out).sum(dim=-1).abs()


@torch.inference_mode()
def _effects_by_position(
    recording: Recording,
    circuit: Circuit,
    number: int,
    stream: WindowStream,
    out: torch.Tensor,
    places: list[int],
    target: Node,
) -> list[list[tuple[int, float]]]:
    """For each place of the source, the positions of the target with what is lost there, where anything is."""
    changed = stream.resid.repeat(len(places), 1, 1)
    for row, place in enumerate(places):
        changed[row, place] -= out[place].to(changed)
    question = circuit.question
    if isinstance(question, NextWord) and target.kind == "logit":
        deeper = run_on(recording, number, stream.layer, changed, recording.last_block)
        _, place = asked_place(recording, question)
        after = logit(recording, deeper, place, question.token, question.against).tolist()
        position = int(asked_positions(recording, question)[0])
        return [[(position, target.activation - value)] for value in after]
    deeper = run_on(recording, number, stream.layer, changed, target.layer)
    above = WindowStream(recording, number, target.layer)
    members = [feature.index for feature in target.members]
    positions = read_positions(recording, question, target.layer)
    inside = position_mask(recording, number, positions).numpy()
    before = above.activations[:, members].sum(dim=1)
    offset = recording.starts[number] - recording.first
    results = []
    for row in deeper:
        lost = (before - above.encoded(row)[:, members].sum(dim=1)).cpu().numpy() * inside
        results.append([(int(place) + offset, float(lost[place])) for place in np.flatnonzero(lost)])
    return results


def edge_heads(
    recording: Recording, circuit: Circuit, source: Node, target: Node, progress: Progress = silent
) -> pd.DataFrame:
    """Through which attention heads an edge acts.

    The source is taken out, and what each head then writes differently is weighed by the target's gradient. These are
    estimates, and heads one above the other count the same change twice: they needn't add up to the effect.

    Returns:
        `layer, head, effect, share` (of the sum of absolute values over all heads), largest first.

    Raises:
        TrackerError: the source is a node of attention sinks, or the model's attention has no `o_proj`.
    """
    _require_removable(source)
    totals: dict[tuple[int, int], float] = {}
    numbers = question_windows(recording, circuit.question)
    with FORWARDS.job("Reading attention heads", len(numbers), progress) as job:
        for number in numbers:
            with job.turn():
                for head, effect in _head_effects(recording, circuit, number, source, target).items():
                    totals[head] = totals.get(head, 0.0) + effect
    frame = pd.DataFrame([(*head, effect) for head, effect in totals.items()], columns=["layer", "head", "effect"])
    size = frame["effect"].abs()
    frame["share"] = size / max(float(size.sum()), 1e-12)
    return frame.reindex(size.sort_values(ascending=False, kind="stable").index).reset_index(drop=True)


def _head_effects(
    recording: Recording, circuit: Circuit, number: int, source: Node, target: Node
) -> dict[tuple[int, int], float]:
    stop = recording.last_block if target.kind == "logit" else target.layer
    window = recording.windows[number]
    stream = WindowStream(recording, number, source.layer)
    start = stream.resid[None].detach().clone().requires_grad_()
    with _attention_outputs(window.blocks, range(source.layer + 1, stop + 1)) as outputs:
        value = _target_value(recording, circuit, number, run_on(recording, number, source.layer, start, stop), target)
        before = dict(outputs)
        gradients = torch.autograd.grad(value, list(before.values()), materialize_grads=True)
        with torch.no_grad():
            changed = (stream.resid - removed(stream, source)[0]).to(stream.resid)[None]
            run_on(recording, number, source.layer, changed, stop)
        after = dict(outputs)
    n_heads = recording.language_model.model.config.get_text_config().num_attention_heads
    effects = {}
    for (layer, clean), gradient in zip(before.items(), gradients, strict=True):
        lost = ((clean.detach() - after[layer]) * gradient).unflatten(-1, (n_heads, -1)).sum(dim=(0, 1, 3))
        effects |= {(layer, head): float(effect) for head, effect in enumerate(lost)}
    return effects


def _target_value(
    recording: Recording, circuit: Circuit, number: int, resid: torch.Tensor, target: Node
) -> torch.Tensor:
    question = circuit.question
    if isinstance(question, NextWord) and target.kind == "logit":
        _, place = asked_place(recording, question)
        return logit(recording, resid, place, question.token, question.against)[0]
    positions = read_positions(recording, question, target.layer)
    inside = position_mask(recording, number, positions).to(resid.device)
    sae = recording.saes[target.layer]
    pre = sae.pre_activations(resid[0, inside])
    top = sae.keep(pre.detach())
    fires = torch.zeros_like(pre).scatter(-1, top.indices, (top.values > 0).to(pre.dtype))
    return (pre * fires)[:, [feature.index for feature in target.members]].sum()


@contextmanager
def _attention_outputs(blocks: nn.ModuleList, layers: range) -> Generator[dict[int, torch.Tensor]]:
    """What the heads write, (n, window, n_heads x head_dim), by layer, in forwards within the block.

    The hooks come and go while this job has its turn, so that no other forward runs.
    """
    outputs: dict[int, torch.Tensor] = {}

    def keep(layer: int) -> Any:
        def hook(_module: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
            outputs[layer] = args[0]

        return hook

    projections: dict[int, Any] = {
        layer: getattr(getattr(blocks[layer], "self_attn", None), "o_proj", None) for layer in layers
    }
    unknown = [layer for layer, projection in projections.items() if projection is None]
    if unknown:
        raise TrackerError(
            f"The attention of block {unknown[0]} has no `self_attn.o_proj`, so its heads can't be told apart. Models "
            "of the Llama, Mistral, Qwen and Gemma families have one."
        )
    handles = [module.register_forward_pre_hook(keep(layer)) for layer, module in projections.items()]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def _require_removable(source: Node) -> None:
    if source.kind == "sinks":
        raise TrackerError(
            "BOS and attention sinks are not taken out: no model works without them. Choose another node."
        )
