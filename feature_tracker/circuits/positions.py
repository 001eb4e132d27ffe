"""A circuit by feature and position, as attribution graphs have it: one node each, with links by gradient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch

from feature_tracker.circuits import attribution_graph as written
from feature_tracker.circuits.circuit import Circuit
from feature_tracker.circuits.question import NextWord
from feature_tracker.circuits.streams import WindowStream, asked_place, logit, run_on
from feature_tracker.circuits.trace import contributions_by_token
from feature_tracker.circuits.traced import TracedCircuit
from feature_tracker.feature import Feature
from feature_tracker.model.forward_queue import FORWARDS, Turn
from feature_tracker.model.hooks import EMBEDDINGS
from feature_tracker.model.next_token import logits_of
from feature_tracker.progress import Progress, silent
from feature_tracker.tracing.recording import Recording

_MOST_A_LAYER = 14
_MOST_TARGETS = 5
_SMALLEST_SHARE = 0.01
"""Of what enters a node; weaker links are left out."""


class Place(NamedTuple):
    """A feature at one position of a window, BOS included."""

    feature: Feature
    position: int


def attribution_graph_of(traced: TracedCircuit, *, slug: str, scan: str, progress: Progress = silent) -> dict[str, Any]:
    """The attribution-graph JSON of a circuit's strongest features and positions; see `attribution_graph`.

    Of a long text it holds the window in which the target fires most. Each layer has its fourteen strongest pairs of a
    feature and a position among the circuit's kept features. Links are gradient times activation between neighbouring
    SAE layers: estimates, as the format has no other. Supernodes are the circuit's nodes.

    Args:
        slug: name of the graph: letters, digits, `-` and `_`.
        scan: name of the model.
    """
    recording, circuit = traced.recording, traced.circuit
    with FORWARDS.job("Tracing positions", _MOST_A_LAYER * len(recording.layers), progress) as job:
        by_token = contributions_by_token(recording, circuit.question, circuit.share, job.turn)
        number = _window(recording, circuit, by_token)
        places = {layer: _places(circuit, layer, by_token[layer].get(number)) for layer in sorted(by_token)}
        links = _links(recording, number, places, job.turn)
        nodes = [_node(traced, place, number, by_token) for chosen in places.values() for place in chosen]
        next_word, to_logit = _logit(traced, number, places, job.turn)
    error_ids = {link.source for link in links if "_-1_" in link.source}
    errors = [
        written.ErrorNode(int(layer), int(position), label=f"What the SAE of layer {layer} misses")
        for layer, _, position in (node_id.split("_") for node_id in sorted(error_ids))
    ]
    return written.to_attribution_graph(
        _prompt(recording, number),
        [*nodes, *errors, next_word],
        [*links, *to_logit],
        _supernodes(traced, places),
        slug=slug,
        scan=scan,
        text=recording.trace.tokens.text,
        description=traced.question(),
    )


def _node(
    traced: TracedCircuit, place: Place, number: int, by_token: Mapping[int, Mapping[int, torch.Tensor]]
) -> written.FeatureNode:
    (layer, index), position = place
    stream = WindowStream(traced.recording, number, layer)
    return written.FeatureNode(
        layer,
        index,
        position,
        activation=float(stream.activations[position, index]),
        influence=abs(float(by_token[layer][number][position, index])),
        label=traced.labels.name(place.feature),
    )


def _window(recording: Recording, circuit: Circuit, by_token: Mapping[int, Mapping[int, torch.Tensor]]) -> int:
    if isinstance(circuit.question, NextWord):
        return asked_place(recording, circuit.question)[0]
    asked = by_token[circuit.nodes[0].layer]
    return max(asked, key=lambda number: float(asked[number].abs().sum()))


def _places(circuit: Circuit, layer: int, contributions: torch.Tensor | None) -> list[Place]:
    kept = [feature.index for node in circuit.nodes if node.layer == layer for feature in node.members]
    if contributions is None or not kept:
        return []
    only = torch.zeros_like(contributions)
    only[:, kept] = contributions[:, kept].abs()
    most = _MOST_TARGETS if layer == circuit.nodes[0].layer else _MOST_A_LAYER
    values, flat = only.flatten().topk(min(most, only.numel()))
    n_latents = only.shape[1]
    return [
        Place(Feature(layer, int(index) % n_latents), int(index) // n_latents)
        for value, index in zip(values, flat, strict=True)
        if value > 0
    ]


def _links(recording: Recording, number: int, places: Mapping[int, Sequence[Place]], turn: Turn) -> list[written.Link]:
    layers = sorted(layer for layer in places if places[layer])
    links: list[written.Link] = []
    sources = [EMBEDDINGS, *layers[:-1]] if layers and layers[0] == recording.layers[0] else layers[:-1]
    targets = layers if len(sources) == len(layers) else layers[1:]
    for source_layer, layer in zip(sources, targets, strict=True):
        stream = WindowStream(recording, number, source_layer)
        start = stream.resid[None].detach().clone().requires_grad_()
        with turn():
            pre = recording.saes[layer].pre_activations(run_on(recording, number, source_layer, start, layer)[0])
        for place in places[layer]:
            with turn():
                (gradient,) = torch.autograd.grad(pre[place.position, place.feature.index], start, retain_graph=True)
            links += _links_into(recording, stream, gradient[0], places.get(source_layer, ()), place)
    return links


def _links_into(
    recording: Recording, stream: WindowStream, gradient: torch.Tensor, sources: Sequence[Place], target: Place
) -> list[written.Link]:
    weights: dict[str, float] = {}
    if stream.layer == EMBEDDINGS:
        by_token = (gradient * stream.resid).sum(dim=-1)
        ids = {token.position: token.node_id for token in _prompt(recording, stream.number)}
        weights = {ids[position]: float(weight) for position, weight in enumerate(by_token)}
    else:
        by_error = (gradient * stream.error).sum(dim=-1)
        for place in sources:
            direction = stream.sae.decoder[place.feature.index] * stream.sae.scale(stream.resid[place.position])
            activation = stream.activations[place.position, place.feature.index]
            weights[_id(place)] = float(activation * (gradient[place.position].to(direction) @ direction))
            error = written.ErrorNode(stream.layer, place.position)
            weights[error.node_id] = float(by_error[place.position])
    total = sum(map(abs, weights.values()))
    return [
        written.Link(source, _id(target), weight)
        for source, weight in weights.items()
        if abs(weight) >= _SMALLEST_SHARE * total
    ]


def _logit(
    traced: TracedCircuit, number: int, places: Mapping[int, Sequence[Place]], turn: Turn
) -> tuple[written.LogitNode, list[written.Link]]:
    """The next word that is asked about, or the likeliest after the window, with links from the deepest features."""
    recording, question = traced.recording, traced.circuit.question
    asked = question if isinstance(question, NextWord) else None
    last = len(recording.windows[number].resid[recording.last_block]) - 1
    position = asked_place(recording, asked)[1] if asked else last
    layer = max(layer for layer in places if places[layer])
    stream = WindowStream(recording, number, layer)
    start = stream.resid[None].detach().clone().requires_grad_()
    with turn():
        deeper = run_on(recording, number, layer, start, recording.last_block)
        probabilities = logits_of(recording.language_model, deeper[0, position]).detach().softmax(dim=-1)
        token = asked.token if asked else int(probabilities.argmax())
        value = logit(recording, deeper, position, token, asked.against if asked else None)[0]
        (gradient,) = torch.autograd.grad(value, start)
    decode = recording.language_model.tokenizer.decode
    name, token_id = str(decode([token])), token
    if asked and asked.against is not None:  # a difference has no id in the vocabulary
        name, token_id = f"{name} rather than{decode([asked.against])}", len(probabilities)
    node = written.LogitNode(position, token_id, name, float(probabilities[token]), recording.language_model.n_layers)
    links = []
    for place in places[layer]:
        direction = stream.sae.decoder[place.feature.index] * stream.sae.scale(stream.resid[place.position])
        activation = stream.activations[place.position, place.feature.index]
        weight = float(activation * (gradient[0, place.position].to(direction) @ direction))
        links.append(written.Link(_id(place), node.node_id, weight))
    return node, links


def _prompt(recording: Recording, number: int) -> list[written.EmbeddingNode]:
    """The window's tokens, BOS included."""
    tokens, span = recording.trace.tokens, recording.tokens_of(number)
    bos_id, decode = recording.language_model.bos_id, recording.language_model.tokenizer.decode
    before = [] if bos_id is None else [(bos_id, str(decode([bos_id])))]
    texts = [*before, *zip(tokens.ids[span].tolist(), recording.trace.token_texts[span], strict=True)]
    return [written.EmbeddingNode(position, token_id, text) for position, (token_id, text) in enumerate(texts)]


def _supernodes(traced: TracedCircuit, places: Mapping[int, Sequence[Place]]) -> list[written.Supernode]:
    graph = traced.graph()
    chosen = [place for layer_places in places.values() for place in layer_places]
    groups = [
        (node, [_id(place) for place in chosen if place.feature in node.members])
        for node in traced.circuit.nodes
        if node.kind == "features"
    ]
    return [
        written.Supernode(str(graph.nodes[node.number]["label"]), members)
        for node, members in groups
        if len(members) > 1
    ]


def _id(place: Place) -> str:
    return written.FeatureNode(*place.feature, place.position).node_id
