"""Trace what feeds a target, layer by layer down to the words, by gradients; see docs/circuits.md.

The target is a weighted sum of activations. Going down one SAE layer, each node H of the deeper layer with its weights
w_j(s) has the gradient g_H(s) = d sum_{j in H, s} w_j(s) a_j(s) / d x(s), so feature i contributes
a_i(s) g_H(s).W_i to the target through H. These are the weights of the layer below: w_i(s) = sum_H g_H(s).W_i, over the
kept features of the layer. The deeper layer's choice of top-k latents is held fixed. Source: Marks et al. 2024, Sparse
Feature Circuits, section 3.1, with the chain rule through features alone: errors are leaves, as in Ameisen et al. 2025,
Circuit Tracing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from feature_tracker.circuits.circuit import Member, Node
from feature_tracker.circuits.contributions import Contributions, contributions_to
from feature_tracker.circuits.groups import group_features
from feature_tracker.circuits.question import NextWord, WhatFeeds
from feature_tracker.circuits.streams import (
    WindowStream,
    asked_place,
    asked_positions,
    layer_before,
    logit,
    position_mask,
    positions_before,
    question_windows,
)
from feature_tracker.feature import Feature
from feature_tracker.model.forward_queue import Turn
from feature_tracker.model.hooks import EMBEDDINGS
from feature_tracker.tracing.recording import Recording

MOST_GROUPS = 7
"""Nodes of features that a layer shows by themselves, the most influential; the others are one node together."""
_MOST_WORDS = 9


@dataclass(frozen=True, eq=False)
class Level:
    """The nodes of one layer, and how much each activation there counts for the target.

    Attributes:
        layer: an SAE layer, `EMBEDDINGS`, or the number of blocks for a logit.
        nodes: features in several nodes don't overlap.
        weights: by window in question, (window, n_latents) weights of the kept features; none for words and logits.
        members: rows of `Circuit.members`.
        contributions: (n_nodes, n_deeper) estimated contribution of each node through each node of the level above.
    """

    layer: int
    nodes: tuple[Node, ...]
    weights: dict[int, torch.Tensor]
    members: tuple[Member, ...]
    contributions: np.ndarray


def first_level(recording: Recording, question: WhatFeeds | NextWord) -> Level:
    """The level of what is asked about."""
    if isinstance(question, NextWord):
        value = _logit_value(recording, question)
        node = Node(0, recording.last_block + 1, "logit", (), (), 1.0, value)
        return Level(node.layer, (node,), {}, (), np.zeros((1, 0)))
    layer = question.features[0].layer
    positions = asked_positions(recording, question)
    weights: dict[int, torch.Tensor] = {}
    totals = {feature: float(recording.trace.column(feature)[positions].sum()) for feature in question.features}
    for number in question_windows(recording, question):
        stream = WindowStream(recording, number, layer)
        inside = position_mask(recording, number, positions).to(stream.resid.device)
        weight = torch.zeros_like(stream.activations)
        for feature in question.features:
            # Several features count alike; a single one counts in its own unit.
            unit = 1.0 if len(question.features) == 1 else 1 / totals[feature]
            weight[inside, feature.index] = unit
        weights[number] = weight
    nodes = tuple(
        Node(number, layer, "features", (feature,), _peaks(recording, feature, positions), 1 / len(totals), total)
        for number, (feature, total) in enumerate(totals.items())
    )
    members = tuple(Member(node.number, *node.members[0], node.influence, np.nan, node.activation) for node in nodes)
    return Level(layer, nodes, weights, members, np.zeros((len(nodes), 0)))


def _peaks(recording: Recording, feature: Feature, positions: np.ndarray) -> tuple[int, ...]:
    by_token = np.zeros(recording.trace.n_tokens)
    by_token[positions] = recording.trace.column(feature)[positions]
    return strongest_words(recording, by_token)


def _logit_value(recording: Recording, question: NextWord) -> float:
    number, position = asked_place(recording, question)
    resid = recording.windows[number].resid[recording.last_block][None]
    with torch.inference_mode():
        return float(logit(recording, resid, position, question.token, question.against)[0])


def level_below(
    recording: Recording, question: WhatFeeds | NextWord, above: Level, first_number: int, share: float, turn: Turn
) -> Level:
    """The nodes of the layer below a level: the features, or words, that hold `share` of its influence, and the rest.

    Args:
        first_number: of the first node.
        turn: taken once for the forward of each window in question, and once for each node's gradient there.
    """
    layer = recording.layers[-1] if above.layer > recording.last_block else layer_before(recording, above.layer)
    contributions = contributions_to(recording, question, above.nodes, above.weights, layer, turn)
    influence = np.array([node.influence for node in above.nodes])
    totals = contributions.size.sum(axis=1) + contributions.error_size + contributions.sinks_size
    passed = influence / np.where(totals > 0, totals, 1.0)
    by_source = passed @ contributions.size
    kept = holding(by_source, share)
    groups = _word_groups(recording, kept, by_source) if layer == EMBEDDINGS else _feature_groups(
        recording, layer, kept, contributions
    )  # fmt: skip
    groups.sort(key=lambda group: -by_source[group].sum())
    most = _MOST_WORDS if layer == EMBEDDINGS else MOST_GROUPS
    shown, others = (groups, []) if len(groups) <= most + 1 else (groups[:most], groups[most:])
    nodes: list[Node] = []
    rows: list[np.ndarray] = []
    for members in [*shown, *([np.concatenate(others)] if others else [])]:
        ordered = members[np.argsort(-by_source[members], kind="stable")]
        kind = "rest" if len(nodes) == len(shown) else "words" if layer == EMBEDDINGS else "features"
        features = () if layer == EMBEDDINGS else tuple(Feature(layer, int(index)) for index in ordered)
        positions = tuple(sorted(map(int, ordered))) if layer == EMBEDDINGS else strongest_words(
            recording, _by_token(recording, layer, contributions.weights, ordered)
        )  # fmt: skip
        activation = _activation(recording, question, features)
        number = first_number + len(nodes)
        nodes.append(Node(number, layer, kind, features, positions, float(by_source[members].sum()), activation))
        rows.append(contributions.signed[:, members].sum(axis=1))
    if layer != EMBEDDINGS:
        number = first_number + len(nodes)
        nodes.append(Node(number, layer, "error", (), (), float(passed @ contributions.error_size), np.nan))
        rows.append(contributions.error)
    if contributions.sinks_size.any():
        number = first_number + len(nodes)
        nodes.append(Node(number, layer, "sinks", (), (), float(passed @ contributions.sinks_size), np.nan))
        rows.append(contributions.sinks)
    signed = contributions.signed.sum(axis=0)
    members = tuple(
        Member(node.number, *feature, float(by_source[feature.index]), float(signed[feature.index]),
         _activation(recording, question, (feature,)))
        for node in nodes for feature in node.members
    )  # fmt: skip
    is_kept = torch.zeros(contributions.size.shape[1], dtype=torch.bool)
    is_kept[torch.from_numpy(kept)] = True
    weights = {number: weight * is_kept.to(weight) for number, weight in contributions.weights.items()}
    return Level(layer, tuple(nodes), weights, members, np.array(rows).reshape(len(nodes), len(above.nodes)))


def strongest_words(recording: Recording, by_token: np.ndarray, most: int = 6) -> tuple[int, ...]:
    """The tokens of largest absolute value, strongest first, one for each different word.

    Punctuation tells a reader little, so it is named only where no word has a value.
    """
    tokens = recording.trace.tokens
    words, punctuation = dict[str, int](), dict[str, int]()
    for token in np.argsort(-np.abs(by_token), kind="stable"):
        if by_token[token] == 0 or len(words) == most:
            break
        word = tokens.text[slice(*tokens.words.spans[tokens.words.word_of[token]])].casefold()
        (words if any(map(str.isalnum, word)) else punctuation).setdefault(word, int(token))
    return tuple(words.values()) or tuple(punctuation.values())[:most]


def _by_token(recording: Recording, layer: int, weights: dict[int, torch.Tensor], features: np.ndarray) -> np.ndarray:
    """(n_tokens,) contribution of some features of a layer on each token."""
    by_token = np.zeros(recording.trace.n_tokens)
    columns = torch.from_numpy(features)
    for number, weight in weights.items():
        contributions = (WindowStream(recording, number, layer).activations * weight)[:, columns].sum(dim=1)
        by_token[recording.tokens_of(number)] = contributions[recording.first :].cpu()
    return by_token


def _activation(recording: Recording, question: WhatFeeds | NextWord, features: Sequence[Feature]) -> float:
    positions = positions_before(recording, question)
    return float(sum(recording.trace.column(feature)[positions].sum() for feature in features)) if features else np.nan


def holding(influence: np.ndarray, share: float) -> np.ndarray:
    """Rows of the fewest sources that hold this share of the influence, most influential first."""
    order = np.argsort(-influence, kind="stable")
    held = np.cumsum(influence[order])
    if not len(held) or held[-1] <= 0:
        return order[:0]
    return order[: int(np.searchsorted(held, share * held[-1] * (1 - 1e-9))) + 1]


def _feature_groups(
    recording: Recording, layer: int, kept: np.ndarray, contributions: Contributions
) -> list[np.ndarray]:
    columns = torch.from_numpy(kept)
    where = torch.cat(
        [
            (WindowStream(recording, number, layer).activations * weights)[:, columns]
            for number, weights in contributions.weights.items()
        ]
    )
    directions = recording.saes[layer].decoder[columns]
    groups = group_features(where.T.cpu().numpy(), directions.cpu().numpy(), contributions.signed[:, kept].T)
    return [kept[rows] for rows in groups]


def _word_groups(recording: Recording, kept: np.ndarray, by_token: np.ndarray) -> list[np.ndarray]:
    """Tokens of the same word, wherever it stands; all its tokens, so that a word is taken out whole."""
    tokens = recording.trace.tokens
    spans, word_of = tokens.words.spans, tokens.words.word_of
    by_word: dict[str, list[int]] = {}
    wanted = {tokens.text[slice(*spans[word_of[token]])].casefold() for token in kept}
    for token in np.flatnonzero(by_token > 0):
        word = tokens.text[slice(*spans[word_of[token]])].casefold()
        if word in wanted:
            by_word.setdefault(word, []).append(int(token))
    return [np.array(positions) for positions in by_word.values()]
