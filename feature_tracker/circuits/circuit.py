"""A circuit: the features of a text, what links them, and which of the links are causes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pandas as pd

from feature_tracker.circuits.ablation import Ablation, ablate
from feature_tracker.circuits.attribution import Attribution, attribute
from feature_tracker.circuits.correlation import Correlations
from feature_tracker.feature import Feature
from feature_tracker.progress import Progress, silent
from feature_tracker.tracing.recording import Recording

EDGE_COLUMNS = [
    "source_layer", "source_feature", "target_layer", "target_feature", "r", "q", "attribution", "effect",
]  # fmt: skip
_KEYS = EDGE_COLUMNS[:4]
_SOURCES_AT_ONCE = 8  # ablations run layer by layer; in parts, so that who stops early has the strongest edges


@dataclass(frozen=True)
class Circuit:
    """What links a set of features over one text.

    Attributes:
        layers: the SAE layers, ascending; an edge between two that follow each other is direct.
        edges: one row a pair of features of different layers that is linked in any way. Columns as `EDGE_COLUMNS` and
            `share`: correlation `r` and its `q`; `attribution`, the source's estimated contribution to the target's
            summed activation, between neighbouring SAE layers only; `effect`, what the target really lost when the
            source was taken out; `share`, |attribution| of all that features and error contribute to the target. NaN
            where not computed.
        incoming: one row a target, `layer, feature, kept, other, error`: |attribution| along the circuit's edges and
            of all other features of the layer before, and the contribution of its SAE's error.
    """

    layers: tuple[int, ...]
    edges: pd.DataFrame
    incoming: pd.DataFrame

    def influence(self) -> pd.Series:
        """How much of the last layer's features runs through each feature, by (layer, feature).

        The last layer's features share 1 evenly; each hands its part up to its sources by their `share`.
        """
        targets = self.incoming.set_index(["layer", "feature"]).index
        last = max(self.incoming["layer"], default=0)
        influence = {tuple(t): 1.0 / max((self.incoming["layer"] == last).sum(), 1) for t in targets if t[0] == last}
        direct = self.edges[self.edges["share"] > 0].sort_values("target_layer", ascending=False)
        ends = zip(*(direct[column] for column in _KEYS), direct["share"], strict=True)
        for source_layer, source, target_layer, target, share in ends:
            passed = influence.get((target_layer, target), 0.0) * share
            influence[source_layer, source] = influence.get((source_layer, source), 0.0) + passed
        return pd.Series(influence, dtype=float)

    def completeness(self) -> tuple[float, float]:
        """(share of all influence that the circuit's features hold, share that runs through error nodes).

        The mean over the targets, weighed by their influence, of the share of |attribution| that comes from the
        circuit's features, and from the error. Bias and BOS, which no text changes, are left out. NaN where nothing was
        attributed. After Ameisen et al. 2025, Circuit Tracing, where it is measured from the logits.
        """
        if self.incoming.empty:
            return float("nan"), float("nan")
        rows = self.incoming.set_index(["layer", "feature"])
        rows["error"] = rows["error"].abs()
        total = rows.sum(axis=1)
        weight = self.influence().reindex(rows.index).fillna(0.0).where(total > 0, 0.0)
        if not weight.sum():
            return float("nan"), float("nan")
        shares = rows.div(total.where(total > 0, 1.0), axis=0).mul(weight / weight.sum(), axis=0).sum()
        return float(shares["kept"]), float(shares["error"])


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
        features: the nodes.
        threshold: |r| from which a correlation makes an edge.
        min_share: share of a target's incoming |attribution| from which an attribution makes an edge.
    """
    edges, incoming = [], []
    layers = recording.layers
    for number, (above, layer) in enumerate(pairwise(layers)):
        targets = [feature for feature in features if feature.layer == layer]
        sources = [feature for feature in features if feature.layer == above]
        if targets:
            at = number / (len(layers) - 1)

            def report(what: str, share: float, at: float = at) -> None:
                progress(what, at + share / (len(layers) - 1))

            found = attribute(recording, targets, report, next_layer_only=True)
            rows, sums = _direct_edges(found, above, sources, min_share)
            edges.append(rows)
            incoming.append(sums)
    linked = correlations.links(threshold)[[*_KEYS, "r", "q"]]
    direct = pd.concat(edges) if edges else pd.DataFrame(columns=[*_KEYS, "attribution", "share"])
    known = correlations.pairs[[*_KEYS, "r", "q"]]
    direct = direct.astype(dict.fromkeys(_KEYS, int)).merge(known, on=_KEYS, how="left")
    joined = pd.concat([direct, linked]).drop_duplicates(_KEYS).assign(effect=np.nan)
    columns = ["layer", "feature", "kept", "other", "error"]
    sums = pd.concat(incoming, ignore_index=True) if incoming else pd.DataFrame(columns=columns)
    joined = joined.reindex(columns=[*EDGE_COLUMNS, "share"]).sort_values(_KEYS, ignore_index=True)
    return Circuit(tuple(layers), joined.astype(dict.fromkeys(_KEYS, int)), sums)


def _direct_edges(
    found: Attribution, above: int, sources: Sequence[Feature], min_share: float
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Edges from the layer above, and what came into each target; see `Circuit`."""
    own = found.upstream[above]
    contributions = own.by_feature()
    error = own.error.sum(axis=1)
    of_features = np.abs(contributions).sum(axis=1)
    total = of_features + np.abs(error)
    indices = [source.index for source in sources]
    shares = np.abs(contributions) / np.where(total > 0, total, 1.0)[:, None]
    own_shares = shares[:, indices]
    kept = np.where(own_shares >= min_share, own_shares, 0.0).sum(axis=1) * total
    rows = [
        (*source, *target, contributions[place, source.index], shares[place, source.index])
        for place, target in enumerate(found.targets)
        for source in sources
        if shares[place, source.index] >= min_share
    ]
    sums = pd.DataFrame(
        {
            "layer": [target.layer for target in found.targets],
            "feature": [target.index for target in found.targets],
            "kept": kept,
            "other": of_features - kept,
            "error": error,
        }
    )
    return pd.DataFrame(rows, columns=[*_KEYS, "attribution", "share"]), sums


def unverified_sources(circuit: Circuit, most: int | None = None) -> list[Feature]:
    """The sources of the strongest edges without an effect, strongest edge first.

    Args:
        most: look at so many edges: those with the largest |attribution| share, then those that only correlate.
    """
    edges = circuit.edges[circuit.edges["effect"].isna()]
    order = edges.assign(size=edges["share"].fillna(0.0), r_size=edges["r"].abs().fillna(0.0))
    chosen = order.sort_values(["size", "r_size"], ascending=False, kind="stable").head(
        len(edges) if most is None else most
    )
    return [Feature(int(a), int(b)) for a, b in chosen[_KEYS[:2]].drop_duplicates().itertuples(index=False)]


def verify(
    recording: Recording, circuit: Circuit, sources: Sequence[Feature] | None = None, progress: Progress = silent
) -> Iterator[Circuit]:
    """Take sources out, and yield the circuit with the effects known so far after each.

    One ablation of a source tells its effect on all its targets, of deeper layers, too.

    Args:
        sources: all with an edge that isn't verified where None.
    """
    chosen = unverified_sources(circuit) if sources is None else list(sources)
    edges = circuit.edges
    for start in range(0, len(chosen), _SOURCES_AT_ONCE):
        for done, ablation in enumerate(ablate(recording, chosen[start : start + _SOURCES_AT_ONCE]), start=start + 1):
            edges = _with_effects(edges, ablation)
            progress("Taking features out", done / len(chosen))
            yield replace(circuit, edges=edges)


def _with_effects(edges: pd.DataFrame, ablation: Ablation) -> pd.DataFrame:
    own = (edges["source_layer"] == ablation.source.layer) & (edges["source_feature"] == ablation.source.index)
    targets = zip(edges.loc[own, "target_layer"], edges.loc[own, "target_feature"], strict=True)
    updated = edges.copy()
    updated.loc[own, "effect"] = [float(ablation.effects[layer][index]) for layer, index in targets]
    return updated
