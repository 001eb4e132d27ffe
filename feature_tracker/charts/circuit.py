"""Circuits: words, features of each layer and the target in columns, with measured effects between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    "From the words on the left to the right. Blue links feed the deeper node, red links hold it back; all are "
    "measured, wider where the deeper node loses more without the shallower one. Drawn are the nodes that matter most "
    "to what is asked about, and the strongest links into each; everything else is in the tables and downloads. Grey "
    "nodes are what can't be told apart, with the estimated share of what matters that passes there."
)
_MOST_NODES = 4  # that have a name, in a column; a fifth makes the links of six columns a thicket
_MOST_WORDS = 6
_MOST_LINKS = 3  # into a node
_WIDEST = 0.6  # share lost at which a line is thickest
_SMALLEST_NODE, _LARGEST_NODE = 10.0, 30.0  # pixels
_LINE = 108  # characters that fit side by side into 720 pixels
_LABEL_LINES = 4
_ROW_HEIGHT, _GREY_ROW = 108, 0.55  # pixels; of a row
_GREY = {"rest": "", "error": "What the SAE misses", "sinks": "Start of text and sinks"}
"""By kind, what a grey node is called in the figure, where its column says the layer; its label where blank."""
_ABOVE = 0.2  # of a row: nodes stand above its middle, because their labels are below them
_SMALLEST_SHARE = 0.005  # of influence; a grey node with less, and without a link, isn't drawn
_PAGE_STYLE = "body { font: 15px/1.6 Arial, sans-serif; color: #262730; margin: 2rem } p { max-width: 60rem }"


def plot_circuit(graph: nx.DiGraph[Any], *, colours: Mapping[int, str], selected: int | None = None) -> go.Figure:
    """The nodes of a circuit that matter most, by layer, and the strongest measured edges between them.

    Args:
        graph: what `circuits.graph.circuit_graph` returns.
        colours: by SAE layer.
        selected: node that is drawn in any case, with all its edges to nodes that are drawn; the others fade.
    """
    if not len(graph):
        return empty_figure("This circuit has no nodes.")
    columns = drawn_nodes(graph, selected)
    layers = sorted({graph.nodes[node]["layer"] for node in graph})
    greys = [_grey_nodes(graph, layer) for layer in layers]
    positions, n_rows = _positions(graph, columns, greys)
    width = min(24, _LINE // len(columns))
    figure = go.Figure()
    edges = drawn_edges(graph, [node for nodes in columns for node in nodes], selected)
    of_selected = [edge for edge in edges if selected in edge]
    others = [edge for edge in edges if selected not in edge]
    _add_edges(figure, graph, others, positions, 0.3 if of_selected else 1.0)
    _add_edges(figure, graph, of_selected, positions, 1.0)
    for nodes, grey in zip(columns, greys, strict=True):
        figure.add_trace(_column(graph, [*nodes, *grey], positions, colours, selected, width))
    titles = [_title(graph, layer) for layer in layers]
    return finish_columns(figure, titles, n_rows, row_height=_ROW_HEIGHT)


def _add_edges(
    figure: go.Figure,
    graph: nx.DiGraph[Any],
    ends: list[tuple[int, int]],
    positions: Mapping[Any, tuple[float, float]],
    opacity: float,
) -> None:
    edges = []
    for source, target in ends:
        lost = graph.edges[source, target]["lost"]
        hover = _edge_hover(graph, source, target)
        edges.append(DrawnEdge(source, target, min(abs(lost) / _WIDEST, 1.0), lost > 0, True, hover))
    add_edges(figure, edges, positions, opacity=opacity)


def drawn_nodes(graph: nx.DiGraph[Any], selected: int | None = None) -> list[list[int]]:
    """By layer, ascending, the named nodes that are drawn: those that matter most to what is asked about.

    What is asked about counts 1. From there, a node counts what the nodes on its way lose without it, or lose with the
    node that is asked about, each weighed by what they count. Before anything is measured, influence decides.
    """
    layers = sorted({graph.nodes[node]["layer"] for node in graph})
    asked = [node for node in graph if graph.nodes[node]["asked"]]
    backwards = graph.nodes[asked[0]]["layer"] == layers[-1]
    counts = dict.fromkeys(sorted(asked, key=lambda node: -_sum_lost(graph, node))[:_MOST_NODES], 1.0)
    columns = [list(counts)]
    for layer in reversed(layers[:-1]) if backwards else layers[1:]:
        nodes = [
            node for node in graph if graph.nodes[node]["layer"] == layer and graph.nodes[node]["kind"] not in _GREY
        ]
        scores = dict.fromkeys(nodes, 0.0)
        is_measured = any((graph.out_degree if backwards else graph.in_degree)(node) for node in nodes)
        for node in nodes:
            for other in columns[-1]:
                ends = (node, other) if backwards else (other, node)
                if ends in graph.edges:
                    scores[node] += counts[other] * min(_drawn_lost(graph, ends), 1.0)
        ranked = sorted(nodes, key=lambda node: (-scores[node], -graph.nodes[node]["influence"]))
        most = _MOST_WORDS if layer == WORDS_LAYER else _MOST_NODES
        column = [node for node in ranked[:most] if scores[node] > 0 or not is_measured]
        counts |= scores
        columns.append(column)
    columns = columns[::-1] if backwards else columns
    if selected in graph and graph.nodes[selected]["kind"] not in _GREY:
        column = columns[layers.index(graph.nodes[selected]["layer"])]
        column += [] if selected in column else [selected]
    return columns


def drawn_edges(graph: nx.DiGraph[Any], nodes: Sequence[int], selected: int | None = None) -> list[tuple[int, int]]:
    """The strongest edges into each of some nodes, the strongest out of each, and those of the chosen node.

    Args:
        selected: its edges to these nodes and to grey ones are all drawn.
    """
    greys = [node for node in graph if graph.nodes[node]["kind"] in _GREY]
    edges = [ends for ends in graph.edges if graph.edges[ends]["drawn"]]
    edges.sort(key=lambda ends: -abs(graph.edges[ends]["lost"]))
    n_into = dict.fromkeys(graph, 0)
    has_out: set[int] = set()
    drawn = []
    for source, target in edges:
        if selected in (source, target):
            is_drawn = {source, target} <= {*nodes, *greys}
        else:
            is_strong = n_into[target] < _MOST_LINKS or source not in has_out
            is_drawn = {source, target} <= {*nodes} and is_strong
        if is_drawn:
            drawn.append((source, target))
            n_into[target] += 1
            has_out.add(source)
    return drawn


def _grey_nodes(graph: nx.DiGraph[Any], layer: int) -> list[int]:
    greys = [node for node in graph if graph.nodes[node]["layer"] == layer and graph.nodes[node]["kind"] in _GREY]
    return [node for node in greys if graph.nodes[node]["influence"] >= _SMALLEST_SHARE or _sum_lost(graph, node)]


def _sum_lost(graph: nx.DiGraph[Any], node: int) -> float:
    return sum(_drawn_lost(graph, ends) for ends in [*graph.in_edges(node), *graph.out_edges(node)])


def _drawn_lost(graph: nx.DiGraph[Any], ends: tuple[int, int]) -> float:
    edge = graph.edges[ends]
    return abs(edge["lost"]) if edge["drawn"] else 0.0


def _positions(
    graph: nx.DiGraph[Any], columns: Sequence[Sequence[int]], greys: Sequence[Sequence[int]]
) -> tuple[dict[Any, tuple[float, float]], float]:
    """(x, y) of each node, grey ones below in rows of their own, and how many rows there are."""
    n_named = max(map(len, columns))
    kinds = [kind for kind in _GREY if any(graph.nodes[node]["kind"] == kind for nodes in greys for node in nodes)]
    n_rows = n_named + _GREY_ROW * len(kinds)
    positions = column_positions(columns, lambda node: [*graph.predecessors(node), *graph.successors(node)])
    positions = {node: (x, 1 - ((1 - y) * n_named - _ABOVE) / n_rows) for node, (x, y) in positions.items()}
    for x, nodes in enumerate(greys):
        for node in nodes:
            row = len(kinds) - kinds.index(graph.nodes[node]["kind"]) - 0.3
            positions[node] = (float(x), row * _GREY_ROW / n_rows)
    return positions, n_rows


def circuit_page(graph: nx.DiGraph[Any], *, colours: Mapping[int, str], title: str, answer: str) -> bytes:
    """The figure of a circuit with its question, answer and legend, as an HTML page that works offline."""
    figure = plot_circuit(graph, colours=colours).update_layout(template="plotly_white")
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{_PAGE_STYLE}</style>'
    body = f"<h1>{escape(title)}</h1><p>{escape(answer)}</p>{figure.to_html(full_html=False)}<p>{CIRCUIT_LEGEND}</p>"
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{body}</body></html>'.encode(errors="replace")


def _column(
    graph: nx.DiGraph[Any],
    nodes: list[int],
    positions: Mapping[Any, tuple[float, float]],
    colours: Mapping[int, str],
    selected: int | None,
    width: int,
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
        text=[_node_text(row, width, node == selected) for node, row in zip(nodes, rows, strict=True)],
        textposition="bottom center",
        textfont={"size": 11, "shadow": "auto"},
        cliponaxis=False,
        customdata=[[node] for node in nodes],
        hovertext=[_node_hover(row) for row in rows],
        hovertemplate="%{hovertext}<extra></extra>",
        **unfaded(1),
    )


def _colour(row: Mapping[str, Any], colours: Mapping[int, str]) -> str:
    if row["kind"] in _GREY:
        return with_alpha(MUTED, 0.6)
    return colours.get(row["layer"], MUTED)


def _title(graph: nx.DiGraph[Any], layer: int) -> str:
    if layer == WORDS_LAYER:
        return "Words"
    kinds = {graph.nodes[node]["kind"] for node in graph if graph.nodes[node]["layer"] == layer}
    return "Next word" if "logit" in kinds else f"Layer {layer}"


def _node_text(row: Mapping[str, Any], width: int, is_selected: bool) -> str:
    if row["kind"] in _GREY:
        label = _GREY[row["kind"]] or row["label"]
        text = stacked_label(f"{label} ({row['influence']:.0%})", reliable=True, width=width, lines=3)
    else:
        text = stacked_label(str(row["label"]), reliable=True, width=width, lines=_LABEL_LINES)
    if row["kind"] == "features" and row["words"]:
        text += f"<br><i>{plotly_text(shorten(row['words'], width))}</i>"
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
