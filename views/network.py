"""Tab: the features shown and their correlations as a network."""

from __future__ import annotations

import streamlit as st

from charts.network import plot_network
from circuits.graph import feature_graph
from views.clicks import show_feature_chart
from views.correlations import links
from views.state import Scene


def show(scene: Scene) -> None:
    """Draw the tab."""
    threshold = scene.settings.threshold
    graph = feature_graph(scene.ranked, links(scene), threshold)
    st.caption(
        f"{graph.number_of_nodes()} features, {graph.number_of_edges()} links with a correlation of {threshold:.2f} or "
        "more, up or down. Larger nodes fire more strongly within their layer; wider lines correlate more: solid blue "
        "together, dotted red opposite. Click a node to choose its feature."
    )
    show_feature_chart(
        plot_network(graph, colours=scene.colours, threshold=threshold, selected=scene.feature),
        key="network",
        name="feature-network",
        alt="Network of features, one column a layer",
    )
