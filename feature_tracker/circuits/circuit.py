"""A circuit: the features of a text, the edges between them, and which of those edges are verified causes."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd

from feature_tracker.circuits.ablation import Ablation, ablate, ablate_turns
from feature_tracker.circuits.attribution import LayerAttribution, attribute, attribute_turns
from feature_tracker.circuits.correlation import PAIR_COLUMNS, Correlations
from feature_tracker.feature import Feature
from feature_tracker.model.forward_queue import FORWARDS
from feature_tracker.progress import Progress, silent
from feature_tracker.tracing.recording import Recording
from feature_tracker.tracing.rows import features_of

EDGE_MEASURES = ["r", "q", "attribution", "effect"]
EDGE_COLUMNS = [*PAIR_COLUMNS, *EDGE_MEASURES]

_INCOMING_COLUMNS = ["layer", "feature", "in_circuit", "other", "error"]
_ABLATIONS_PER_ROUND = 8  # `ablate` goes layer by layer; short rounds let whoever stops early keep the strongest edges


class Completeness(NamedTuple):
    """How much of all influence on its targets a circuit accounts for; NaN if nothing was attributed.

    Attributes:
        features: share that the circuit's features hold.
        error: share that runs through error nodes.
    """

    features: float
    error: float


@dataclass(frozen=True)
class Circuit:
    """The edges between a set of features over one text.

    Attributes:
        layers: the SAE layers, ascending. An edge between neighbours in this tuple is direct.
        edges: one row per pair of features of different layers that is linked in any way. Columns as `EDGE_COLUMNS` and
            `share`: correlation `r` and its `q`; `attribution`, the source's estimated contribution to the target's
            summed activation, between neighbouring SAE layers only; `effect`, how much activation the target really
            lost when the source was removed; `share`, |attribution| relative to all that features and error
            contribute to the target. NaN where not computed.
        incoming: one row per target, `layer, feature, in_circuit, other, error`: |attribution| along the circuit's
            edges and of all other features of the layer before, and the (signed) contribution of that SAE's error.
    """

    layers: tuple[int, ...]
    edges: pd.DataFrame
    incoming: pd.DataFrame

    def influence(self) -> pd.Series:
        """How much of the last layer's features runs through each feature, by (layer, feature).

        The last layer's features share 1 evenly. Each feature passes its part on to its sources by their `share`.
        """
        last_targets = self.incoming[self.incoming["layer"] == self.incoming["layer"].max()]
        ends = zip(last_targets["layer"], last_targets["feature"], strict=True)
        influence = {(layer, feature): 1.0 / len(last_targets) for layer, feature in ends}
        direct = self.edges[self.edges["share"] > 0].sort_values("target_layer", ascending=False)
        edges = direct[[*PAIR_COLUMNS, "share"]].itertuples(index=False)
        for source_layer, source, target_layer, target, share in edges:
            passed = influence.get((target_layer, target), 0.0) * share
            influence[source_layer, source] = influence.get((source_layer, source), 0.0) + passed
        return pd.Series(influence, dtype=float)

    def completeness(self) -> Completeness:
        """The share of incoming |attribution| that comes from the circuit's features, and from the error.

        Both are means over the targets, weighted by their influence. Bias and BOS, which no text changes, are left out.
        After Ameisen et al. 2025, Circuit Tracing, who measure from the logits.
        """
        if self.incoming.empty:
            return Completeness(float("nan"), float("nan"))
        contributions = self.incoming.set_index(["layer", "feature"])
        contributions["error"] = contributions["error"].abs()
        total = contributions.sum(axis=1)
        weight = self.influence().reindex(contributions.index).fillna(0.0).where(total > 0, 0.0)
        if not weight.sum():
            return Completeness(float("nan"), float("nan"))
        shares = contributions.div(total.where(total > 0, 1.0), axis=0).mul(weight / weight.sum(), axis=0).sum()
        return Completeness(float(shares["in_circuit"]), float(shares["error"]))


def trace_circuit(
    recording: Recording,
    features: Sequence[Feature],
    correlations: Correlations,
    *,
    threshold: float = 0.3,
    min_share: float = 0.01,
    progress: Progress = silent,
) -> Circuit:
    """Attribute every feature to those of the SAE layer before it, and join the correlations.

    Args:
        features: the circuit's nodes.
        threshold: smallest |r| of a correlation that makes an edge.
        min_share: smallest share of a target's incoming |attribution| that makes an edge.
    """
    direct, incoming = [], []
    layers = recording.layers
    of_layer = {layer: [feature for feature in features if feature.layer == layer] for layer in layers}
    n_turns = sum(attribute_turns(recording, of_layer[layer]) for layer in layers[1:] if of_layer[layer])
    with FORWARDS.job("Attributing", n_turns, progress) as job:
        for source_layer, target_layer in pairwise(layers):
            sources, targets = of_layer[source_layer], of_layer[target_layer]
            if targets:
                attribution = attribute(recording, targets, next_layer_only=True, turn=job.turn)
                upstream = attribution.upstream[source_layer]
                layer_edges, layer_incoming = _direct_edges(upstream, sources, targets, min_share)
                direct.append(layer_edges)
                incoming.append(layer_incoming)
    return Circuit(
        tuple(layers),
        _joined_edges(direct, correlations, threshold),
        pd.concat(incoming, ignore_index=True) if incoming else pd.DataFrame(columns=_INCOMING_COLUMNS),
    )


def _joined_edges(direct: Sequence[pd.DataFrame], correlations: Correlations, threshold: float) -> pd.DataFrame:
    """Direct edges with their correlations, and the pairs that only correlate; see `Circuit.edges`."""
    attributed = pd.concat(direct) if direct else pd.DataFrame(columns=[*PAIR_COLUMNS, "attribution", "share"])
    integers = dict.fromkeys(PAIR_COLUMNS, int)
    correlated = correlations.pairs[[*PAIR_COLUMNS, "r", "q"]]
    attributed = attributed.astype(integers).merge(correlated, on=PAIR_COLUMNS, how="left")
    linked = correlations.links(threshold)[[*PAIR_COLUMNS, "r", "q"]]
    edges = pd.concat([attributed, linked]).drop_duplicates(PAIR_COLUMNS).assign(effect=np.nan)
    edges = edges.reindex(columns=[*EDGE_COLUMNS, "share"]).sort_values(PAIR_COLUMNS, ignore_index=True)
    return edges.astype(integers)


def _direct_edges(
    attribution: LayerAttribution, sources: Sequence[Feature], targets: Sequence[Feature], min_share: float
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Edges from one SAE layer to the next, and what reaches each target; see `Circuit`."""
    contributions = attribution.by_feature()
    error = attribution.error.sum(axis=1)
    from_features = np.abs(contributions).sum(axis=1)
    total = from_features + np.abs(error)
    shares = np.abs(contributions) / np.where(total > 0, total, 1.0)[:, None]
    source_shares = shares[:, [source.index for source in sources]]
    in_circuit = np.where(source_shares >= min_share, source_shares, 0.0).sum(axis=1) * total
    edges = [
        (*source, *target, contributions[row, source.index], shares[row, source.index])
        for row, target in enumerate(targets)
        for source in sources
        if shares[row, source.index] >= min_share
    ]
    incoming = {
        "layer": [target.layer for target in targets],
        "feature": [target.index for target in targets],
        "in_circuit": in_circuit,
        "other": from_features - in_circuit,
        "error": error,
    }
    return (
        pd.DataFrame(edges, columns=[*PAIR_COLUMNS, "attribution", "share"]),
        pd.DataFrame(incoming, columns=_INCOMING_COLUMNS),
    )


