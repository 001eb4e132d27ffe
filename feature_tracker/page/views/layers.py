"""View: where in the model the themes stand out, and the chosen feature's lineage across the layers."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from feature_tracker.charts.comparison import plot_theme_layers
from feature_tracker.charts.evolution import plot_lineage
from feature_tracker.features.lineage import lineage
from feature_tracker.labels.columns import BY_NAME, KEYS
from feature_tracker.labels.table import LabelTable
from feature_tracker.page.clicks import show_chart, show_feature_chart
from feature_tracker.page.errors import plain
from feature_tracker.page.state import Scene
from feature_tracker.page.tables import column_settings, show_table
from feature_tracker.tracing.themes import members_of

_MOST_THEMES = 12


def show(scene: Scene) -> None:
    """Draw the view."""
    st.markdown("#### Themes by layer")
    st.caption(
        "Each dot is the feature by which a theme stands out most in a layer; the larger, the fewer ordinary passages "
        "make it stand out as much. Early layers recognize words, late layers predict the next one. Click a dot to "
        "choose its feature."
    )
    show_feature_chart(
        plot_theme_layers(
            members_of(scene.themes[:_MOST_THEMES], scene.tracker.labels),
            colours={layer: scene.colours[layer] for layer in scene.settings.layers},
            selected=scene.feature,
        ),
        key="comparison",
        name="themes-by-layer",
        alt="Themes of the text against the layers of the model",
    )
    st.markdown(f"#### Evolution of {scene.feature}: {plain(scene.tracker.labels.name(scene.feature))}")
    _show_lineage(scene)


def _show_lineage(scene: Scene) -> None:
    related = with_labels(lineage(scene.analysis.trace, scene.tracker.saes, scene.feature), scene.tracker.labels)
    show_chart(
        plot_lineage(related, colours=scene.colours, chosen_layer=scene.feature.layer),
        key="evolution",
        name=f"evolution-L{scene.feature.layer}-F{scene.feature.index}",
        alt="Activation, specialization, cosine and correlation of one feature's lineage over the layers",
    )
    st.caption(
        "The star is the chosen feature. From there towards both ends, each point is the next layer's feature most "
        "like the one before: similar in its direction in the model (cosine) and in its activation over this text (r)."
    )
    titles = {name: BY_NAME[name].title for name in ("layer", "feature", "label", "f1", "specialization_index")}
    titles |= {"activation": "Activation", "cosine": "Cosine", "r": "r"}
    order = ["layer", "feature", "label", "f1", "activation", "specialization_index", "cosine", "r"]
    show_table(
        related[order].rename(columns=titles),
        key="evolution_table",
        placeholder="",
        column_config=column_settings(BY_NAME[name] for name in order if name in BY_NAME)
        | {
            "Activation": st.column_config.NumberColumn(format="%.3f"),
            "Cosine": st.column_config.NumberColumn(
                format="%.2f", help="Cosine of the two decoder directions; 1 is the same direction."
            ),
            "r": st.column_config.NumberColumn(format="%+.2f", help="Correlation of the two features over this text."),
        },
    )


def with_labels(related: pd.DataFrame, labels: LabelTable) -> pd.DataFrame:
    """Add the label table's columns to a lineage; see `LabelTable.describe`."""
    described = labels.describe(pd.MultiIndex.from_frame(related[KEYS]))
    return related.assign(**{str(name): described[name].to_numpy() for name in described})
