"""Circuits: words, features of each layer and the target in columns, with measured effects between them."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go

from feature_tracker.charts.layered import DrawnEdge, add_edges, column_positions, finish_columns
from feature_tracker.charts.theme import (
    MUTED,
    empty_figure,
    plotly_text,
    shorten,
    stacked_label,
    unfaded,
    with_alpha,
    wrapped,
)

if TYPE_CHECKING:  # graphs arrive as data, so charts need NetworkX for types only
    import networkx as nx

WORDS_LAYER = -1
CIRCUIT_LEGEND = (
    "From the words on the left to what is asked about on the right. Blue links feed the deeper node, red links hold "
    "it back; all are measured, wider where the deeper node loses more without the shallower one. Of the links into a "
    "node the strongest are drawn, which hold nine tenths of its measured effects, and all of the chosen node. Grey "
    "nodes are what can't be told apart: many weak features, what the SAEs miss, attention sinks."
)
_DRAWN_SHARE = 0.9
_WIDEST = 0.6  # share lost at which a line is thickest
_SMALLEST_NODE, _LARGEST_NODE = 10.0, 30.0  # pixels
_LABEL_WIDTH = 19  # characters per line under a node: six columns of them fit into 720 pixels
_PAGE_STYLE = "body { font: 15px/1.6 Arial, sans-serif; color: #262730; margin: 2rem } p { max-width: 60rem }"


def plot_circuit(graph: nx.DiGraph[Any], *, colours: Mapping[int, str], selected: int | None = None) -> go.Figure:
    """A circuit's nodes by layer and its strongest measured edges.

    Args:
        graph: what `circuits.graph.circuit_graph` returns.
        colours: by SAE layer.
        selected: node whose edges are all drawn.
    """
    if not len(graph):
        return empty_figure("This circuit has no nodes.")
    layers = sorted({graph.nodes[node]["layer"] for node in graph})
    columns = [[node for node in graph if graph.nodes[node]["layer"] == layer] for layer in layers]
    positions = column_positions(columns, lambda node: list(graph.predecessors(node)))
    figure = go.Figure()
    edges = [
        DrawnEdge(source, target, min(abs(lost) / _WIDEST, 1.0), lost > 0, True, _edge_hover(graph, source, target))
        for source, target, lost in _shown(graph, selected)
    ]
    add_edges(figure, edges, positions)
    for nodes in columns:
        figure.add_trace(_column(graph, nodes, positions, colours, selected))
    return finish_columns(figure, [_title(graph, nodes[0]) for nodes in columns], max(map(len, columns)))


def circuit_page(graph: nx.DiGraph[Any], *, colours: Mapping[int, str], title: str, answer: str) -> bytes:
    """The figure of a circuit with its question, answer and legend, as an HTML page that works offline."""
    figure = plot_circuit(graph, colours=colours).update_layout(template="plotly_white")
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{_PAGE_STYLE}</style>'
    body = f"<h1>{escape(title)}</h1><p>{escape(answer)}</p>{figure.to_html(full_html=False)}<p>{CIRCUIT_LEGEND}</p>"
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{body}</body></html>'.encode(errors="replace")


def _shown(graph: nx.DiGraph[Any], selected: int | None) -> list[tuple[int, int, float]]:
    """(source, target, lost) of the edges that are drawn; see `CIRCUIT_LEGEND`."""
    shown = []
    for target in graph:
        into = [
            (source, target, edge["lost"]) for source, _, edge in graph.in_edges(target, data=True) if edge["drawn"]
        ]
        into.sort(key=lambda edge: -abs(edge[2]))
        total, held = sum(abs(lost) for *_, lost in into), 0.0
        for source, _, lost in into:
            if held < _DRAWN_SHARE * total or selected in (source, target):
                shown.append((source, target, lost))
            held += abs(lost)
    return shown


def _column(
    graph: nx.DiGraph[Any],
    nodes: list[int],
    positions: Mapping[Any, tuple[float, float]],
    colours: Mapping[int, str],
    selected: int | None,
) -> go.Scatter:
    rows = [graph.nodes[node] for node in nodes]
    largest = max((row["influence"] for row in rows), default=0.0)
    sizes = [(row["influence"] / largest) ** 0.5 if largest > 0 else 0.0 for row in rows]
    return go.Scatter(
        x=[positions[node][0] for node in nodes],
        y=[positions[node][1] for node in nodes],
        mode="markers+text",
        marker={
            "size": [_SMALLEST_NODE + (_LARGEST_NODE - _SMALLEST_NODE) * size for size in sizes],
            "color": [_colour(row, colours) for row in rows],
            "opacity": 1,
            "line": {"color": "#E8B004", "width": [4 if node == selected else 0 for node in nodes]},
        },
        text=[_node_text(row, node == selected) for node, row in zip(nodes, rows, strict=True)],
        textposition="bottom center",
        textfont={"size": 11, "shadow": "auto"},
        cliponaxis=False,
        customdata=[[node] for node in nodes],
        hovertext=[_node_hover(row) for row in rows],
        hovertemplate="%{hovertext}<extra></extra>",
        **unfaded(1),
    )


def _colour(row: Mapping[str, Any], colours: Mapping[int, str]) -> str:
    if row["kind"] in ("rest", "error", "sinks"):
        return with_alpha(MUTED, 0.6)
    return colours.get(row["layer"], MUTED)


def _title(graph: nx.DiGraph[Any], node: int) -> str:
    row = graph.nodes[node]
    if row["layer"] == WORDS_LAYER:
        return "Words"
    return "Next word" if row["kind"] == "logit" else f"Layer {row['layer']}"


def _node_text(row: Mapping[str, Any], is_selected: bool) -> str:
    lines = 2 if row["kind"] == "features" else 3
    text = stacked_label(str(row["label"]), reliable=True, width=_LABEL_WIDTH, lines=lines)
    if row["kind"] == "features" and row["words"]:
        text += f"<br><i>{plotly_text(shorten(row['words'], _LABEL_WIDTH + 3))}</i>"
    return f"<b>{text}</b>" if is_selected else text


def _node_hover(row: Mapping[str, Any]) -> str:
    lines = [f"<b>{wrapped(str(row['label']))}</b>"]
    if row["kind"] in ("features", "rest") and row["members"]:
        members = row["members"].split()
        more = f" and {len(members) - 6:,} more" if len(members) > 6 else ""
        lines.append(", ".join(members[:6]) + more)
    if row["words"] and row["kind"] != "words":
        lines.append(f"On {wrapped(row['words'])}")
    if row["asked"]:
        lines.append("This is what is asked about")
    else:
        lines.append(f"{row['influence']:.1%} of what matters for the answer passes here, by the estimate")
    if row["kind"] == "sinks":
        lines.append("Not taken out: no model works without them")
    return "<br>".join(lines)


def _edge_hover(graph: nx.DiGraph[Any], source: int, target: int) -> str:
    edge = graph.edges[source, target]
    lost = edge["lost"]
    without = plotly_text(shorten(str(graph.nodes[source]["label"]), 50))
    deeper = plotly_text(shorten(str(graph.nodes[target]["label"]), 50))
    lines = [f"Without “{without}”,", f"“{deeper}” {'loses' if lost > 0 else 'gains'} {abs(lost):.0%}"]
    if "attribution" in edge:
        lines.append(f"The estimate: {edge['attribution']:.1%} of the answer takes this way")
    return "<br>".join(lines)
