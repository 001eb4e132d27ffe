"""View: what changed from another text to the one that was analyzed, or from it to the other."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import streamlit as st

from feature_tracker.charts.differences import plot_differences
from feature_tracker.charts.theme import shorten
from feature_tracker.compare.align import Edit, Pair, Sentence
from feature_tracker.compare.texts import Change, Comparison, changes_table
from feature_tracker.feature import Feature
from feature_tracker.labels.columns import FORM_KINDS
from feature_tracker.labels.csv_files import to_csv
from feature_tracker.labels.table import LabelTable
from feature_tracker.page import state
from feature_tracker.page.clicks import show_feature_chart
from feature_tracker.page.components.download import offer_download
from feature_tracker.page.errors import plain, shown_errors
from feature_tracker.page.pool import progress_bar
from feature_tracker.page.state import Scene
from feature_tracker.reading import language_note

OTHER = "compare_text"
ORDER = "compare_order"
_EARLIER, _LATER = "came before it", "came after it"
_MOST_CHANGES = 60
_MOST_FEATURES = 12
_UNEQUAL = 3  # times as many tokens


@dataclass(frozen=True)
class SessionComparison:
    """A comparison stored in a session, with the texts that were compared."""

    texts: tuple[str, str]
    comparison: Comparison


def show(scene: Scene) -> None:
    """Draw the view."""
    analyzed = scene.analysis.trace.tokens.text
    other = st.text_area(
        "Another text, to compare yours with",
        key=OTHER,
        height=120,
        placeholder="Last quarter's report, the statement before this one, …",
    )
    with st.container(horizontal=True, vertical_alignment="bottom"):
        order = st.segmented_control("The other text", [_EARLIER, _LATER], default=_EARLIER, required=True, key=ORDER)
        pressed = st.button("Compare", type="primary", icon=":material/compare_arrows:", key="compare_run")
    texts = (other, analyzed) if order == _EARLIER else (analyzed, other)
    if pressed:
        with shown_errors("comparing the texts"), progress_bar() as report:
            comparison = scene.tracker.compare(*texts, progress=report)
            st.session_state[state.COMPARISON] = SessionComparison(texts, comparison)
    stored: SessionComparison | None = st.session_state.get(state.COMPARISON)
    if stored is None:
        return
    if stored.texts != texts:
        st.info(
            "A text has changed. The results below are for the texts compared before; press Compare to update them."
        )
    for name, text in zip(("first", "second"), stored.texts, strict=True):
        note = language_note(text)
        if note:
            st.caption(f"Of the {name} text: {plain(note)}")
    _show_changes(stored.comparison, scene)
    _show_features(stored.comparison, scene)


def _offer_download(comparison: Comparison, labels: LabelTable) -> None:
    table = changes_table(comparison, labels)
    offer_download(
        "Download as CSV", lambda: to_csv(table), file_name="changes.csv", mime="text/csv", key="changes_download"
    )


def summary(comparison: Comparison) -> str:
    """How many sentences are the same, reworded, new and gone."""
    if not comparison.changes:
        return f"The texts have the same {_sentences(comparison.n_same)}, word for word."
    return (
        f"**{_sentences(comparison.n_same)}** the same, word for word; **{comparison.n_reworded}** reworded, "
        f"**{comparison.n_new}** new, **{comparison.n_gone}** gone."
    )


def _sentences(n: int) -> str:
    return f"{n:,} sentence{'' if n == 1 else 's'}"


def _show_changes(comparison: Comparison, scene: Scene) -> None:
    st.markdown(summary(comparison))
    before, after = comparison.n_tokens
    if max(before, after) > _UNEQUAL * min(before, after):
        st.caption(
            f"The texts differ much in length ({before:,} and {after:,} tokens). A sentence counts as new or gone "
            "where the other text has none that shares half of its words; features are compared by their rate per "
            "token."
        )
    if not comparison.changes:
        return
    offered = ", ".join(kind.name for kind in scene.tracker.kinds_of_change()[1] if kind.is_offered)
    st.caption(
        "Words that are gone are struck out, new ones are green; quotes, hyphens and capitals count as the same. What "
        f"kind of change it is, is told by features that were learnt from pairs of words ({offered}) or by the words "
        "(number, date). It says what the words do, not what the author will do. Every sentence is read alone."
    )
    by_pair: dict[int, list[Change]] = {}
    for change in comparison.changes:
        by_pair.setdefault(id(change.pair), []).append(change)
    for changes in list(by_pair.values())[:_MOST_CHANGES]:
        st.markdown(marked(changes))
        for change in changes:
            line = described(change, scene.tracker.labels, hide_form=scene.settings.hide_form)
            if line:
                st.caption(line)
    if len(by_pair) > _MOST_CHANGES:
        st.caption(f"{len(by_pair) - _MOST_CHANGES:,} more changed sentences are in the download.")
    _offer_download(comparison, scene.tracker.labels)


def marked(changes: list[Change]) -> str:
    """A changed sentence as Markdown: words that are gone are struck out on red, new ones stand on green."""
    pair = changes[0].pair
    if pair.before is None or pair.after is None:
        return _gone(pair.before.text) if pair.before else _new(pair.after.text if pair.after else "")
    return _marked_edits(pair, [change.edit for change in changes if change.edit], pair.before, pair.after)


def _marked_edits(pair: Pair, edits: list[Edit], before: Sentence, after: Sentence) -> str:
    parts, told = [], 0
    for edit in edits:
        start = int(after.words[edit.after[0], 0]) if edit.after[0] < len(after.words) else len(after.text)
        parts.append(plain(after.text[told:start]))
        if edit.before[1] > edit.before[0]:
            words = before.words[slice(*edit.before)]
            parts.append(_gone(before.text[words[0, 0] : words[-1, 1]]) + " ")
        told = start
        if edit.after[1] > edit.after[0]:
            told = int(after.words[edit.after[1] - 1, 1])
            parts.append(_new(after.text[start:told]))
    return "".join([*parts, plain(after.text[told:])])


def _gone(text: str) -> str:
    return f":red-background[~~{plain(text)}~~]"


def _new(text: str) -> str:
    return f":green-background[{plain(text)}]"


def described(change: Change, labels: LabelTable, *, hide_form: bool) -> str:
    """What kind of change it is, and the features behind it, as Markdown; empty where nothing is known.

    Args:
        hide_form: leave out features of numbers, punctuation, grammar and position.
    """
    words = " → ".join(f"“{plain(shorten(text, 40))}”" if text else "∅" for text in (change.before, change.after))
    if change.edit is None or change.is_plain:  # the features of a whole sentence are those of all its words
        return f"{words}: **{plain(change.what)}**" if change.what else ""
    kinds = labels.frame.reindex(columns=["kind"])["kind"]
    behind = []
    for layer, index, difference in change.behind[["layer", "feature", "difference"]].itertuples(index=False):
        feature = Feature(int(layer), int(index))
        if not hide_form or kinds.get(tuple(feature)) not in FORM_KINDS:
            behind.append(f"{difference:+.2f} {plain(shorten(labels.name(feature), 60))} ({feature})")
    what = f"**{plain(change.what)}**" if change.what else ""
    found = " · ".join(filter(None, [what, "; ".join(behind[:3])]))
    return f"{words}: {found}" if found else ""


def _show_features(comparison: Comparison, scene: Scene) -> None:
    st.markdown("**Features that rose and fell over the whole text**")
    certain = shown_features(comparison, scene)
    if certain.empty:
        st.caption("None changes by more than the sentences vary among themselves.")
    else:
        show_feature_chart(
            plot_differences(certain.head(_MOST_FEATURES), colours=scene.colours, selected=scene.feature),
            key="compare_features",
            name="differences",
            alt="Differences of features between the two texts, with intervals",
        )
        st.caption(
            "How much more a feature fires per token in the second text, with the 95 % interval over resampled "
            "sentences. Shown are features whose difference is three times its standard error."
        )


def shown_features(comparison: Comparison, scene: Scene) -> pd.DataFrame:
    """The features of a comparison that certainly differ and pass the page's filters, with their labels."""
    rows = comparison.features[comparison.features["is_certain"]]
    known = scene.tracker.labels.describe(pd.MultiIndex.from_frame(rows[["layer", "feature"]])).reset_index(drop=True)
    rows = rows.reset_index(drop=True).join(known)
    keep = rows["layer"].isin(scene.settings.layers)
    if scene.settings.hide_form:
        keep &= ~rows["kind"].isin(FORM_KINDS)
    return rows[keep]
