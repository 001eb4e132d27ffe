"""View: the features shown and their correlations as a network."""

from __future__ import annotations

import streamlit as st

from feature_tracker.charts.network import plot_network
from feature_tracker.circuits.correlation import SIGNIFICANT
from feature_tracker.circuits.graph import feature_graph
from feature_tracker.page.clicks import show_feature_chart
from feature_tracker.page.state import Scene
from feature_tracker.page.views.correlations import correlations_of, say_too_short, show_counts


def show(scene: Scene) -> None:
    """Draw the view."""
    threshold = scene.settings.threshold
    correlations = correlations_of(scene)
    if not say_too_short(scene):
        show_counts(correlations, threshold)
    graph = feature_graph(scene.ranked, correlations.links(threshold))
    st.caption(
        "Larger nodes fire more strongly within their layer. Wider lines mark stronger correlations: blue where two "
        "features rise and fall together, red where they move in opposite directions. Solid lines are more than "
        f"chance (q at most {SIGNIFICANT}), dashed lines may be chance. Click a node to choose its feature."
    )
    show_feature_chart(
        plot_network(
            graph,
            colours=scene.colours,
            threshold=threshold,
            significant=SIGNIFICANT,
            selected=scene.feature,
            aggregation=scene.settings.aggregation,
        ),
        key="network",
        name="feature-network",
        alt="Network of features, one column per layer",
    )
