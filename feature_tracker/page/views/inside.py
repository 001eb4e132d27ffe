"""View: inside the chosen feature: its label's scores, its activations, what it writes, its relatives, a trial."""

from __future__ import annotations

from weakref import ref

import numpy as np
import streamlit as st

from feature_tracker.charts.inside import plot_activations, plot_recall
from feature_tracker.charts.theme import shorten
from feature_tracker.circuits.correlation import MIN_TOKENS, correlate
from feature_tracker.errors import TrackerError
from feature_tracker.feature import Feature
from feature_tracker.features.direction import LogitLens, logit_lens, nearest_features
from feature_tracker.labels.own import own_labels_path
from feature_tracker.page.clicks import show_chart
from feature_tracker.page.errors import plain, shown_errors
from feature_tracker.page.feature_card import show_feature_button
from feature_tracker.page.pool import evicted_error, tracker_pool
from feature_tracker.page.state import Scene
from feature_tracker.tracing.rows import features_of, rows_of
from feature_tracker.tracing.trace import Trace

TRIAL = "trial_sentence"
_MOST_PARTNERS = 8


def show(scene: Scene) -> None:
    """Draw the view."""
    feature, labels = scene.feature, scene.tracker.labels
    st.markdown(f"#### {feature}: {plain(labels.name(feature))}")
    _show_own_label(scene)
    _show_trial(scene)
    colour = scene.colours[feature.layer]
    left, right = st.columns(2, gap="medium")
    if tuple(feature) in labels.frame.index:
        (row,) = rows_of(labels.frame.reindex([tuple(feature)]))
        with left:
            st.markdown("**How much of its firing the label explains**")
            show_chart(
                plot_recall(row, colour=colour),
                key="recall",
                name=f"recall-L{feature.layer}-F{feature.index}",
                alt="Share of firings that a reader of the label alone recognized, by strength of firing",
            )
        with right:
            st.markdown("**How strongly it fires elsewhere**")
            peak = scene.analysis.trace.column(feature)[scene.analysis.trace.counted].max(initial=0.0)
            show_chart(
                plot_activations(row, float(peak), colour=colour),
                key="activations",
                name=f"activations-L{feature.layer}-F{feature.index}",
                alt="Share of a large body of text on which the feature fires at least so strongly",
            )
    left, right = st.columns(2, gap="medium")
    with left:
        _show_lens(scene)
    with right:
        _show_partners(scene)
    _show_nearest(scene)


def _show_own_label(scene: Scene) -> None:
    feature, replaced = scene.feature, scene.tracker.labels.replaced
    key = f"own_label_{feature}"
    # Streamlit keeps what a callback refers to, which must not keep a model in memory.
    weak_tracker = ref(scene.tracker)

    def save() -> None:
        with shown_errors("saving your label"):
            tracker = weak_tracker()
            if tracker is None:
                raise evicted_error()
            tracker_pool().exchange(tracker, tracker.relabel(feature, st.session_state[key]))

    st.text_input(
        "Your own label",
        scene.tracker.labels.name(feature) if feature in replaced else "",
        key=key,
        placeholder="Call it something else",
        on_change=save,
        help="Replaces the label wherever this bundle is opened on this machine, for everybody who uses this page. "
        "Empty the box to have the old label back. Your labels are kept in "
        f"{plain(str(own_labels_path(scene.tracker.bundle.name)))}.",
    )
    if feature in replaced:
        st.caption(f"In place of “{plain(replaced[feature])}”. Nobody has judged yours.")


def _show_trial(scene: Scene) -> None:
    sentence = st.text_input(
        "Try a sentence",
        key=TRIAL,
        placeholder="Does it fire on … ?",
        help="Runs this sentence alone through the model and shows where the feature fires. Your analysis stays.",
    )
    if not sentence.strip():
        return
    try:
        trace = scene.tracker.trace(sentence)
    except TrackerError as error:
        st.error(plain(str(error)))
        return
    st.markdown(marked_words(trace, scene.feature, _largest(scene)))


