"""Nodes in columns with edges between them, which correlation networks and circuits share."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import plotly.graph_objects as go

from feature_tracker.charts.theme import NEGATIVE, POSITIVE, finish, unfaded

_THINNEST_EDGE, _THICKEST_EDGE = 1.5, 7.0  # pixels
_HOVER_SHARE = 0.37  # of an edge's length: unlike its middle, never on a column of nodes, however many layers it skips
_WIDTH_CLASSES = 4  # one Plotly trace per width class and sign; one per edge would make the page slow

Positions = Mapping[Hashable, tuple[float, float]]
"""(x, y) of each node: x is the number of its column, y between 0 and 1."""


class DrawnEdge(NamedTuple):
    """One edge as it is drawn.

    Attributes:
        source: the shallower end.
        target: the deeper end.
        size: width, from 0 (thinnest) to 1 (thickest).
        positive: sign, which sets the colour.
        solid: whether the line is solid; otherwise it is dashed.
        hover: hover text, already escaped for Plotly.
    """

    source: Hashable
    target: Hashable
    size: float
    positive: bool
    solid: bool
    hover: str


def column_positions(
    columns: Sequence[Sequence[Hashable]], neighbours: Callable[[Hashable], Sequence[Hashable]]
) -> dict[Hashable, tuple[float, float]]:
    """Positions by column, ordered so that linked nodes lie near each other.

    Each column is ordered by the mean height of its neighbours in the columns before it, which keeps most edges from
    crossing (the barycentre heuristic of Sugiyama et al. 1981).
    """
    positions: dict[Hashable, tuple[float, float]] = {}
    for x, nodes in enumerate(columns):
        heights = {}
        for row, node in enumerate(nodes):
            linked = [positions[other][1] for other in neighbours(node) if other in positions]
            heights[node] = float(np.mean(linked)) if linked else _height(row, len(nodes))
        ordered = sorted(nodes, key=lambda node: -heights[node])
        for row, node in enumerate(ordered):
            positions[node] = (float(x), _height(row, len(nodes)))
    return positions


def _height(row: int, n_rows: int) -> float:
    """The y coordinate, between 0 and 1, of a node's row counted from the top."""
    return 1 - (row + 0.5) / n_rows


def add_edges(figure: go.Figure, edges: Sequence[DrawnEdge], positions: Positions, *, opacity: float = 1.0) -> None:
    """Draw the edges, one trace for all that share dash, sign and width class, and what tells of them on hovering."""
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
            opacity=opacity * (0.5 + 0.07 * width_class),
            hoverinfo="skip",
        )
    # Invisible markers on the edges, because Plotly shows no hover on a line between its points.
    places = [[_along(edge, positions, axis) for edge in edges] for axis in (0, 1)]
    figure.add_scatter(
        x=places[0],
        y=places[1],
        mode="markers",
        marker={"size": 12, "opacity": 0},
        hovertext=[edge.hover for edge in edges],
        hovertemplate="%{hovertext}<extra></extra>",
        **unfaded(0),
    )


def _along(edge: DrawnEdge, positions: Positions, axis: int) -> float:
    start, end = positions[edge.source][axis], positions[edge.target][axis]
    return start + _HOVER_SHARE * (end - start)


def finish_columns(figure: go.Figure, titles: Sequence[str], tallest: float, *, row_height: int = 86) -> go.Figure:
    """Give a figure its columns' titles and the height that its tallest column needs.

    Args:
        tallest: rows of that column.
        row_height: pixels.
    """
    figure.update_xaxes(
        tickvals=list(range(len(titles))),
        ticktext=list(titles),
        range=[-0.5, len(titles) - 0.5],
        side="top",
        showgrid=False,
        zeroline=False,
        fixedrange=True,
    )
    figure.update_yaxes(visible=False, range=[-0.04, 1.0], fixedrange=True)
    return finish(figure, height=max(320, round(row_height * tallest) + 80), hovermode="closest", dragmode=False)
