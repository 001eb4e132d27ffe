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

from feature_tracker.circuits.circuit import EDGE_COLUMNS, Circuit
from feature_tracker.circuits.correlation import Correlations
from feature_tracker.circuits.graph import ErrorNode
from feature_tracker.feature import Feature
from feature_tracker.labels.csv_files import to_csv
from feature_tracker.model.next_token import NextToken
from feature_tracker.tracing.trace import Trace

# Characters that XML 1.0 can't hold, and the line breaks and tabs that its readers turn into spaces.
_NOT_XML = re.compile("[^\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

# Attribute names that GEXF and node-link JSON use themselves. `label` may stay: GEXF returns it unchanged.
_RESERVED = frozenset({"id", "source", "target", "key", "viz", "pid", "start", "end"})


def portable(graph: nx.DiGraph[Any]) -> nx.DiGraph[Any]:
    """A copy of the graph that every format can store without loss.

    Nodes become strings (`L4/F283`) and values plain strings, numbers and booleans. Characters that XML can't hold
    become U+FFFD, missing numbers are left out, and reserved attribute names get a trailing underscore.
    """
    plain = nx.DiGraph()
    for node, values in graph.nodes(data=True):
        plain.add_node(str(node), **_plain_values(values))
    for source, target, values in graph.edges(data=True):
        plain.add_edge(str(source), str(target), **_plain_values(values))
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
    return _json(nx.node_link_data(portable(graph), edges="links"))


def export_files(
    circuit: Circuit, graph: nx.DiGraph[Any], correlations: Correlations, fired: pd.DataFrame, viewer: Mapping[str, Any]
) -> dict[str, bytes]:
    """A circuit as the contents of files, by file name.

    Args:
        graph: the circuit as `circuits.graph.circuit_graph` returns it.
        fired: rows of `rank_features` for every feature that fires.
        viewer: what `attribution_graph` returns.
    """
    return {
        "features.csv": to_csv(fired),
        "correlations.csv": to_csv(correlations.pairs),
        "edges.csv": to_csv(circuit.edges[EDGE_COLUMNS]),
        "graph.graphml": to_graphml(graph),
        "graph.gexf": to_gexf(graph),
        "graph.json": to_node_link(graph),
        "attribution_graph.json": _json(viewer),
    }


def _serialized(write: Callable[[nx.DiGraph[Any], BytesIO], None], graph: nx.DiGraph[Any]) -> bytes:
    file = BytesIO()
    write(portable(graph), file)
    return file.getvalue()


def _json(value: Mapping[str, Any]) -> bytes:
    # A lone surrogate (half a character) can't be encoded in UTF-8.
    return json.dumps(value, ensure_ascii=False).encode("utf-8", errors="replace")


def attribution_graph(
    graph: nx.DiGraph[Any],
    trace: Trace,
    *,
    slug: str,
    scan: str,
    bos: str | None,
    n_layers: int,
    expected: NextToken | None = None,
) -> dict[str, Any]:
    """The JSON that circuit-tracer's viewer and Neuronpedia show.

    That format has one node per feature and position. Features here are summed over the text, so each is placed at the
    position where it fires most. Links are the direct edges, weighted by attribution. Source: circuit_tracer 0.5.0,
    frontend/graph_models.py.

    Args:
        graph: the circuit as `circuits.graph.circuit_graph` returns it.
        slug: name of the graph.
        scan: name of the model.
        bos: text of the BOS token, which the format has at position 0; `None` where the text starts without one.
        n_layers: blocks of the model.
        expected: the token that the model expects after the text. The viewer draws all layers below this node.
    """
    before = [] if bos is None else [bos]
    positions = {node: len(before) + trace.peak(node) for node in graph if isinstance(node, Feature)}
    nodes = [_feature_node(node, position, graph.nodes[node]) for node, position in positions.items()]
    last = len(before) + trace.n_tokens - 1
    errors = [node for node in graph if isinstance(node, ErrorNode)]
    nodes += [_error_node(node, last, graph.nodes[node]) for node in errors]
    if expected is not None:
        nodes.append(_logit_node(expected, position=last, layer=n_layers + 1))
    node_ids = {node: _feature_id(node, position) for node, position in positions.items()}
    node_ids |= {node: _error_id(node, last) for node in errors}
    links = [
        {"source": node_ids[source], "target": node_ids[target], "weight": edge["attribution"]}
        for source, target, edge in graph.edges(data=True)
        if edge["direct"] and "attribution" in edge
    ]
    return {
        "metadata": {
            "slug": slug,
            "scan": scan,
            "transcoder_list": [],
            "prompt_tokens": [*before, *trace.token_texts],
            "prompt": trace.tokens.text,
            "node_threshold": None,
            "schema_version": 1,
        },
        "qParams": {"pinnedIds": [], "supernodes": [], "linkType": "both", "clickedId": "", "sg_pos": ""},
        "nodes": nodes,
        "links": links,
    }


def _feature_id(node: Feature, position: int) -> str:
    return f"{node.layer}_{node.index}_{position}"


def _error_id(node: ErrorNode, position: int) -> str:
    return f"0_{node.layer}_{position}"


def _feature_node(node: Feature, position: int, values: Mapping[str, Any]) -> dict[str, Any]:
    diagonal = node.layer + node.index
    return _node(
        _feature_id(node, position),
        feature=diagonal * (diagonal + 1) // 2 + node.index,  # Cantor's pairing function, which the viewer decodes
        layer=str(node.layer),
        ctx_idx=position,
        feature_type="cross layer transcoder",
        jsNodeId=f"{node.layer}_{node.index}-0",
        clerp=str(values.get("label", "")),
        influence=float(values.get("influence", 0.0)),
        activation=float(values.get("activation", 0.0)),
    )


def _error_node(node: ErrorNode, position: int, values: Mapping[str, Any]) -> dict[str, Any]:
    return _node(
        _error_id(node, position),
        feature=-1,
        layer=str(node.layer),
        ctx_idx=position,
        feature_type="mlp reconstruction error",
        jsNodeId=f"{node.layer}_{position}-0",
        clerp=str(values.get("label", "")),
    )


def _logit_node(expected: NextToken, *, position: int, layer: int) -> dict[str, Any]:
    return _node(
        f"{layer}_{expected.id}_{position}",
        feature=expected.id,
        layer=str(layer),
        ctx_idx=position,
        feature_type="logit",
        token_prob=expected.probability,
        is_target_logit=True,
        jsNodeId=f"L_{expected.id}-{position}",
        clerp=f'Output "{expected.text}" (p={expected.probability:.3f})',
    )


def _node(node_id: str, **values: Any) -> dict[str, Any]:
    defaults = {"token_prob": 0.0, "is_target_logit": False, "run_idx": 0, "reverse_ctx_idx": 0}
    return {"node_id": node_id, **defaults, "influence": None, "activation": None, **values}
