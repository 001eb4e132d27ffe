"""Networks of features, one column per layer: correlations and circuits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import plotly.graph_objects as go

from feature_tracker.charts.theme import (
    NEGATIVE,
    POSITIVE,
    empty_figure,
    feature_hover,
    finish,
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
_THINNEST_EDGE, _THICKEST_EDGE = 1.5, 7.0  # pixels
_HOVER_SHARE = 0.37  # of an edge's length: unlike its middle, never on a column of nodes, however many layers it skips
_MOST_NODES = 150  # more are unreadable and slow to draw
_WIDTH_CLASSES = 4  # one Plotly trace per width class and sign; one per edge would make the page slow


MOST_UNVERIFIED = 40
"""Edges of a circuit that are drawn without a measured effect; more would hide the solid ones."""
CIRCUIT_LEGEND = (
    "Blue links raise the deeper feature, red links lower it. Solid links are measured effects, wider for a larger "
    "share of what feeds the deeper feature; dashed links are only estimated. Of the unverified links, the "
    f"{MOST_UNVERIFIED} strongest and those of the chosen feature are drawn; a link that skips a layer is drawn once "
    "it is verified."
)
_CIRCUIT_STYLE = "body { font: 15px/1.6 Arial, sans-serif; color: #262730; margin: 2rem } p { max-width: 60rem }"


class DrawnEdge(NamedTuple):
    """One edge as it is drawn.

    Attributes:
        source: the shallower end.
        target: the deeper end.
        size: width, from 0 (thinnest) to 1 (thickest).
        positive: sign, which sets the colour.
        solid: whether the line is solid; otherwise it is dashed.
        hover: hover text besides the names of the ends, already escaped for Plotly.
    """

    source: Feature
    target: Feature
    size: float
    positive: bool
    solid: bool
    hover: str


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
            hover=f"r {number(link['r'], '+.2f')} over {link['n_either']} tokens, q {number(link['q'], '.2g')}",
        )
        for source, target, link in graph.edges(data=True)
    ]
    return _plot_layers(graph, edges, colours, selected, aggregation)


def plot_circuit(
    graph: nx.DiGraph[Any],
    *,
    colours: Mapping[int, str],
    selected: Feature | None = None,
    most_unverified: int | None = MOST_UNVERIFIED,
    aggregation: Aggregation = "max",
) -> go.Figure:
    """A circuit: edges are coloured by the sign of their effect, and thin and dashed if it is only estimated.

    An edge that skips a layer is drawn only if ablation has measured it. The width of a solid line is its effect
    relative to the largest on the same target.

    Args:
        graph: what `circuits.graph.circuit_graph` returns; its error nodes are not drawn.
        colours: by layer.
        selected: feature to highlight.
        most_unverified: how many edges without an effect to draw, those with the largest share first; all if `None`.
            Edges of `selected` are always drawn.
        aggregation: how the nodes' activations were aggregated.
    """
    features = graph.subgraph([node for node in graph if isinstance(node, Feature)])
    values = {
        (source, target): float(edge["effect"] if "effect" in edge else edge["attribution"])
        for source, target, edge in features.edges(data=True)
        if "effect" in edge or (edge["direct"] and "attribution" in edge)
    }
    largest: dict[Feature, float] = {}
    for (_, target), value in values.items():
        largest[target] = max(largest.get(target, 0.0), abs(value))
    verified = {ends for ends in values if "effect" in features.edges[ends]}
    estimated = sorted(values.keys() - verified, key=lambda ends: (-features.edges[ends].get("share", 0.0), ends))
    shown = verified | set(estimated[:most_unverified]) | {ends for ends in estimated if selected in ends}
    edges = [
        DrawnEdge(
            source,
            target,
            size=_share(abs(value), largest[target]) if (source, target) in verified else 0.0,
            positive=value > 0,
            solid=(source, target) in verified,
            hover=_circuit_hover(features.edges[source, target]),
        )
        for (source, target), value in values.items()
        if (source, target) in shown
    ]
    return _plot_layers(features, edges, colours, selected, aggregation)


def circuit_page(
    graph: nx.DiGraph[Any], *, colours: Mapping[int, str], title: str, aggregation: Aggregation = "max"
) -> bytes:
    """The figure of a circuit with title and legend, as an HTML page that works offline; see `plot_circuit`."""
    figure = plot_circuit(graph, colours=colours, aggregation=aggregation).update_layout(template="plotly_white")
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{_CIRCUIT_STYLE}</style>'
    body = f"<h1>{escape(title)}</h1><p>{CIRCUIT_LEGEND}</p>{figure.to_html(full_html=False)}"
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{body}</body></html>'.encode()


def _circuit_hover(edge: Mapping[str, float]) -> str:
    lines = []
    if "effect" in edge:
        effect = number(edge["effect"], "+.3g")
        lines.append(f"Effect {effect}: what the deeper feature loses without the shallower one")
    else:
        lines.append("Not verified yet")
    if "attribution" in edge:
        attribution = number(edge["attribution"], "+.3g")
        lines.append(f"Attribution {attribution}, {edge['share']:.0%} of its input from that layer")
    if not edge["direct"]:
        lines.append("Skips a layer: a total effect through the features in between")
    if "r" in edge:
        lines.append(f"r {number(edge['r'], '+.2f')}, q {number(edge['q'], '.2g')}")
    return "<br>".join(lines)


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
    positions = _positions(graph)
    figure = go.Figure()
    _add_edges(figure, graph, edges, positions)
    by_layer = _nodes_by_layer(graph)
    for layer, nodes in by_layer.items():
        figure.add_trace(_layer_nodes(graph, layer, nodes, positions, colours[layer], selected, aggregation))
    _finish(figure, list(by_layer), max(len(nodes) for nodes in by_layer.values()))
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
    positions: Mapping[Feature, tuple[float, float]],
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


def _finish(figure: go.Figure, layers: list[int], tallest: int) -> go.Figure:
    figure.update_xaxes(
        tickvals=list(range(len(layers))),
        ticktext=[f"Layer {layer}" for layer in layers],
        range=[-0.5, len(layers) - 0.5],
        side="top",
        showgrid=False,
        zeroline=False,
        fixedrange=True,
    )
    figure.update_yaxes(visible=False, range=[-0.04, 1.0], fixedrange=True)
    return finish(figure, height=max(320, 86 * tallest + 80), hovermode="closest", dragmode=False)


def _positions(graph: nx.DiGraph[Any]) -> dict[Feature, tuple[float, float]]:
    """(x, y) of each node: x is the layer's number, y is ordered so that linked nodes lie near each other.

    Each layer is ordered by the mean height of its neighbours in the layers before it, which keeps most edges from
    crossing (the barycentre heuristic of Sugiyama et al. 1981).
    """
    positions: dict[Feature, tuple[float, float]] = {}
    for x, nodes in enumerate(_nodes_by_layer(graph).values()):
        heights = {}
        for row, node in enumerate(nodes):
            linked = [positions[source][1] for source in graph.predecessors(node) if source in positions]
            heights[node] = float(np.mean(linked)) if linked else _height(row, len(nodes))
        ordered = sorted(nodes, key=lambda node: -heights[node])
        for row, node in enumerate(ordered):
            positions[node] = (float(x), _height(row, len(nodes)))
    return positions


def _height(row: int, n_rows: int) -> float:
    """The y coordinate, between 0 and 1, of a node's row counted from the top."""
    return 1 - (row + 0.5) / n_rows


