"""Features of all layers as a network, one column a layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go

from charts.theme import (
    NEGATIVE,
    POSITIVE,
    empty_figure,
    feature_hover,
    finish,
    number,
    plotly_text,
    shorten,
    stacked_label,
)
from sae.feature import Feature

if TYPE_CHECKING:  # NetworkX belongs to circuits/; a graph comes in as data
    import networkx as nx

_LABEL_WIDTH = 13  # characters a line under a node, two lines: five columns of them fit into 500 pixels
_NODE_SIZES = (12.0, 34.0)
_EDGE_WIDTHS = (1.0, 7.0)
_HOVER_SHARE = 0.37  # of an edge's way: unlike its middle, this is no column of nodes for any number of layers skipped
_WIDTH_CLASSES = 4  # one Plotly trace a class and sign: a trace an edge would make the page slow


def plot_network(
    graph: nx.DiGraph, *, colours: Mapping[int, str], threshold: float, selected: Feature | None = None
) -> go.Figure:
    """Nodes in one column a layer, as large as their activation; edges as wide as |r|, coloured by its sign.

    Args:
        graph: nodes are `Feature`s with the attributes of a `rank_features` row; edges go from the shallower layer to
            the deeper and carry `r` and `n_either`.
        colours: one a layer.
        threshold: |r| at which edges begin; the thinnest line.
    """
    if not len(graph):
        return empty_figure("No feature passes the filters.")
    places = _places(graph)
    figure = go.Figure()
    _add_edges(figure, graph, places, threshold)
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
                "color": colours[layer],
                "opacity": [1.0 if row["reliable"] else 0.55 for row in rows],
                "line": {"color": "#E8B004", "width": [4 if node == selected else 0 for node in nodes]},
            },
            text=[_node_text(row, node == selected) for node, row in zip(nodes, rows, strict=True)],
            textposition="bottom center",
            textfont={"size": 10, "shadow": "auto"},
            cliponaxis=False,
            customdata=[[node.layer, node.index] for node in nodes],
            hovertext=[
                feature_hover(row | {"layer": n.layer, "feature": n.index}) for n, row in zip(nodes, rows, strict=True)
            ],
            hovertemplate="%{hovertext}<extra></extra>",
            selected={"marker": {"opacity": 1}},
            unselected={"marker": {"opacity": 1}},
        )
    return _finish(figure, layers, max(sum(n.layer == layer for n in graph) for layer in layers))


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


def _places(graph: nx.DiGraph) -> dict[Feature, tuple[float, float]]:
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
    figure: go.Figure, graph: nx.DiGraph, places: Mapping[Feature, tuple[float, float]], threshold: float
) -> None:
    classes: dict[tuple[bool, int], list[tuple[Feature, Feature]]] = {}
    for source, target, r in graph.edges(data="r"):
        share = (abs(r) - threshold) / max(1 - threshold, 1e-9)
        step = min(int(max(share, 0) * _WIDTH_CLASSES), _WIDTH_CLASSES - 1)
        classes.setdefault((r > 0, step), []).append((source, target))
    for (positive, step), edges in sorted(classes.items()):
        x: list[float | None] = []
        y: list[float | None] = []
        for source, target in edges:
            x += [places[source][0], places[target][0], None]
            y += [places[source][1], places[target][1], None]
        width = _EDGE_WIDTHS[0] + (_EDGE_WIDTHS[1] - _EDGE_WIDTHS[0]) * step / (_WIDTH_CLASSES - 1)
        figure.add_scatter(
            x=x,
            y=y,
            mode="lines",
            line={"width": width, "color": POSITIVE if positive else NEGATIVE, "dash": "solid" if positive else "dot"},
            opacity=0.25 + 0.12 * step,
            hoverinfo="skip",
        )
    figure.add_trace(_edge_hovers(graph, places))


def _edge_hovers(graph: nx.DiGraph, places: Mapping[Feature, tuple[float, float]]) -> go.Scatter:
    """Invisible markers on the edges, because a line has no hover of its own."""
    edges = list(graph.edges(data=True))

    def along(source: Feature, target: Feature, axis: int) -> float:
        start, end = places[source][axis], places[target][axis]
        return start + _HOVER_SHARE * (end - start)

    return go.Scatter(
        x=[along(s, t, 0) for s, t, _ in edges],
        y=[along(s, t, 1) for s, t, _ in edges],
        mode="markers",
        marker={"size": 12, "opacity": 0},
        hovertext=[
            f"{plotly_text(shorten(str(graph.nodes[s]['label']), 50))} ({s})<br>"
            f"{plotly_text(shorten(str(graph.nodes[t]['label']), 50))} ({t})<br>"
            f"r {number(data['r'], '+.2f')} over {data.get('n_either', 0)} tokens"
            for s, t, data in edges
        ],
        hovertemplate="%{hovertext}<extra></extra>",
        selected={"marker": {"opacity": 0}},
        unselected={"marker": {"opacity": 0}},
    )
