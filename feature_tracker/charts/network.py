"""Features of all layers and what links them, one column a layer: correlations, and circuits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

if TYPE_CHECKING:  # NetworkX belongs to circuits/; a graph comes in as data
    import networkx as nx

_LABEL_WIDTH = 11  # characters a line under a node, two lines: five columns of them fit into 400 pixels
_NODE_SIZES = (12.0, 34.0)
_EDGE_WIDTHS = (1.5, 7.0)
_HOVER_SHARE = 0.37  # of an edge's way: unlike its middle, this is no column of nodes for any number of layers skipped
_MOST_NODES = 150  # more can be neither read nor drawn fast
_WIDTH_CLASSES = 4  # one Plotly trace a class and sign: a trace an edge would make the page slow


class DrawnEdge(NamedTuple):
    """One line of the graph.

    Attributes:
        source: the shallower end.
        target: the deeper end.
        size: width, from 0, the thinnest, to 1.
        positive: its colour.
        solid: else dashed.
        hover: what it says under the pointer, beside its ends' names; harmless for Plotly.
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
    """Correlations as a graph: edges as wide as |r|, coloured by its sign, dashed where they may be chance.

    Args:
        graph: of `circuits.graph.feature_graph`.
        colours: one a layer.
        threshold: |r| at which edges begin; the thinnest line.
        significant: largest q of a solid line.
        aggregation: what the nodes' activation is.
    """
    edges = [
        DrawnEdge(
            source,
            target,
            (abs(link["r"]) - threshold) / max(1 - threshold, 1e-9),
            link["r"] > 0,
            link["q"] <= significant,
            f"r {number(link['r'], '+.2f')} over {link['n_either']} tokens, q {number(link['q'], '.2g')}",
        )
        for source, target, link in graph.edges(data=True)
    ]
    return _plot_layers(graph, edges, colours, selected, aggregation)


def plot_circuit(
    graph: nx.DiGraph[Any],
    *,
    colours: Mapping[int, str],
    selected: Feature | None = None,
    most_unverified: int | None = None,
    aggregation: Aggregation = "max",
) -> go.Figure:
    """A circuit: edges coloured by the sign of their effect, dashed and thin where only attribution estimates it.

    An edge that skips a layer is drawn only where ablation measured it. A solid line is as wide as its effect is large
    among those on the same target.

    Args:
        graph: of `circuits.graph.circuit_graph`; error nodes are not drawn.
        colours: one a layer.
        most_unverified: of the edges without an effect, draw so many, those with the largest share, and those of
            `selected`; all where None.
        aggregation: what the nodes' activation is.
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
            _share(abs(value), largest[target]) if (source, target) in verified else 0.0,
            value > 0,
            (source, target) in verified,
            _circuit_hover(features.edges[source, target]),
        )
        for (source, target), value in values.items()
        if (source, target) in shown
    ]
    return _plot_layers(features, edges, colours, selected, aggregation)


def circuit_page(graph: nx.DiGraph[Any], *, colours: Mapping[int, str]) -> bytes:
    """A circuit's figure as an HTML page that needs nothing from the network; see `plot_circuit`."""
    figure = plot_circuit(graph, colours=colours)
    return figure.update_layout(template="plotly_white").to_html().encode()


def _circuit_hover(edge: Mapping[str, float]) -> str:
    lines = []
    if "effect" in edge:
        lines.append(f"Effect {number(edge['effect'], '+.3g')}: what the deeper feature loses without the other")
    else:
        lines.append("Not verified yet")
    if "attribution" in edge:
        lines.append(f"Attribution {number(edge['attribution'], '+.3g')}, {edge['share']:.0%} of what the layer gives")
    if not edge["direct"]:
        lines.append("Skips a layer: a total effect, through the features between")
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
    """Nodes in one column a layer, as large as their activation, with the attributes of a `rank_features` row."""
    if not len(graph):
        return empty_figure("No feature passes the filters.")
    n_nodes = len(graph)
    graph = graph.subgraph(_strongest(graph, _MOST_NODES))
    edges = [edge for edge in edges if edge.source in graph and edge.target in graph]
    places = _places(graph)
    figure = go.Figure()
    _add_edges(figure, graph, edges, places)
    layers = sorted({node.layer for node in graph})
    strongest = {n: max(graph.nodes[m]["activation"] for m in graph if m.layer == n) for n in layers}
    for layer in layers:
        nodes = [node for node in graph if node.layer == layer]
        rows = [graph.nodes[node] for node in nodes]
        # Late layers have larger norms, so a node is measured against the strongest of its own layer.
        size = [
            _NODE_SIZES[0] + (_NODE_SIZES[1] - _NODE_SIZES[0]) * _share(r["activation"], strongest[layer]) for r in rows
        ]
        figure.add_scatter(
            x=[places[node][0] for node in nodes],
            y=[places[node][1] for node in nodes],
            mode="markers+text",
            name=f"Layer {layer}",
            marker={
                "size": size,
                "color": [with_alpha(colours[layer], 1.0 if row["reliable"] else 0.55) for row in rows],
                "opacity": 1,
                "line": {"color": "#E8B004", "width": [4 if node == selected else 0 for node in nodes]},
            },
            text=[_node_text(row, node == selected) for node, row in zip(nodes, rows, strict=True)],
            textposition="bottom center",
            textfont={"size": 11, "shadow": "auto"},
            cliponaxis=False,
            customdata=[[node.layer, node.index] for node in nodes],
            hovertext=[
                feature_hover(row | {"layer": n.layer, "feature": n.index}, aggregation)
                for n, row in zip(nodes, rows, strict=True)
            ],
            hovertemplate="%{hovertext}<extra></extra>",
            **unfaded(1),
        )
    _finish(figure, layers, max(sum(n.layer == layer for n in graph) for layer in layers))
    if len(graph) < n_nodes:
        text = f"{len(graph)} of {n_nodes:,} features are drawn, the strongest of each layer"
        figure.add_annotation(
            text=text, showarrow=False, x=0, y=0, xref="paper", yref="paper", xanchor="left", yanchor="bottom"
        )
    return figure


