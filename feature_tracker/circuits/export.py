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

# What XML 1.0 can't hold, and the line breaks and tabs that its readers turn into blanks.
_NOT_XML = re.compile("[^\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

# Words that GEXF and node-link JSON use themselves; `label` may stay, GEXF gives it back.
_RESERVED = frozenset({"id", "source", "target", "key", "viz", "pid", "start", "end"})


def portable(graph: nx.DiGraph[Any]) -> nx.DiGraph[Any]:
    """A copy that every format holds whole.

    Nodes become texts (`L4/F283`), values plain texts, numbers and truth values; characters that XML can't hold become
    U+FFFD, and missing numbers are left out.
    """
    plain = nx.DiGraph()
    for node, values in graph.nodes(data=True):
        plain.add_node(str(node), **_plain_values(values))
    for source, target, values in graph.edges(data=True):
        plain.add_edge(str(source), str(target), **_plain_values(values))
    return plain


def _plain_values(values: Mapping[str, Any]) -> dict[str, str | int | float | bool]:
    found = {}
    for name, value in values.items():
        own = value.item() if hasattr(value, "item") else value  # numpy's numbers
        if isinstance(own, str):
            own = _NOT_XML.sub("\ufffd", own)
        if own is not None and not (isinstance(own, float) and not math.isfinite(own)):
            found[f"{name}_" if name in _RESERVED else name] = own
    return found


def to_graphml(graph: nx.DiGraph[Any]) -> bytes:
    """GraphML, which networkx, Gephi, Cytoscape and yEd read."""
    return _written(nx.write_graphml, graph)


def to_gexf(graph: nx.DiGraph[Any]) -> bytes:
    """GEXF 1.2, Gephi's own format."""
    return _written(nx.write_gexf, graph)


def to_node_link(graph: nx.DiGraph[Any]) -> bytes:
    """Node-link JSON, which networkx and D3 read."""
    return _json(nx.node_link_data(portable(graph), edges="links"))


def export_files(
    found: Circuit, graph: nx.DiGraph[Any], correlations: Correlations, fired: pd.DataFrame, viewer: Mapping[str, Any]
) -> dict[str, bytes]:
    """Everything about a circuit, by file name.

    Args:
        fired: every feature that fires, rows of `rank_features`.
        viewer: of `attribution_graph`.
    """
    return {
        "features.csv": to_csv(fired),
        "correlations.csv": to_csv(correlations.pairs),
        "edges.csv": to_csv(found.edges[EDGE_COLUMNS]),
        "graph.graphml": to_graphml(graph),
        "graph.gexf": to_gexf(graph),
        "graph.json": to_node_link(graph),
        "attribution_graph.json": _json(viewer),
    }


def _written(write: Callable[[nx.DiGraph[Any], BytesIO], None], graph: nx.DiGraph[Any]) -> bytes:
    file = BytesIO()
    write(portable(graph), file)
    return file.getvalue()


def _json(value: Mapping[str, Any]) -> bytes:
    # A lone surrogate, half a character, has no UTF-8.
    return json.dumps(value, ensure_ascii=False).encode("utf-8", errors="replace")


def attribution_graph(
    graph: nx.DiGraph[Any],
    trace: Trace,
    *,
    slug: str,
    scan: str,
    bos: str,
    n_layers: int,
    expected: NextToken | None = None,
) -> dict[str, Any]:
    """The JSON that circuit-tracer's viewer and Neuronpedia show.

    That format has one node a feature and position; a feature of ours is summed over the text, and stands at the
    position where it fires most. Links are the direct edges, weighed by attribution. Source: circuit_tracer 0.5.0,
    frontend/graph_models.py.

    Args:
        slug: the graph's name.
        scan: the model's.
        bos: how BOS reads, which is position 0 there.
        n_layers: blocks of the model.
        expected: what the model expects after the text. The viewer draws as many layers as lie below it.
    """
    places = {node: 1 + trace.peak(node) for node in graph if isinstance(node, Feature)}
    nodes = [_feature_node(node, place, graph.nodes[node]) for node, place in places.items()]
    last = trace.n_tokens
    errors = [node for node in graph if isinstance(node, ErrorNode)]
    nodes += [_error_node(node, last, graph.nodes[node]) for node in errors]
    if expected is not None:
        nodes.append(_logit_node(expected, position=last, layer=n_layers + 1))
    names = {node: _feature_id(node, place) for node, place in places.items()}
    names |= {node: f"0_{node.layer}_{last}" for node in errors}
    links = [
        {"source": names[source], "target": names[target], "weight": edge["attribution"]}
        for source, target, edge in graph.edges(data=True)
        if edge["direct"] and "attribution" in edge
    ]
    return {
        "metadata": {
            "slug": slug,
            "scan": scan,
            "transcoder_list": [],
            "prompt_tokens": [bos, *trace.token_texts],
            "prompt": trace.tokens.text,
            "node_threshold": None,
            "schema_version": 1,
        },
        "qParams": {"pinnedIds": [], "supernodes": [], "linkType": "both", "clickedId": "", "sg_pos": ""},
        "nodes": nodes,
        "links": links,
    }


def _feature_id(node: Feature, place: int) -> str:
    return f"{node.layer}_{node.index}_{place}"


def _feature_node(node: Feature, place: int, values: Mapping[str, Any]) -> dict[str, Any]:
    total = node.layer + node.index
    return _node(
        _feature_id(node, place),
        feature=total * (total + 1) // 2 + node.index,  # Cantor's pairing of layer and index, as the viewer decodes it
        layer=str(node.layer),
        ctx_idx=place,
        feature_type="cross layer transcoder",
        jsNodeId=f"{node.layer}_{node.index}-0",
        clerp=str(values.get("label", "")),
        influence=float(values.get("influence", 0.0)),
        activation=float(values.get("activation", 0.0)),
    )


def _error_node(node: ErrorNode, place: int, values: Mapping[str, Any]) -> dict[str, Any]:
    return _node(
        f"0_{node.layer}_{place}",
        feature=-1,
        layer=str(node.layer),
        ctx_idx=place,
        feature_type="mlp reconstruction error",
        jsNodeId=f"{node.layer}_{place}-0",
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
    usual = {"token_prob": 0.0, "is_target_logit": False, "run_idx": 0, "reverse_ctx_idx": 0}
    return {"node_id": node_id, **usual, "influence": None, "activation": None, **values}
