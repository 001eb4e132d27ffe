"""Tab: pairs of features of different layers that rise and fall together."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from feature_tracker.circuits.correlation import MIN_TOKENS, Correlations, correlate
from feature_tracker.labels.csv_files import to_csv
from feature_tracker.page import state
from feature_tracker.page.state import Scene
from feature_tracker.tracing.rows import features_of, marked_labels


def correlations_of(scene: Scene) -> Correlations:
    """Correlations of the features shown, over the whole text; kept until text or features change."""
    trace, features = scene.analysis.trace, features_of(scene.ranked)
    kept = st.session_state.get(state.CORRELATIONS)
    if kept is None or kept[0] is not trace or kept[1] != features:
        kept = (trace, features, correlate(trace, features))
        st.session_state[state.CORRELATIONS] = kept
    return kept[2]


def say_too_short(scene: Scene) -> bool:
    """Say so where the text has too few tokens for any correlation."""
    n_tokens = scene.analysis.trace.n_tokens
    if n_tokens < MIN_TOKENS:
        st.info(
            f"A text of {n_tokens} token{'s' if n_tokens > 1 else ''} is too short for correlations; they need "
            f"{MIN_TOKENS} or more."
        )
    return n_tokens < MIN_TOKENS


def show_counts(correlations: Correlations, threshold: float) -> None:
    """Say, under the slider and above the view, how many links there are and how many chance alone would give."""
    n_found = int((correlations.pairs["r"].abs() >= threshold).sum())
    chance = correlations.chance(threshold)
    expected = "under 0.1" if chance < 0.1 else f"about {chance:,.{0 if chance >= 10 else 1}f}"
    links = f"**{n_found:,} link{'' if n_found == 1 else 's'}**"
    counted = f"{links} at |r| ≥ {threshold:.2f}; chance alone would give {expected}."
    st.sidebar.caption(counted)
    rare = correlations.n_rare
    st.markdown(
        counted + (f" {rare} feature{'s fire' if rare > 1 else ' fires'} on too few words to be judged." * bool(rare))
    )


def show(scene: Scene) -> None:
    """Draw the tab."""
    if say_too_short(scene):
        return
    if len(scene.settings.layers) == 1:
        st.info("Correlations are between layers. Choose a second layer in the sidebar.")
        return
    correlations = correlations_of(scene)
    show_counts(correlations, scene.settings.threshold)
    found = correlations.links(scene.settings.threshold)
    if found.empty:
        st.info(
            "No pair of the features shown correlates this much over the words of this text. Lower the correlation "
            "threshold or show more features."
        )
        return
    table = describe(found, scene.ranked)
    st.caption(
        "Pairs of features in different layers, over the words of the whole text. A correlation is not a cause: both "
        "may follow the same words."
    )
    st.dataframe(
        table,
        hide_index=True,
        key="correlation_table",
        height=560 if len(table) > 14 else "auto",
        column_config={
            "r": st.column_config.NumberColumn(
                format="%+.2f", help="Pearson's correlation over the tokens: +1 together, −1 opposite."
            ),
            "q": st.column_config.NumberColumn(
                format="%.2g",
                help="Of the pairs with a q as small as this, the share that chance gives. Up to 0.05 counts.",
            ),
            "Tokens": st.column_config.NumberColumn(help="Tokens on which at least one of the two fires."),
            "Effective tokens": st.column_config.NumberColumn(
                format="%.0f",
                help="Independent tokens that this text is worth for the pair: features stay on for a while.",
            ),
            "Label": st.column_config.TextColumn(width=330),
            "Deeper label": st.column_config.TextColumn(width=330),
        },
    )
    st.download_button(
        "Download as CSV",
        data=lambda: to_csv(table),
        file_name="correlations.csv",
        mime="text/csv",
        icon=":material/download:",
        on_click="ignore",
    )


def describe(found: pd.DataFrame, ranked: pd.DataFrame) -> pd.DataFrame:
    """Pairs with both labels in each row, `?` after the unreliable ones."""
    names = dict(zip(features_of(ranked), marked_labels(ranked), strict=True))
    sources, targets = features_of(found, "source_"), features_of(found, "target_")
    return pd.DataFrame(
        {
            "r": found["r"].to_numpy(),
            "From": [str(feature) for feature in sources],
            "Label": [names[feature] for feature in sources],
            "To": [str(feature) for feature in targets],
            "Deeper label": [names[feature] for feature in targets],
            "q": found["q"].to_numpy(),
            "Tokens": found["n_either"].to_numpy(),
            "Effective tokens": found["n_effective"].to_numpy(),
        }
    )
