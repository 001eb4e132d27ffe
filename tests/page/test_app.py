"""The page as a person meets it: in Streamlit's AppTest on a tiny model, in a real browser on the built-in one."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from typing import Any

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

import feature_tracker.page.pool
from feature_tracker.bundles.bundle import Bundle
from feature_tracker.errors import TrackerError
from feature_tracker.feature import Feature
from feature_tracker.page.results import _TABS
from feature_tracker.tracker import Tracker
from tests.page.driving import TEXT, analyze, errors, open_tab, slider
from tests.support import ROOT, SENTENCES

SECRET = "Zebrafish quarterly"


def test_the_first_screen_waits_for_neither_the_model_nor_the_views() -> None:
    program = (
        "import sys, streamlit; before = set(sys.modules); import feature_tracker.page.app;"  # Streamlit brings Plotly
        "print(*{name.partition('.')[0] for name in sys.modules.keys() - before},"
        "*(name for name in sys.modules if name.startswith(('feature_tracker.charts', 'feature_tracker.page.views'))))"
    )
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    imported = set(run.stdout.split())
    assert "feature_tracker" in imported
    heavy = {"torch", "transformers", "pandas", "numpy", "scipy", "networkx", "plotly"}
    assert not heavy & imported
    assert not any(name.startswith("feature_tracker.") for name in imported)


def test_first_screen_says_what_to_do(page: AppTest) -> None:
    assert not page.exception
    assert "press **Analyze**" in page.info[0].value
    assert page.text_area(key="text").value == ""
    assert not page.tabs


def test_text_gives_figures_and_tabs(page: AppTest) -> None:
    analyze(page, TEXT)
    assert not errors(page)
    assert [tab.label for tab in page.tabs] == list(_TABS)
    assert page.expander[0].label.startswith("Text · ")


@pytest.mark.parametrize("title", list(_TABS))
@pytest.mark.parametrize(
    "text",
    [
        pytest.param(TEXT, id="finance"),
        pytest.param("<script>alert(1)</script> **bold** $x^2$ :smile:", id="markup"),
        *(
            pytest.param(text, id=name, marks=pytest.mark.slow)
            for name, text in {
                "long": SENTENCES,
                "one word": "rates",
                "nul": "nul \x00 byte",
                "scripts": "😀 👩‍👩‍👧 שיעורי ריבית \u202e",
                "newlines": "line\n" * 100,
            }.items()
        ),
    ],
)
def test_every_view_draws_every_kind_of_text(page: AppTest, title: str, text: str) -> None:
    analyze(page, text)
    open_tab(page, title)
    assert [tab.label for tab in page.tabs if tab.children] == [title]
    assert not errors(page)
    assert not page.exception
    assert page.text_area(key="text").value == text


@pytest.mark.parametrize("text", ["", "   \n\t "])
def test_blank_text_is_refused_with_a_sentence(page: AppTest, text: str) -> None:
    analyze(page, text)
    assert "no text to analyze" in errors(page)[0]
    assert page.text_area(key="text").value == text


def test_text_over_the_limit_is_refused_and_stays_in_the_box(page: AppTest) -> None:
    text = "rate " * 2000
    analyze(page, text)
    assert "at most 500" in errors(page)[0].replace("\\", "")
    assert page.text_area(key="text").value == text


def test_results_stay_when_the_next_text_is_refused(page: AppTest) -> None:
    analyze(page, TEXT)
    analyze(page, " ")
    assert errors(page)
    assert page.tabs
    assert any("text analyzed before" in info.value for info in page.info)


def test_a_bundle_that_fails_to_load_is_named_and_tried_again(page: AppTest, monkeypatch: pytest.MonkeyPatch) -> None:
    works = Tracker.open

    def fails(bundle: Bundle, *, progress: Any) -> Tracker:
        raise TrackerError("No SAE for layer 10 in a_folder_of_mine.")

    monkeypatch.setattr(Tracker, "open", fails)
    feature_tracker.page.pool.tracker_pool.clear()
    analyze(page, TEXT)
    assert errors(page) == [r"No SAE for layer 10 in a\_folder\_of\_mine\."]
    assert page.text_area(key="text").value == TEXT
    monkeypatch.setattr(Tracker, "open", works)
    analyze(page, TEXT)
    assert not errors(page)
    assert page.tabs


def test_a_fault_is_told_without_the_text_in_the_log(
    page: AppTest, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(_tracker: Tracker, text: str, **_: Any) -> None:
        raise ValueError(text)

    monkeypatch.setattr(Tracker, "trace", fails)
    with caplog.at_level(logging.DEBUG):
        analyze(page, SECRET)
    assert "ValueError" in errors(page)[0]
    assert SECRET not in errors(page)[0]
    assert "ValueError" in caplog.text
    assert SECRET not in caplog.text
    assert page.text_area(key="text").value == SECRET


def test_nothing_traces_when_a_slider_moves(page: AppTest, monkeypatch: pytest.MonkeyPatch) -> None:
    analyze(page, SENTENCES)

    def fails(*_: Any, **__: Any) -> None:
        raise AssertionError("the model ran")

    monkeypatch.setattr(Tracker, "trace", fails)
    open_tab(page, "Links")
    few = page.dataframe[0].value if page.dataframe else pd.DataFrame()
    slider(page, "Correlation threshold").set_value(0.1).run()
    assert not errors(page)
    assert len(page.dataframe[0].value) > len(few)
    assert page.dataframe[0].value["r"].abs().is_monotonic_decreasing


def test_number_of_features_and_layers_narrow_the_table(page: AppTest) -> None:
    analyze(page, SENTENCES)
    slider(page, "Number of top features").set_value(5).run()
    assert page.dataframe[0].value.groupby("Layer").size().max() == 5
    page.session_state["layers"] = [3]
    page.run()
    assert page.dataframe[0].value["Layer"].unique().tolist() == [3]


def test_no_layer_and_too_strict_filters_are_said(page: AppTest) -> None:
    analyze(page, TEXT)
    page.session_state["layers"] = []
    page.run()
    assert "Choose at least one" in page.warning[0].value
    page.session_state["layers"] = [3]
    slider(page, "Minimum F1 of labels").set_value(1.0).run()
    assert "No feature passes" in page.warning[0].value


def test_the_chosen_feature_is_shared_by_all_views(page: AppTest) -> None:
    analyze(page, SENTENCES)
    box = page.selectbox(key="feature_box")
    wanted = box.options[7]
    box.select_index(7).run()
    for title in ("Layers", "Links", "Features"):
        open_tab(page, title)
        box = page.selectbox(key="feature_box")
        assert box.options[box.index] == wanted


def test_a_feature_that_is_offered_no_longer_changes_nothing(page: AppTest) -> None:
    analyze(page, SENTENCES)
    box = page.selectbox(key="feature_box")
    chosen = box.options[box.index]
    box.options.append("L4/F399 · an option of the run before")  # what a browser that is a run behind sends
    box.select_index(len(box.options) - 1).run()
    assert not page.exception
    box = page.selectbox(key="feature_box")
    assert box.options[box.index] == chosen
    assert page.text_area(key="text").value == SENTENCES


def test_chosen_words_rank_anew_and_can_be_cleared(page: AppTest) -> None:
    analyze(page, SENTENCES)
    whole = page.dataframe[0].value
    page.session_state["chosen_positions"] = (3, 4)
    page.run()
    some = page.dataframe[0].value
    assert any("Ranked by 2 chosen tokens" in text.value for text in page.markdown)
    assert not some.equals(whole)
    page.button(key="clear_words").click().run()
    assert page.dataframe[0].value.equals(whole)


def test_single_tokens_begin_where_the_feature_fires_and_reach_the_last(page: AppTest) -> None:
    analyze(page, SENTENCES * 2)
    trace = page.session_state["analysis"].trace
    page.session_state["chosen_positions"] = (100, 101)
    page.session_state["heatmap_mode"] = "Single tokens"
    open_tab(page, "Heatmap")
    first = slider(page, "First token")
    assert (first.value, first.max, first.step) == (100 - 15, trace.n_tokens - 60, 1)
    page.button(key="clear_words").click().run()
    place = slider(page, "First token").value
    box = page.selectbox(key="feature_box")
    layer, index = re.match(r"L(\d+)/F(\d+)", box.options[box.index]).groups()
    assert place <= trace.peak(Feature(int(layer), int(index))) < place + 60


def test_a_new_text_forgets_the_words_chosen_in_the_old(page: AppTest) -> None:
    analyze(page, SENTENCES)
    page.session_state["chosen_positions"] = (100,)
    analyze(page, "rates")
    assert not errors(page)
    assert not any("Ranked by" in text.value for text in page.markdown)


def test_samples_fill_the_box_and_give_the_own_text_back(page: AppTest) -> None:
    page.text_area(key="text").set_value("my own words").run()
    page.selectbox(key="sample").select_index(1).run()
    assert len(page.text_area(key="text").value) > 100
    page.selectbox(key="sample").select_index(0).run()
    assert page.text_area(key="text").value == "my own words"


def test_an_analysis_that_a_click_interrupted_goes_on(page: AppTest) -> None:
    page.text_area(key="text").set_value(SENTENCES).run()
    page.session_state["pending_text"] = TEXT  # what Analyze leaves until it is done
    slider(page, "Minimum F1 of labels").set_value(0.1).run()
    assert page.session_state["analysis"].trace.tokens.text == TEXT
    assert "pending_text" not in page.session_state
    assert page.text_area(key="text").value == SENTENCES


def test_the_open_tab_and_the_heatmaps_mode_stay(page: AppTest) -> None:
    analyze(page, SENTENCES)
    open_tab(page, "Heatmap")
    page.session_state["heatmap_mode"] = "Single tokens"
    page.run()
    slider(page, "Minimum F1 of labels").set_value(1.0).run()
    slider(page, "Minimum F1 of labels").set_value(0.0).run()
    assert [tab.label for tab in page.tabs if tab.children] == ["Heatmap"]
    open_tab(page, "Links")
    open_tab(page, "Heatmap")
    assert slider(page, "First token")
    assert not page.warning


def test_labels_reach_markdown_escaped(page: AppTest) -> None:
    analyze(page, TEXT)
    shown = next(text.value for text in page.markdown if "fires on" in text.value)
    assert r"\<b\>label\<\/b\>" in shown or r"\<b\>label\</b\>" in shown
    assert "$x$" not in shown


@pytest.mark.browser
@pytest.mark.model
def test_pasted_text_shows_every_view_in_a_browser(served: str, tab: Any) -> None:
    sync_api = pytest.importorskip("playwright.sync_api")
    faults: list[str] = []
    tab.on("pageerror", lambda error: faults.append(str(error)))
    tab.on("requestfailed", lambda request: faults.append(request.url))
    tab.on("dialog", lambda dialog: (faults.append("a script ran"), dialog.dismiss()))
    tab.goto(served)
    tab.get_by_label("Text to analyze").fill(TEXT + " <script>alert(1)</script> <img src=x onerror=alert(2)>")
    tab.get_by_role("button", name="Analyze").click()
    for title in _TABS:
        tab.get_by_role("tab", name=title).click(timeout=60_000)
        panel = tab.locator("[role=tabpanel]:visible")
        if title == "Circuit":
            panel.get_by_role("button", name="Trace", exact=True).click()
        panel.locator(".js-plotly-plot, .stDataFrame, .stAlert, .stTextArea").first.wait_for(timeout=120_000)
        assert tab.locator("[data-testid=stAlertContentError]").count() == 0
    text = tab.locator(".words")  # stands empty at first: its script fills it
    sync_api.expect(text).to_contain_text("<script>alert(1)</script>", timeout=30_000)
    tab.locator(".words span").nth(3).click()
    tab.get_by_text("Ranked by 1 chosen token").wait_for(timeout=120_000)
    tab.get_by_role("button", name="Use the whole text").click()
    tab.get_by_text("Ranked by 1 chosen token").wait_for(state="detached", timeout=30_000)
    assert TEXT[:20] in tab.get_by_label("Text to analyze").input_value()
    assert "bank" not in tab.url
    assert not faults
