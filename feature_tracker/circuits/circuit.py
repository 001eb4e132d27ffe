"""A circuit: what a question's answer passes through, and the measured effects between its nodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import pandas as pd

from feature_tracker.circuits.question import Question
from feature_tracker.feature import Feature

Kind = Literal["words", "features", "rest", "error", "sinks", "logit"]

EDGE_COLUMNS = ["source", "target", "attribution", "effect", "lost"]

DRAWN = 0.02
"""Smallest |lost| of an edge that is drawn; weaker ones are in the table."""


class Node(NamedTuple):
    """One node of a circuit.

    Attributes:
        number: its place in `Circuit.nodes`.
        layer: an SAE layer; -1 for words; the number of blocks for a logit.
        kind: `words`, the embeddings of one word wherever it stands; `features`, one feature or several that do the
            same work on the same words; `rest`, the other features or words that hold the stated share of the
            influence; `error`, what the layer's SAE leaves out; `sinks`, BOS, attention sinks and the first token
            after a cut; `logit`, the next word.
        members: features, the most influential first; none for other kinds.
        positions: tokens of a node of words; of a node of features those on which it contributes most, strongest
            first, one a word and at most six; none for other kinds.
        influence: estimated share of what reaches the answer through this layer; where the question is what a feature
            feeds, share of what the layer's features lose without it, measured.
        activation: of a node of features, summed over the tokens in question; of a logit its value; else NaN.
    """

    number: int
    layer: int
    kind: Kind
    members: tuple[Feature, ...]
    positions: tuple[int, ...]
    influence: float
    activation: float

    def __str__(self) -> str:
        if self.kind == "features" and len(self.members) == 1:
            return str(self.members[0])
        place = {-1: "words"}.get(self.layer, f"L{self.layer}")
        return f"{place}/{self.kind}{self.number}"


def lost(effect: float, target: Node) -> float:
    """An effect as a share of the target's activation; 0 where that is silent on the tokens in question."""
    return effect / target.activation if target.activation else 0.0


class Member(NamedTuple):
    """One feature of a circuit; see `Circuit.members`."""

    node: int
    layer: int
    feature: int
    influence: float
    contribution: float
    activation: float


class Faithfulness(NamedTuple):
    """How much of the answer the circuit's features carry. NaN where it wasn't computed.

    Attributes:
        kept: the target with every other feature at its mean, as a share of the target.
        none: the same with all features at their mean.
        without: the target with the circuit's features at their mean and all others as they were, as a share.
    """

    kept: float
    none: float
    without: float

    @property
    def recovered(self) -> float:
        """What the circuit's features bring back of the difference that all features make."""
        missing = 1 - self.none
        return (self.kept - self.none) / missing if abs(missing) > 1e-6 else float("nan")


@dataclass(frozen=True)
class Circuit:
    """An answer to a question about a text.

    Attributes:
        question: what is asked.
        share: of each layer's influence that the kept features hold.
        nodes: those of the question come first, then layer by layer towards the words, or away from them where the
            question is what a feature feeds.
        edges: one row per measured edge, columns as `EDGE_COLUMNS`: numbers of the nodes; `attribution`, the estimated
            share of the target's value that takes this way, NaN where not estimated; `effect`, what the deeper node's
            activation lost when the shallower node was taken out; `lost`, the effect as a share of that activation.
        members: one row per kept feature, columns as `Member`: its node's number, estimated influence,
            signed contribution to the target and summed activation. Where the question is what a feature feeds, the
            contribution is what it loses without that feature.
        value: the target's activation or logit.
        n_unmeasured: nodes that are still to be taken out.
        faithfulness: of all kept features together, once it is measured.
    """

    question: Question
    share: float
    nodes: tuple[Node, ...]
    edges: pd.DataFrame
    members: pd.DataFrame
    value: float
    n_unmeasured: int
    faithfulness: Faithfulness | None = None

    @property
    def layers(self) -> list[int]:
        """Layers of the nodes, ascending."""
        return sorted({node.layer for node in self.nodes})

    def node_of(self, feature: Feature) -> Node | None:
        """The node that a feature belongs to."""
        return next((node for node in self.nodes if feature in node.members), None)

    def explained(self) -> float:
        """Estimated share of the answer's influence that passes through features, over the SAE layers: their mean."""
        layers = {node.layer for node in self.nodes if node.kind in ("error", "rest")}
        held = [sum(node.influence for node in self.nodes if node.layer == layer and node.members) for layer in layers]
        return sum(held) / len(held) if held else float("nan")