def unverified_sources(circuit: Circuit, most: int | None = None) -> list[Feature]:
    """The sources of the strongest edges without an effect, strongest edge first.

    Args:
        most: how many edges to consider; all if `None`. Edges with the largest share of |attribution| come first, then
            those that only correlate.
    """
    edges = circuit.edges[circuit.edges["effect"].isna()]
    sized = edges.assign(size=edges["share"].fillna(0.0), r_size=edges["r"].abs().fillna(0.0))
    strongest = sized.sort_values(["size", "r_size"], ascending=False, kind="stable")
    if most is not None:
        strongest = strongest.head(most)
    return list(dict.fromkeys(features_of(strongest, "source_")))


def verify(
    recording: Recording, circuit: Circuit, sources: Sequence[Feature] | None = None, progress: Progress = silent
) -> Generator[Circuit]:
    """Ablate sources one after another, and yield the circuit with all effects so far after each.

    One ablation of a source measures its effect on all its targets, in every deeper layer.

    Args:
        sources: every source of an unverified edge if `None`.

    Close the generator if you don't exhaust it: until then, it keeps its place in the queue for the model.
    """
    queue = unverified_sources(circuit) if sources is None else list(sources)
    rounds = [queue[start : start + _ABLATIONS_PER_ROUND] for start in range(0, len(queue), _ABLATIONS_PER_ROUND)]
    edges = circuit.edges
    n_turns = sum(ablate_turns(recording, sources) for sources in rounds)
    with FORWARDS.job("Taking features out", n_turns, progress) as job:
        for ablation in chain.from_iterable(ablate(recording, sources, turn=job.turn) for sources in rounds):
            edges = _with_effects(edges, ablation)
            yield replace(circuit, edges=edges)


def _with_effects(edges: pd.DataFrame, ablation: Ablation) -> pd.DataFrame:
    is_ablated = (edges["source_layer"] == ablation.source.layer) & (edges["source_feature"] == ablation.source.index)
    targets = features_of(edges[is_ablated], "target_")
    updated = edges.copy()
    updated.loc[is_ablated, "effect"] = [float(ablation.effects[layer][index]) for layer, index in targets]
    return updated
