"""A table of imported labels, before anything was measured, on the page."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from feature_tracker.bundles.bundle import Bundle
from feature_tracker.labels.columns import IMPORTED, REQUIRED, UNVERIFIED
from feature_tracker.labels.scores import GOOD, NO_BETTER
from feature_tracker.labels.table import LabelTable
from feature_tracker.model.load import LanguageModel
from feature_tracker.sae.topk import Sae
from feature_tracker.tracing.rank import RankBy, possible_ranking, rank_features
from feature_tracker.tracing.trace import Trace


def imported(layers: tuple[int, ...]) -> LabelTable:
    """Labels of half the features, every second of them reliable, with reported specialization and no measures."""
    index = pd.MultiIndex.from_product([layers, range(0, 40, 2)], names=["layer", "feature"])
    frame = pd.DataFrame(np.nan, index=index, columns=[*REQUIRED, *IMPORTED])
    texts = {"label": "Loans", "f1_method": "reported", "label_source": "a.csv", "original_label": "Loans"}
    frame = frame.assign(**texts, f1=0.8, f1_always_yes=0.75, specialization=-5.0, specialization_source=UNVERIFIED)
    return LabelTable(frame.assign(mark=[GOOD, NO_BETTER] * (len(frame) // 2)))


@pytest.mark.parametrize("by", ["distinctiveness", "rarity"])
def test_a_ranking_that_was_not_measured_falls_back_to_activation(
    by: RankBy, tiny_trace: Trace, tiny_bundle: Bundle
) -> None:
    table = imported(tiny_bundle.layers)
    ranked, by_activation = (
        rank_features(tiny_trace, table, layers=tiny_bundle.layers, top=5, by=how) for how in (by, "activation")
    )
    pd.testing.assert_frame_equal(ranked, by_activation)
    measures = ["distinctiveness", "rarity", "specialization", "chance_alone"]
    assert ranked[measures].isna().all(axis=None)
    assert (ranked["reliable"] == (ranked["feature"] % 4 == 0)).all()
    assert set(ranked.loc[ranked["feature"] % 2 == 1, "label"]) <= {"unlabelled"}
    instead, note = possible_ranking(by, table)
    assert instead == "activation" and note.startswith("Ranked by activation.")


def draw(analysis, tracker, settings, view):
    import streamlit as st

    from feature_tracker.page import state
    from feature_tracker.page.results import show_results

    st.session_state[state.TEXT] = analysis.trace.tokens.text
    st.session_state["view"] = view
    show_results(analysis, tracker, settings)


@pytest.mark.parametrize("view", ["Features", "Layers", "Heatmap", "Links"])
def test_the_page_says_that_it_ranks_by_activation(
    view: str, tiny_bundle: Bundle, tiny_model: LanguageModel, tiny_saes: dict[int, Sae], tiny_trace: Trace
) -> None:
    from feature_tracker.page.state import Analysis, Settings
    from feature_tracker.tracker import Tracker

    tracker = Tracker(tiny_bundle, tiny_model, tiny_saes, imported(tiny_bundle.layers))
    settings = Settings(0.5, 5, tiny_bundle.layers, "max", "distinctiveness", True, 0.0, False)
    kwargs = {"analysis": Analysis(tiny_trace, 0.1), "tracker": tracker, "settings": settings, "view": view}
    page = AppTest.from_function(draw, default_timeout=30, kwargs=kwargs).run()
    assert not page.exception
    assert not page.error
    assert any("Ranked by activation" in caption.value for caption in page.caption)
    assert not any("Nothing in this text stands out" in caption.value for caption in page.caption)
