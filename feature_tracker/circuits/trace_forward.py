"""Trace what a feature feeds: take it out, see what changes in every deeper layer, and through what.

One run without the feature gives, in each deeper SAE layer, how much less every other feature fires on each token, what
changes in the SAE's error, and what on attention sinks. Between neighbouring layers each of these responses is then
taken out by itself, which measures what passes through it: path patching (Wang et al. 2023, Interpretability in the
Wild). Nothing is estimated.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from feature_tracker.circuits.circuit import Member, Node
from feature_tracker.circuits.groups import group_features
from feature_tracker.circuits.question import WhatItFeeds
from feature_tracker.circuits.streams import WindowStream, question_windows
from feature_tracker.circuits.trace_back import MOST_GROUPS, holding, strongest_words
from feature_tracker.feature import Feature
from feature_tracker.model.forward_queue import Turn
from feature_tracker.tracing.recording import Recording


class _Response(NamedTuple):
    """What a window's stream loses at one layer when the feature is taken out.

    Attributes:
        features: (window, n_latents) activations lost, 0 where nothing counts.
        stream: (window, d_model) the whole loss.
    """

    features: torch.Tensor
    stream: torch.Tensor


@dataclass(frozen=True, eq=False)
class ForwardLevel:
    """The nodes of one layer, and what each window loses there.

    Attributes:
        layer: an SAE layer.
        nodes: of the features that respond, the SAE's error and the sinks.
        responses: by window.
        members: rows of `Circuit.members`.
    """

    layer: int
    nodes: tuple[Node, ...]
    responses: dict[int, _Response]
    members: tuple[Member, ...]


def forward_levels(recording: Recording, question: WhatItFeeds, share: float, turn: Turn) -> list[ForwardLevel]:
    """The feature by itself, then of each deeper layer the features that hold `share` of what changes there.

    Args:
        turn: taken once a window.
    """
    feature = question.feature
    counted, column = recording.trace.counted, recording.trace.column(feature)
    total = float(column[counted].sum())
    by_layer = _responses(recording, feature, question_windows(recording, question), turn)
    peaks = strongest_words(recording, np.where(np.isin(np.arange(len(column)), counted), column, 0))
    first = Node(0, feature.layer, "features", (feature,), peaks, 1.0, total)
    levels = [ForwardLevel(feature.layer, (first,), by_layer[feature.layer], (Member(0, *feature, 1.0, total, total),))]
    for layer in recording.layers:
        if layer > feature.layer:
            number = sum(len(level.nodes) for level in levels)
            levels.append(_level(recording, layer, by_layer[layer], number, share))
    return levels


@torch.inference_mode()
def _responses(
    recording: Recording, feature: Feature, numbers: list[int], turn: Turn
) -> dict[int, dict[int, _Response]]:
    deeper = [layer for layer in recording.layers if layer > feature.layer]
    by_layer: dict[int, dict[int, _Response]] = {layer: {} for layer in (feature.layer, *deeper)}
    for number in numbers:
        stream = WindowStream(recording, number, feature.layer)
        only = torch.zeros_like(stream.activations)
        only[:, feature.index] = stream.activations[:, feature.index]
        out = stream.decoded(only)
        by_layer[feature.layer][number] = _Response(only, out)
        with turn():
            changed = recording.windows[number].run(feature.layer, (stream.resid - out)[None].to(stream.resid), deeper)
            for layer, resid in changed.items():
                before = WindowStream(recording, number, layer)
                by_layer[layer][number] = _Response(
                    before.activations - before.encoded(resid[0]), (before.resid - resid[0]).float()
                )
    return by_layer


def _level(
    recording: Recording, layer: int, responses: dict[int, _Response], first_number: int, share: float
) -> ForwardLevel:
    lost = torch.cat([response.features for response in responses.values()])
    size = lost.abs().sum(dim=0).double().cpu().numpy()
    kept = holding(size, share)
    directions = recording.saes[layer].decoder[torch.from_numpy(kept)].cpu().numpy()
    where = lost[:, torch.from_numpy(kept)].T.cpu().numpy()
    groups = [kept[rows] for rows in group_features(where, directions, where.sum(axis=1, keepdims=True))]
    groups.sort(key=lambda group: -size[group].sum())
    shown, others = (groups, []) if len(groups) <= MOST_GROUPS + 1 else (groups[:MOST_GROUPS], groups[MOST_GROUPS:])
    total = max(float(size.sum()), 1e-12)
    by_token = _by_token(recording, responses)
    counted = recording.trace.counted
    nodes: list[Node] = []
    members: list[Member] = []
    for group in [*shown, *([np.concatenate(others)] if others else [])]:
        ordered = group[np.argsort(-size[group], kind="stable")]
        features = tuple(Feature(layer, int(index)) for index in ordered)
        activations = [float(recording.trace.column(feature)[counted].sum()) for feature in features]
        number, kind = first_number + len(nodes), "rest" if len(nodes) == len(shown) else "features"
        peaks = strongest_words(recording, by_token[:, ordered].sum(axis=1))
        nodes.append(Node(number, layer, kind, features, peaks, float(size[group].sum()) / total, sum(activations)))
        signed = lost[:, torch.from_numpy(ordered)].sum(dim=0).tolist()
        members += [
            Member(number, *feature, float(size[feature.index]) / total, loss, activation)
            for feature, loss, activation in zip(features, signed, activations, strict=True)
        ]
    nodes.append(Node(first_number + len(nodes), layer, "error", (), (), 0.0, np.nan))
    if any((~WindowStream(recording, number, layer).counts).any() for number in responses):
        nodes.append(Node(first_number + len(nodes), layer, "sinks", (), (), 0.0, np.nan))
    return ForwardLevel(layer, tuple(nodes), responses, tuple(members))


def _by_token(recording: Recording, responses: dict[int, _Response]) -> np.ndarray:
    """(n_tokens, n_latents) activations lost on each token of the text."""
    n_latents = next(iter(responses.values())).features.shape[1]
    by_token = np.zeros((recording.trace.n_tokens, n_latents), dtype=np.float32)
    for number, response in responses.items():
        by_token[recording.tokens_of(number)] = response.features[recording.first :].cpu()
    return by_token


def forward_effects(
    recording: Recording, level: ForwardLevel, deeper: ForwardLevel, turn: Turn
) -> Iterator[tuple[Node, np.ndarray]]:
    """Take each node's response out by itself, and yield what each node of the deeper layer loses.

    Args:
        turn: taken once for each node in each window.
    """
    for node in level.nodes:
        effects = np.zeros(len(deeper.nodes))
        for number in level.responses:
            with turn():
                effects += _effects(recording, number, level, node, deeper)
        yield node, effects


@torch.inference_mode()
def _effects(recording: Recording, number: int, level: ForwardLevel, node: Node, deeper: ForwardLevel) -> np.ndarray:
    stream, response = WindowStream(recording, number, level.layer), level.responses[number]
    out = _part(stream, response, node)
    resid = recording.windows[number].run(level.layer, (stream.resid - out)[None].to(stream.resid), [deeper.layer])
    after = WindowStream(recording, number, deeper.layer)
    lost = (after.activations - after.encoded(resid[deeper.layer][0])).sum(dim=0).double().cpu().numpy()
    return np.array([lost[[feature.index for feature in target.members]].sum() for target in deeper.nodes])


def _part(stream: WindowStream, response: _Response, node: Node) -> torch.Tensor:
    """(window, d_model) the part of a response that is a node's."""
    counts = stream.counts.to(response.stream)[:, None]
    if node.kind == "sinks":
        return response.stream * (1 - counts)
    if node.kind == "error":
        return (response.stream - stream.decoded(response.features)) * counts
    is_member = torch.zeros(response.features.shape[1], device=response.features.device)
    is_member[[feature.index for feature in node.members]] = 1.0
    return stream.decoded(response.features * is_member)
