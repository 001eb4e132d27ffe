"""A circuit together with the text and the labels that name its nodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import networkx as nx

from feature_tracker.circuits.circuit import Circuit
from feature_tracker.circuits.graph import circuit_graph
from feature_tracker.circuits.question import NextWord, WhatFeeds, WhatItFeeds, in_words, token_name
from feature_tracker.labels.table import LabelTable
from feature_tracker.tracing.recording import Recording


@dataclass(frozen=True)
class TracedCircuit:
    """A circuit and what it was traced from.

    Attributes:
        recording: the recorded text.
        labels: that name its features.
        circuit: nodes and measured edges.
    """

    recording: Recording
    labels: LabelTable
    circuit: Circuit

    def graph(self) -> nx.DiGraph[Any]:
        """The circuit as a graph; see `circuits.graph.circuit_graph`."""
        tokens = self.recording.trace.tokens
        return circuit_graph(self.circuit, tokens, self.labels, next_word=self._next_word())

    def question(self) -> str:
        """The question in words."""
        asked = self.circuit.question
        decode = self.recording.language_model.tokenizer.decode
        if isinstance(asked, NextWord):
            against = "" if asked.against is None else str(decode([asked.against]))
            return in_words(asked, {}, str(decode([asked.token])), against)
        features = asked.features if isinstance(asked, WhatFeeds) else (asked.feature,)
        return in_words(asked, {feature: self.labels.name(feature) for feature in features})

    def _next_word(self) -> str:
        asked = self.circuit.question
        if isinstance(asked, WhatFeeds | WhatItFeeds):
            return ""
        decode = self.recording.language_model.tokenizer.decode
        against = "" if asked.against is None else f" rather than “{token_name(str(decode([asked.against])))}”"
        return f"“{token_name(str(decode([asked.token])))}”{against}"
