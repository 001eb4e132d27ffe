"""The view that finds features."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from feature_tracker.labels.columns import BY_NAME
from tests.page.driving import analyze, errors, open_tab
from tests.support import SENTENCES


@pytest.fixture
def finding(page: AppTest) -> AppTest:
    analyze(page, SENTENCES)
    return open_tab(page, "Find")


def test_all_features_are_listed_until_something_is_asked(finding: AppTest) -> None:
    assert len(finding.dataframe[0].value) == 3 * 40
    assert (finding.dataframe[0].value["Peak in this text"] > 0).any()


def test_a_search_lists_what_its_words_are_in(finding: AppTest) -> None:
    finding.text_input(key="find_query").set_value("label 33").run()
    found = finding.dataframe[0].value
    assert found["Feature"].unique().tolist() == [33]
    assert not errors(finding)


def test_a_search_for_nothing_says_so(finding: AppTest) -> None:
    finding.text_input(key="find_query").set_value("zebra <b>").run()
    assert any("No feature" in info.value for info in finding.info)
    assert not errors(finding)


def test_filters_narrow_the_list(finding: AppTest) -> None:
    finding.session_state["find_specialization"] = (0.5, 1.0)
    finding.run()
    assert (finding.dataframe[0].value[BY_NAME["specialization_index"].title] >= 0.5).all()
    finding.session_state["layers"] = [3]
    finding.run()
    assert finding.dataframe[0].value["Layer"].unique().tolist() == [3]


def test_a_search_by_meaning_lists_the_nearest(finding: AppTest) -> None:
    pytest.importorskip("wordllama")
    finding.session_state["find_by"] = "Meaning"
    finding.text_input(key="find_query").set_value("label").run()
    assert len(finding.dataframe[0].value) == 50
    assert not errors(finding)


WITH_IT = "Rates rose again.\nThe bank raised rates.\nHigher rates hurt.\nRates were up."
WITHOUT_IT = "Sales fell.\nA new plant opened.\nThe board met.\nCosts were flat."


def test_features_are_found_from_examples_and_the_examples_stay(page: AppTest) -> None:
    analyze(page, SENTENCES)
    open_tab(page, "Find")
    page.segmented_control(key="find_by").set_value("Examples").run()
    page.text_area(key="examples_with").set_value(WITH_IT).run()
    page.text_area(key="examples_without").set_value(WITHOUT_IT).run()
    page.button(key="examples_run").click().run()
    assert not errors(page)
    assert any("4 examples with it and 4 without" in text.value for text in page.markdown)
    open_tab(page, "Links")
    open_tab(page, "Find")
    assert page.text_area(key="examples_with").value == WITH_IT


def test_too_few_examples_are_named(page: AppTest) -> None:
    analyze(page, SENTENCES)
    open_tab(page, "Find")
    page.segmented_control(key="find_by").set_value("Examples").run()
    page.text_area(key="examples_with").set_value("Rates rose.").run()
    page.button(key="examples_run").click().run()
    assert "1 examples with it are too few" in errors(page)[0].replace("\\", "")