def _largest(scene: Scene) -> float:
    """The largest activation known of the chosen feature: of the corpus, else of this text."""
    known = scene.tracker.labels.frame.reindex([tuple(scene.feature)])["max_activation"].iloc[0]
    here = float(scene.analysis.trace.column(scene.feature).max())
    return float(known) if np.isfinite(known) and known > 0 else max(here, 1e-6)


def marked_words(trace: Trace, feature: Feature, largest: float) -> str:
    """A text as Markdown: each word on which a feature fires is marked, with its share of the largest activation."""
    by_word = trace.by_word(trace.column(feature))
    text, parts, last = trace.tokens.text, [], 0
    for (start, end), value in zip(trace.tokens.words.spans.tolist(), by_word, strict=True):
        word = plain(text[start:end])
        parts.append(plain(text[last:start]))
        parts.append(f":orange-background[{word} :small[{value / largest:.0%}]]" if value > 0 else word)
        last = end
    if not by_word.any():
        parts.append(" — *it doesn't fire here*")
    return "".join([*parts, plain(text[last:])])


def _show_lens(scene: Scene) -> None:
    st.markdown(
        "**What it writes**",
        help="The feature's direction, read as if it were the model's last state: the next tokens that it makes more "
        "or less probable. Rough for early layers, whose meaning the later ones still change.",
    )
    try:
        lens = _lens(scene)
    except TrackerError as error:
        st.caption(plain(str(error)))
        return
    for title, tokens in (("makes more probable", lens.promoted), ("makes less probable", lens.suppressed)):
        shown = " ".join(f":gray-background[{plain(shorten(token, 20))}]" for token in tokens["token"])
        st.markdown(f":small[{title}] {shown}")


def _lens(scene: Scene) -> LogitLens:
    direction = scene.tracker.saes[scene.feature.layer].decoder[scene.feature.index]
    return logit_lens(scene.tracker.language_model, direction)


def _show_partners(scene: Scene) -> None:
    st.markdown(
        "**What rises and falls with it here**",
        help="Pearson's correlation over the words of this text with the features shown of other layers.",
    )
    others = [feature for feature in features_of(scene.ranked) if feature.layer != scene.feature.layer]
    if scene.analysis.trace.n_tokens < MIN_TOKENS or not others:
        st.caption("Too few words or layers for correlations.")
        return
    pairs = correlate(scene.analysis.trace, [scene.feature, *others]).pairs
    sources, targets = features_of(pairs, "source_"), features_of(pairs, "target_")
    ours = [scene.feature in pair for pair in zip(sources, targets, strict=True)]
    pairs = pairs[ours].sort_values("r", key=abs, ascending=False).head(_MOST_PARTNERS)
    if pairs.empty:
        st.caption("The feature fires on too few words to be judged.")
    ends = zip(features_of(pairs, "source_"), features_of(pairs, "target_"), pairs["r"].tolist(), strict=True)
    with st.container(gap=None):
        for source, target, r in ends:
            partner = source if target == scene.feature else target
            show_feature_button(partner, scene.tracker.labels, key="partner", measure=f"{r:+.2f}")


def _show_nearest(scene: Scene) -> None:
    st.markdown(
        "**Features that point the same way**",
        help="Nearest by the cosine of their decoder directions, in the feature's own layer and in the others.",
    )
    nearest = nearest_features(scene.tracker.saes, scene.feature, top=2)
    for column, (layer, rows) in zip(
        st.columns(nearest["layer"].nunique(), gap="small"), nearest.groupby("layer"), strict=True
    ):
        with column.container(gap=None):
            st.caption(f"Layer {layer}")
            for near, cosine in zip(features_of(rows), rows["cosine"].tolist(), strict=True):
                show_feature_button(near, scene.tracker.labels, key="nearest", measure=f"{cosine:.2f}")