def _strongest(graph: nx.DiGraph[Any], most: int) -> list[Feature]:
    """At most `most` nodes, equally many of each layer, those that fire most."""
    layers = sorted({node.layer for node in graph})
    each = max(1, most // len(layers))
    kept = []
    for layer in layers:
        own = [node for node in graph if node.layer == layer]
        kept += own if len(graph) <= most else sorted(own, key=lambda node: -graph.nodes[node]["activation"])[:each]
    return kept


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
    return finish(figure, height=max(320, 66 * tallest + 80), hovermode="closest", dragmode=False)


def _places(graph: nx.DiGraph[Any]) -> dict[Feature, tuple[float, float]]:
    """(x, y) of each node: x the layer's place, y ordered so that linked nodes lie near each other.

    Each layer is ordered by the mean height of its neighbours in the layers before (barycentre heuristic; Sugiyama et
    al. 1981), which keeps most lines from crossing.
    """
    layers = sorted({node.layer for node in graph})
    places: dict[Feature, tuple[float, float]] = {}
    for x, layer in enumerate(layers):
        nodes = [node for node in graph if node.layer == layer]
        start = {node: 1 - (i + 0.5) / len(nodes) for i, node in enumerate(nodes)}
        heights = {
            node: float(np.mean([places[p][1] for p in graph.predecessors(node) if p in places] or [start[node]]))
            for node in nodes
        }
        ordered = sorted(nodes, key=lambda node: -heights[node])
        for i, node in enumerate(ordered):
            places[node] = (float(x), 1 - (i + 0.5) / len(ordered))
    return places


def _share(value: float, largest: float) -> float:
    return float(value / largest) if largest > 0 else 0.0


def _node_text(row: Mapping[str, object], chosen: bool) -> str:
    text = stacked_label(str(row["label"]), reliable=bool(row["reliable"]), width=_LABEL_WIDTH)
    return f"<b>{text}</b>" if chosen else text


def _add_edges(
    figure: go.Figure, graph: nx.DiGraph[Any], edges: Sequence[DrawnEdge], places: Mapping[Feature, tuple[float, float]]
) -> None:
    classes: dict[tuple[bool, bool, int], list[DrawnEdge]] = {}
    for edge in edges:
        step = min(int(max(edge.size, 0) * _WIDTH_CLASSES), _WIDTH_CLASSES - 1)
        classes.setdefault((edge.solid, edge.positive, step), []).append(edge)
    for (solid, positive, step), own in sorted(classes.items()):
        x: list[float | None] = []
        y: list[float | None] = []
        for edge in own:
            x += [places[edge.source][0], places[edge.target][0], None]
            y += [places[edge.source][1], places[edge.target][1], None]
        width = _EDGE_WIDTHS[0] + (_EDGE_WIDTHS[1] - _EDGE_WIDTHS[0]) * step / (_WIDTH_CLASSES - 1)
        figure.add_scatter(
            x=x,
            y=y,
            mode="lines",
            line={"width": width, "color": POSITIVE if positive else NEGATIVE, "dash": "solid" if solid else "dash"},
            opacity=0.5 + 0.07 * step,
            hoverinfo="skip",
        )
    figure.add_trace(_edge_hovers(graph, edges, places))


def _edge_hovers(
    graph: nx.DiGraph[Any], edges: Sequence[DrawnEdge], places: Mapping[Feature, tuple[float, float]]
) -> go.Scatter:
    """Invisible markers on the edges, because a line has no hover of its own."""

    def along(edge: DrawnEdge, axis: int) -> float:
        start, end = places[edge.source][axis], places[edge.target][axis]
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
