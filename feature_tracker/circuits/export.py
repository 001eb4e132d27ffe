"""A circuit in the formats of other tools: GraphML, GEXF, node-link JSON, CSV, and the attribution-graph JSON."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any

import networkx as nx
import pandas as pd

from feature_tracker.circuits.traced import TracedCircuit
from feature_tracker.labels.csv_files import to_csv

# Characters that XML 1.0 can't hold, and the line breaks and tabs that its readers turn into spaces.
_NOT_XML = re.compile("[^\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

# Attribute names that GEXF and node-link JSON use themselves. `label` may stay: GEXF returns it unchanged.
_RESERVED = frozenset({"id", "source", "target", "key", "viz", "pid", "start", "end"})


def portable(graph: nx.DiGraph[Any]) -> nx.DiGraph[Any]:
    """A copy of the graph that every format can store without loss.

    Nodes become their names (`L4/F283`, `L4/features7`, `words/words38`), and values plain strings, numbers and
    booleans. Characters that XML can't hold become U+FFFD, missing numbers are left out, and reserved attribute names
    get a trailing underscore.
    """
    plain = nx.DiGraph()
    names = {node: str(values.get("name", node)) for node, values in graph.nodes(data=True)}
    for node, values in graph.nodes(data=True):
        plain.add_node(names[node], **_plain_values(values))
    for source, target, values in graph.edges(data=True):
        plain.add_edge(names[source], names[target], **_plain_values(values))
    return plain


def _plain_values(values: Mapping[str, Any]) -> dict[str, str | int | float | bool]:
    plain = {}
    for name, value in values.items():
        scalar = value.item() if hasattr(value, "item") else value  # NumPy scalars
        if isinstance(scalar, str):
            scalar = _NOT_XML.sub("\ufffd", scalar)
        is_missing = scalar is None or (isinstance(scalar, float) and not math.isfinite(scalar))
        if not is_missing:
            plain[f"{name}_" if name in _RESERVED else name] = scalar
    return plain


def to_graphml(graph: nx.DiGraph[Any]) -> bytes:
    """GraphML, which NetworkX, Gephi, Cytoscape and yEd read."""
    return _serialized(nx.write_graphml, graph)


def to_gexf(graph: nx.DiGraph[Any]) -> bytes:
    """GEXF 1.2, Gephi's own format."""
    return _serialized(nx.write_gexf, graph)


def to_node_link(graph: nx.DiGraph[Any]) -> bytes:
    """Node-link JSON, which NetworkX and D3 read."""
    return to_json(nx.node_link_data(portable(graph), edges="links"))


def table_files(traced: TracedCircuit) -> dict[str, bytes]:
    """A circuit's tables and graphs as the contents of files, by file name."""
    graph, circuit = traced.graph(), traced.circuit
    names = {node: values["name"] for node, values in graph.nodes(data=True)}
    nodes = pd.DataFrame([values for _, values in graph.nodes(data=True)]).rename(columns={"name": "node"})
    edges = circuit.edges.assign(source=circuit.edges["source"].map(names), target=circuit.edges["target"].map(names))
    members = circuit.members.assign(
        node=circuit.members["node"].map(names),
        label=[traced.labels.name(feature) for node in circuit.nodes for feature in node.members],
    )
    return {
        "nodes.csv": to_csv(nodes),
        "edges.csv": to_csv(edges),
        "members.csv": to_csv(members),
        "graph.graphml": to_graphml(graph),
        "graph.gexf": to_gexf(graph),
        "graph.json": to_node_link(graph),
    }


def _serialized(write: Callable[[nx.DiGraph[Any], BytesIO], None], graph: nx.DiGraph[Any]) -> bytes:
    file = BytesIO()
    write(portable(graph), file)
    return file.getvalue()


def to_json(value: Mapping[str, Any]) -> bytes:
    """JSON in UTF-8."""
    # A lone surrogate (half a character) can't be encoded in UTF-8.
    return json.dumps(value, ensure_ascii=False).encode("utf-8", errors="replace")
