"""The view inside a feature, themes, and links to a feature."""

from __future__ import annotations

import re

import pytest
from streamlit.testing.v1 import AppTest

from tests.page.driving import TEXT, analyze, errors, open_tab
from tests.support import SENTENCES


def chosen(page: AppTest) -> str:
    box = page.selectbox(key="feature_box")
    return re.match(r"L\d+/F\d+", box.options[box.index]).group()


def test_a_theme_is_chosen_first_and_can_be_left_for_a_feature(page: AppTest) -> None:
    analyze(page, SENTENCES)
    themes = [button for button in page.button if button.key.startswith("theme_")]
    assert themes and chosen(page) == themes[0].key.removeprefix("theme_")
    other = themes[-1].key
    page.button(key=other).click().run()
    assert chosen(page) == other.removeprefix("theme_")
    assert page.button(key=other).label.startswith("**")
    page.selectbox(key="feature_box").select_index(3).run()
    assert not any(button.label.startswith("**") for button in page.button if button.key.startswith("theme_"))
    assert not errors(page)


def test_a_sentence_is_tried_beside_the_analysis(page: AppTest) -> None:
    analyze(page, SENTENCES)
    open_tab(page, "Inside")
    trace = page.session_state["analysis"].trace
    page.text_input(key="trial_sentence").set_value("Rates rose <b>again</b>.").run()
    assert not errors(page)
    marked = next(text.value for text in page.markdown if ":orange-background[Rates" in text.value)
    assert r"\<" in marked and "<b" not in marked.replace(r"\<", "")
    assert page.session_state["analysis"].trace is trace
    page.text_input(key="trial_sentence").set_value("rate " * 2000).run()
    assert "at most 500" in errors(page)[0].replace("\\", "")


def test_relatives_of_a_feature_choose_themselves(page: AppTest) -> None:
    analyze(page, SENTENCES)
    open_tab(page, "Inside")
    near = next(button for button in page.button if button.key.startswith("nearest_"))
    near.click().run()
    assert chosen(page) == near.key.removeprefix("nearest_")
    assert page.query_params["feature"] == chosen(page)


def test_a_label_of_the_users_own_replaces_the_other_until_it_is_emptied(page: AppTest) -> None:
    analyze(page, SENTENCES)
    open_tab(page, "Inside")
    key = f"own_label_{chosen(page)}"
    page.text_input(key=key).set_value("<b>Rates</b> [again](x)").run()
    assert not errors(page)
    box = page.selectbox(key="feature_box")
    assert box.options[box.index].endswith("<b>Rates</b> [again](x)")  # reliable, so without a question mark
    heading = next(text.value for text in page.markdown if text.value.startswith("####"))
    assert r"\<b\>" in heading
    assert any("your own label" in text.value for text in page.caption)
    page.text_input(key=key).set_value("").run()
    box = page.selectbox(key="feature_box")
    assert "Rates" not in box.options[box.index]
    page.text_input(key=key).set_value("long " * 100).run()
    assert "at most 100" in errors(page)[0].replace("\\", "")


def test_a_link_opens_its_feature_once_a_text_is_analyzed(page: AppTest) -> None:
    page.query_params["feature"] = "L3/F17"
    analyze(page, TEXT)
    assert chosen(page) == "L3/F17"
    analyze(page, SENTENCES)
    assert chosen(page) == "L3/F17"  # nothing else was chosen


@pytest.mark.parametrize("link", ["L3/F99999", "L99/F1", "<script>", "L3", ""])
def test_a_link_to_no_feature_opens_the_page(page: AppTest, link: str) -> None:
    page.query_params["feature"] = link
    analyze(page, TEXT)
    assert not errors(page)
    assert not page.exception
    assert any("which this bundle doesn't have" in text.value for text in page.warning) == link.startswith(
        ("L3/F9", "L9")
    )


def test_no_text_reaches_the_address(page: AppTest) -> None:
    analyze(page, SENTENCES)
    assert not any("bank" in str(value) for value in page.query_params.values())
