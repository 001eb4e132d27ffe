"""Features and their correlations as a graph."""

from __future__ import annotations

import networkx as nx
import pandas as pd

from sae.feature import Feature


def feature_graph(ranked: pd.DataFrame, links: pd.DataFrame, threshold: float) -> nx.DiGraph:
    """A graph of the ranked features, linked where |r| is at the threshold or above.

    Args:
        ranked: rows of `tracing.rank.rank_features`; every row becomes a node, a `Feature`, with the row's values.
        links: rows of `circuits.correlation.correlate`; a row with an end that is not ranked is left out.

    Returns:
        Edges go from the shallower layer to the deeper and carry `r` and `n_either`.
    """
    graph = nx.DiGraph()
    for row in ranked.to_dict("records"):
        graph.add_node(Feature(int(row["layer"]), int(row["feature"])), **{str(key): row[key] for key in row})
    for link in links.to_dict("records"):
        source = Feature(int(link["source_layer"]), int(link["source_feature"]))
        target = Feature(int(link["target_layer"]), int(link["target_feature"]))
        if abs(link["r"]) >= threshold and source in graph and target in graph:
            graph.add_edge(source, target, r=float(link["r"]), n_either=int(link["n_either"]))
    return graph
