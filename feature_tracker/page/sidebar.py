"""The sidebar and the bar above the views: the bundle, and settings that apply without tracing again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from feature_tracker.bundles.bundle import Bundle, load_bundle
from feature_tracker.bundles.choice import bundle_names, opening_bundle, unavailable_bundles
from feature_tracker.bundles.missing import labels_note, missing_parts
from feature_tracker.bundles.settings import Environment
from feature_tracker.errors import TrackerError
from feature_tracker.page.errors import plain
from feature_tracker.page.state import LAYERS, Settings, forget_analysis

if TYPE_CHECKING:  # this imports pandas, which the first screen need not wait for
    from feature_tracker.tracing.rank import Aggregation, RankBy

_TOP, _THRESHOLD = 10, 0.5  # to begin with
_AGGREGATIONS: dict[Aggregation, str] = {
    "max": "Strongest word",
    "mean": "Average over words",
    "sum": "Sum over words",
    "share": "Share of words that fire",
}
_RANKINGS: dict[RankBy, str] = {"distinctiveness": "Distinctiveness", "rarity": "Rarity", "activation": "Activation"}


def choose_bundle() -> Bundle:
    """Draw the choice of bundles with notes on what is missing, and return the chosen one.

    Raises:
        TrackerError: the bundle can't be read.
    """
    opening = opening_bundle()
    with st.sidebar:
        names = bundle_names()
        titles = bundle_titles(names)
        name = st.selectbox(
            "Model, SAEs and labels",
            names,
            index=names.index(opening.name),
            key="bundle",
            format_func=titles.__getitem__,
            on_change=forget_analysis,
            bind="query-params",
            help="A bundle is a model with the SAEs and labels made for it. Your own bundle opens automatically once "
            "all its parts are in place; docs/bundles.md explains how to add one.",
        )
        if opening.lacking and name == opening.name:
            st.warning(
                f"This is the built-in model, because your bundle {plain(Environment().user_bundle)} is not complete. "
                f"{plain(opening.lacking)}"
            )
        for other, reason in unavailable_bundles(names).items():
            if other != name:  # the chosen one's is shown on the page
                st.warning(f"A bundle is unavailable. {plain(reason)}")
        bundle = load_bundle(name)
        note = labels_note(bundle)
        if note and not missing_parts(bundle):
            st.info(plain(note))
    return bundle


def bundle_titles(names: Sequence[str]) -> dict[str, str]:
    """Title of each bundle in the list, and whether its files are missing.

    No two are alike, because Streamlit tells options apart by their text.
    """
    titles = {}
    for name in names:
        try:
            bundle = load_bundle(name)
            titles[name] = f"{bundle.title} · files missing" if missing_parts(bundle) else bundle.title
        except TrackerError:
            titles[name] = f"{Path(name).stem} · unavailable"
    counts = Counter(titles.values())
    return {name: title if counts[title] == 1 else f"{title} ({name})" for name, title in titles.items()}


def read_settings(layers: Sequence[int]) -> Settings:
    """Draw the sidebar's settings and return their values, with the default values of `read_view_settings`.

    Args:
        layers: the bundle's SAE layers.
    """
    with st.sidebar:
        st.subheader("Features")
        chosen_layers = st.pills(
            "Layers",
            list(layers),
            selection_mode="multi",
            default=list(layers),
            key=LAYERS,
            bind="query-params",
            help="Depth in the model, counted from 0. Early layers recognize words, late layers predict the next one.",
        )
        by: RankBy = st.segmented_control(
            "Rank by",
            list(_RANKINGS),
            default="distinctiveness",
            required=True,
            format_func=_RANKINGS.__getitem__,
            key="rank_by",
            bind="query-params",
            help="Distinctiveness: how far the text as a whole makes a feature fire beyond ordinary text; what the "
            "text is about. Rarity: how seldom a passage of this length makes the feature peak so high; single "
            "unusual words. Activation: strength; the same few features lead in most texts.",
        )
        aggregation = st.selectbox(
            "Activation over the text",
            list(_AGGREGATIONS),
            format_func=_AGGREGATIONS.__getitem__,
            key="aggregation",
            bind="query-params",
            help="How a feature's activations on single words become one number for the text.",
        )
        st.subheader("Filters")
        min_f1 = st.slider(
            "Minimum F1 of labels",
            0.0,
            1.0,
            0.0,
            0.05,
            key="min_f1",
            bind="query-params",
            help="F1 measures how well a label predicts where its feature fires, on text that was not used to write "
            "it. A question mark means that the label does no better than the guess that the feature always fires "
            "(0.67 where half the sample fires).",
        )
        hide_always_on = st.toggle(
            "Hide always-on features",
            value=True,
            key="hide_always_on",
            bind="query-params",
            help="Features that fire on more than 80% of all words say little about a text.",
        )
    return Settings(
        threshold=_THRESHOLD,
        top=_TOP,
        layers=tuple(sorted(chosen_layers or [])),
        aggregation=aggregation or "max",
        by=by,
        hide_always_on=hide_always_on,
        min_f1=min_f1,
        hide_form=True,
    )


def read_form_setting(settings: Settings) -> Settings:
    """Draw the switch for features of form, and return the settings with its value."""
    hide_form = st.toggle(
        "Hide numbers, punctuation and grammar",
        value=True,
        key="hide_form",
        bind="query-params",
        help="Features whose label is about the form of a text: its digits, signs, function words, or places such as "
        "the beginning of a list. They fire in every text. Features that nobody has read are always shown.",
    )
    return replace(settings, hide_form=hide_form)


def read_view_settings(settings: Settings) -> Settings:
    """Draw the settings at hand above the views, and return all settings with their values."""
    with st.container(horizontal=True, gap="large", vertical_alignment="bottom"):
        top = st.slider(
            "Number of top features", 5, 20, _TOP, key="top", bind="query-params", help="Features shown for each layer."
        )
        threshold = st.slider(
            "Correlation threshold",
            0.1,
            0.9,
            _THRESHOLD,
            0.05,
            key="threshold",
            bind="query-params",
            help="Links shows pairs of features whose activations correlate at least this strongly over the words, "
            "positively or negatively.",
        )
    return replace(settings, top=top, threshold=threshold)