def _share(value: float, largest: float) -> float:
    return float(value / largest) if largest > 0 else 0.0


def _node_text(row: Mapping[str, object], is_selected: bool) -> str:
    text = stacked_label(str(row["label"]), reliable=bool(row["reliable"]), width=_LABEL_WIDTH, lines=3)
    return f"<b>{text}</b>" if is_selected else text


def _add_edges(
    figure: go.Figure,
    graph: nx.DiGraph[Any],
    edges: Sequence[DrawnEdge],
    positions: Mapping[Feature, tuple[float, float]],
) -> None:
    """Draw the edges, one trace for all that share dash, sign and width class."""
    classes: dict[tuple[bool, bool, int], list[DrawnEdge]] = {}
    for edge in edges:
        width_class = min(int(max(edge.size, 0) * _WIDTH_CLASSES), _WIDTH_CLASSES - 1)
        classes.setdefault((edge.solid, edge.positive, width_class), []).append(edge)
    for (solid, positive, width_class), class_edges in sorted(classes.items()):
        x: list[float | None] = []
        y: list[float | None] = []
        for edge in class_edges:  # `None` ends one line and starts the next
            x += [positions[edge.source][0], positions[edge.target][0], None]
            y += [positions[edge.source][1], positions[edge.target][1], None]
        width = _THINNEST_EDGE + (_THICKEST_EDGE - _THINNEST_EDGE) * width_class / (_WIDTH_CLASSES - 1)
        figure.add_scatter(
            x=x,
            y=y,
            mode="lines",
            line={"width": width, "color": POSITIVE if positive else NEGATIVE, "dash": "solid" if solid else "dash"},
            opacity=0.5 + 0.07 * width_class,
            hoverinfo="skip",
        )
    figure.add_trace(_edge_hovers(graph, edges, positions))


def _edge_hovers(
    graph: nx.DiGraph[Any], edges: Sequence[DrawnEdge], positions: Mapping[Feature, tuple[float, float]]
) -> go.Scatter:
    """Invisible markers on the edges, because Plotly shows no hover on a line between its points."""

    def along(edge: DrawnEdge, axis: int) -> float:
        start, end = positions[edge.source][axis], positions[edge.target][axis]
        return start + _HOVER_SHARE * (end - start)

    def name(node: Feature) -> str:
        return f"{plotly_text(shorten(str(graph.nodes[node]['label']), 50))} ({node})"

    return go.Scatter(
        x=[along(edge, 0) for edge in edges],
        y=[along(edge, 1) for edge in edges],
        mode="markers",
        marker={"size": 12, "opacity": 0},
        hovertext=[f"{name(edge.source)}<br>{name(edge.target)}<br>{edge.hover}" for edge in edges],
        hovertemplate="%{hovertext}<extra></extra>",
        **unfaded(0),
    )
