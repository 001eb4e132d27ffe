"""A circuit together with the recording, features and correlations behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import networkx as nx
import pandas as pd

from feature_tracker.circuits.circuit import Circuit, trace_circuit, verify
from feature_tracker.circuits.correlation import Correlations, correlate
from feature_tracker.circuits.graph import circuit_graph
from feature_tracker.progress import Progress, silent
from feature_tracker.tracing.recording import Recording
from feature_tracker.tracing.rows import features_of


@dataclass(frozen=True)
class TracedCircuit:
    """A circuit and what it was traced from.

    Attributes:
        recording: the recorded text.
        ranked: rows of `tracing.rank.rank_features` for the circuit's features.
        correlations: between these features.
        circuit: the edges between them.
    """

    recording: Recording
    ranked: pd.DataFrame
    correlations: Correlations
    circuit: Circuit

    def graph(self) -> nx.DiGraph[Any]:
        """The circuit as a graph; see `circuits.graph.circuit_graph`."""
        return circuit_graph(self.ranked, self.circuit)


def trace_features(
    recording: Recording, ranked: pd.DataFrame, *, threshold: float, effects: bool = False, progress: Progress = silent
) -> TracedCircuit:
    """Correlate ranked features, and attribute them to each other.

    Args:
        ranked: rows of `tracing.rank.rank_features`.
        threshold: smallest |r| of a correlation that makes an edge.
        effects: verify every edge by ablation.
    """
    features = features_of(ranked)
    correlations = correlate(recording.trace, features)
    circuit = trace_circuit(recording, features, correlations, threshold=threshold, progress=progress)
    if effects:
        for verified in verify(recording, circuit, progress=progress):
            circuit = verified
    return TracedCircuit(recording, ranked, correlations, circuit)
