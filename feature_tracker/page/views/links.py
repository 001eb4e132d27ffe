"""View: pairs of features of different layers that rise and fall together, as a network and as a table."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import streamlit as st

from feature_tracker.charts.network import plot_network
from feature_tracker.circuits.correlation import MIN_TOKENS, SIGNIFICANT, Correlations, correlate
from feature_tracker.circuits.graph import feature_graph
from feature_tracker.feature import Feature
from feature_tracker.labels.csv_files import to_csv
from feature_tracker.page import state
from feature_tracker.page.clicks import show_feature_chart
from feature_tracker.page.components.download import offer_download
from feature_tracker.page.state import Scene
from feature_tracker.page.tables import show_table
from feature_tracker.tracing.rows import features_of, marked_labels
from feature_tracker.tracing.trace import Trace

_ALL, _NEIGHBOURS = "All features shown", "The chosen feature and its neighbours"


@dataclass(frozen=True)
class SessionCorrelations:
    """Correlations stored in a session, with what they were computed from."""

    trace: Trace
    features: list[Feature]
    correlations: Correlations


def correlations_of(scene: Scene) -> Correlations:
    """Correlations of the features shown, over the whole text; stored until the text or the features change."""
    trace, features = scene.analysis.trace, features_of(scene.ranked)
    stored: SessionCorrelations | None = st.session_state.get(state.CORRELATIONS)
    if stored is None or stored.trace is not trace or stored.features != features:
        stored = SessionCorrelations(trace, features, correlate(trace, features))
        st.session_state[state.CORRELATIONS] = stored
    return stored.correlations


def say_too_short(scene: Scene) -> bool:
    """Return whether the text has too few tokens for any correlation, and say so if it has."""
    n_tokens = scene.analysis.trace.n_tokens
    if n_tokens < MIN_TOKENS:
        st.info(
            f"A text of {n_tokens} token{'s' if n_tokens > 1 else ''} is too short for correlations; they need "
            f"{MIN_TOKENS} or more."
        )
    return n_tokens < MIN_TOKENS


def show_counts(correlations: Correlations, threshold: float) -> None:
    """Show the number of links, and how many chance alone would give."""
    n_links = int((correlations.pairs["r"].abs() >= threshold).sum())
    chance = correlations.chance(threshold)
    expected = "under 0.1" if chance < 0.1 else f"about {chance:,.{0 if chance >= 10 else 1}f}"
    links = f"**{n_links:,} link{'' if n_links == 1 else 's'}**"
    counts = f"{links} at |r| ≥ {threshold:.2f}; chance alone would give {expected}."
    n_rare = correlations.n_rare
    if n_rare:
        counts += f" {n_rare} feature{' fires' if n_rare == 1 else 's fire'} on too few words to be judged."
    st.markdown(counts)


def show(scene: Scene) -> None:
    """Draw the view."""
    if say_too_short(scene):
        return
    if len(scene.settings.layers) == 1:
        st.info("Correlations link features of different layers. Choose a second layer in the sidebar.")
        return
    correlations = correlations_of(scene)
    threshold = scene.settings.threshold
    show_counts(correlations, threshold)
    links = correlations.links(threshold)
    if links.empty:
        st.info(
            "None of the features shown correlate this strongly over the words of this text. Lower the correlation "
            "threshold or show more features."
        )
        return
    _show_network(scene, links)
    st.caption(
        "Pairs of features of different layers, correlated over the words of the whole text. Correlation is not "
        "causation: both features may follow the same words."
    )
    _show_table(links, scene)


def _show_network(scene: Scene, links: pd.DataFrame) -> None:
    whole = feature_graph(scene.ranked, links)
    near = (
        {scene.feature, *whole.predecessors(scene.feature), *whole.successors(scene.feature)}
        if (scene.feature in whole)
        else set()
    )
    options = [_ALL, _NEIGHBOURS] if len(near) > 1 else [_ALL]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        part = st.segmented_control("Network of", options, default=options[-1], required=True, key="network_part")
    graph = whole.subgraph(near) if part == _NEIGHBOURS and near else whole
    show_feature_chart(
        plot_network(
            graph,
            colours=scene.colours,
            threshold=scene.settings.threshold,
            significant=SIGNIFICANT,
            selected=scene.feature,
            aggregation=scene.settings.aggregation,
        ),
        key="network",
        name="feature-network",
        alt="Network of features that rise and fall together, one column per layer",
    )
    st.caption(
        "Larger nodes fire more strongly within their layer. Wider lines mark stronger correlations: blue where two "
        "features rise and fall together, red where they move in opposite directions. Solid lines are more than "
        f"chance (q at most {SIGNIFICANT}), dashed lines may be chance. Click a node to choose its feature."
    )


def _show_table(links: pd.DataFrame, scene: Scene) -> None:
    table = describe(links, scene.ranked, scene.analysis.trace)
    show_table(
        table,
        key="correlation_table",
        height=560 if len(table) > 14 else "auto",
        column_config={
            "r": st.column_config.NumberColumn(
                format="%+.2f",
                help="Pearson's correlation over the tokens: +1 always together, −1 always in opposite directions.",
            ),
            "q": st.column_config.NumberColumn(
                format="%.2g",
                help="Share of pairs due to chance among those with this q or a smaller one. 0.05 or less counts "
                "as significant.",
            ),
            "Where both fire": st.column_config.TextColumn(
                width=300, help="The words around the token on which the two fire most strongly together."
            ),
            "Tokens": st.column_config.NumberColumn(help="Tokens on which at least one of the two fires."),
            "Effective tokens": st.column_config.NumberColumn(
                format="%.0f",
                help="How many independent tokens this text is worth for the pair: fewer than it has, because features "
                "stay on for a while.",
            ),
            "Label": st.column_config.TextColumn(width=300),
            "Deeper label": st.column_config.TextColumn(width=300),
        },
    )
    offer_download(
        "Download as CSV", lambda: to_csv(table), file_name="correlations.csv", mime="text/csv", key="links_csv"
    )


def describe(links: pd.DataFrame, ranked: pd.DataFrame, trace: Trace) -> pd.DataFrame:
    """Links with both labels and a shared excerpt in each row, and `?` after unreliable labels."""
    labels = dict(zip(features_of(ranked), marked_labels(ranked), strict=True))
    sources, targets = features_of(links, "source_"), features_of(links, "target_")
    return pd.DataFrame(
        {
            "r": links["r"].to_numpy(),
            "From": [str(feature) for feature in sources],
            "Label": [labels[feature] for feature in sources],
            "To": [str(feature) for feature in targets],
            "Deeper label": [labels[feature] for feature in targets],
            "Where both fire": _shared_excerpts(trace, sources, targets),
            "q": links["q"].to_numpy(),
            "Tokens": links["n_either"].to_numpy(),
            "Effective tokens": links["n_effective"].to_numpy(),
        }
    )


def _shared_excerpts(trace: Trace, sources: list[Feature], targets: list[Feature]) -> list[str]:
    """The words around the token on which both ends of a link fire most; empty where they never fire together."""
    activations = {feature: trace.column(feature)[trace.counted] for feature in {*sources, *targets}}
    excerpts = []
    for source, target in zip(sources, targets, strict=True):
        together = activations[source] * activations[target]
        position = int(together.argmax())
        excerpts.append(trace.tokens.excerpt_at(int(trace.counted[position])) if together[position] > 0 else "")
    return excerpts
