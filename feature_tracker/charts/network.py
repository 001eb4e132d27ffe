"""Networks of features that correlate, one column per layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go

from feature_tracker.charts.layered import DrawnEdge, Positions, add_edges, column_positions, finish_columns
from feature_tracker.charts.theme import (
    empty_figure,
    feature_hover,
    number,
    plotly_text,
    shorten,
    stacked_label,
    unfaded,
    with_alpha,
)
from feature_tracker.feature import Feature
from feature_tracker.tracing.rank import Aggregation

if TYPE_CHECKING:  # graphs arrive as data, so charts need NetworkX for types only
    import networkx as nx

_LABEL_WIDTH = 22  # characters per line under a node, three lines: five columns of them fit into 720 pixels
_SMALLEST_NODE, _LARGEST_NODE = 12.0, 34.0  # pixels
_MOST_NODES = 150  # more are unreadable and slow to draw


def plot_network(
    graph: nx.DiGraph[Any],
    *,
    colours: Mapping[int, str],
    threshold: float,
    significant: float = 0.05,
    selected: Feature | None = None,
    aggregation: Aggregation = "max",
) -> go.Figure:
    """Correlations as a graph: edges are as wide as |r|, coloured by its sign, and dashed if they may be chance.

    Args:
        graph: what `circuits.graph.feature_graph` returns.
        colours: by layer.
        threshold: smallest |r| of an edge, drawn as the thinnest line.
        significant: largest q of a solid line.
        selected: feature to highlight.
        aggregation: how the nodes' activations were aggregated.
    """
    edges = [
        DrawnEdge(
            source,
            target,
            size=(abs(link["r"]) - threshold) / max(1 - threshold, 1e-9),
            positive=link["r"] > 0,
            solid=link["q"] <= significant,
            hover=f"{_name(graph, source)}<br>{_name(graph, target)}<br>r {number(link['r'], '+.2f')} over "
            f"{link['n_either']} tokens, q {number(link['q'], '.2g')}",
        )
        for source, target, link in graph.edges(data=True)
    ]
    return _plot_layers(graph, edges, colours, selected, aggregation)


def _plot_layers(
    graph: nx.DiGraph[Any],
    edges: Sequence[DrawnEdge],
    colours: Mapping[int, str],
    selected: Feature | None,
    aggregation: Aggregation,
) -> go.Figure:
    """Nodes, which carry the values of a `rank_features` row, in one column per layer, with edges between them."""
    if not len(graph):
        return empty_figure("No feature passes the filters.")
    n_nodes = len(graph)
    graph = graph.subgraph(_strongest(graph, _MOST_NODES))
    edges = [edge for edge in edges if edge.source in graph and edge.target in graph]
    by_layer = _nodes_by_layer(graph)
    positions = column_positions(list(by_layer.values()), lambda node: list(graph.predecessors(node)))
    figure = go.Figure()
    add_edges(figure, edges, positions)
    for layer, nodes in by_layer.items():
        figure.add_trace(_layer_nodes(graph, layer, nodes, positions, colours[layer], selected, aggregation))
    finish_columns(figure, [f"Layer {layer}" for layer in by_layer], max(map(len, by_layer.values())))
    if len(graph) < n_nodes:
        text = f"{len(graph)} of {n_nodes:,} features are drawn, the strongest of each layer"
        figure.add_annotation(
            text=text, showarrow=False, x=0, y=0, xref="paper", yref="paper", xanchor="left", yanchor="bottom"
        )
    return figure


def _layer_nodes(
    graph: nx.DiGraph[Any],
    layer: int,
    nodes: Sequence[Feature],
    positions: Positions,
    colour: str,
    selected: Feature | None,
    aggregation: Aggregation,
) -> go.Scatter:
    """One layer's nodes, as large as their activation."""
    rows = [graph.nodes[node] for node in nodes]
    # Residual norms grow with depth, so a node is sized relative to the strongest of its own layer.
    strongest = max(row["activation"] for row in rows)
    shares = [_share(row["activation"], strongest) for row in rows]
    return go.Scatter(
        x=[positions[node][0] for node in nodes],
        y=[positions[node][1] for node in nodes],
        mode="markers+text",
        name=f"Layer {layer}",
        marker={
            "size": [_SMALLEST_NODE + (_LARGEST_NODE - _SMALLEST_NODE) * share for share in shares],
            "color": [with_alpha(colour, 1.0 if row["reliable"] else 0.55) for row in rows],
            "opacity": 1,
            "line": {"color": "#E8B004", "width": [4 if node == selected else 0 for node in nodes]},
        },
        text=[_node_text(row, node == selected) for node, row in zip(nodes, rows, strict=True)],
        textposition="bottom center",
        textfont={"size": 11, "shadow": "auto"},
        cliponaxis=False,
        customdata=[list(node) for node in nodes],
        hovertext=[
            feature_hover(row | {"layer": node.layer, "feature": node.index}, aggregation)
            for node, row in zip(nodes, rows, strict=True)
        ],
        hovertemplate="%{hovertext}<extra></extra>",
        **unfaded(1),
    )


def _nodes_by_layer(graph: nx.DiGraph[Any]) -> dict[int, list[Feature]]:
    layers = sorted({node.layer for node in graph})
    return {layer: [node for node in graph if node.layer == layer] for layer in layers}


def _strongest(graph: nx.DiGraph[Any], most: int) -> list[Feature]:
    """At most `most` nodes: equally many of each layer, those with the largest activation."""
    if len(graph) <= most:
        return list(graph)
    by_layer = _nodes_by_layer(graph)
    per_layer = max(1, most // len(by_layer))
    return [
        node
        for nodes in by_layer.values()
        for node in sorted(nodes, key=lambda node: -graph.nodes[node]["activation"])[:per_layer]
    ]


def _share(value: float, largest: float) -> float:
    return float(value / largest) if largest > 0 else 0.0


def _node_text(row: Mapping[str, object], is_selected: bool) -> str:
    text = stacked_label(str(row["label"]), reliable=bool(row["reliable"]), width=_LABEL_WIDTH, lines=3)
    return f"<b>{text}</b>" if is_selected else text


def _name(graph: nx.DiGraph[Any], node: Feature) -> str:
    return f"{plotly_text(shorten(str(graph.nodes[node]['label']), 50))} ({node})"
