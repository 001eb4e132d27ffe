"""The view that compares the analyzed text with another."""

from __future__ import annotations

from streamlit.testing.v1 import AppTest

from tests.page.driving import analyze, errors, open_tab

OLD = "Net sales rose in May. The board kept the dividend. Demand is strong <b>abroad</b>."
NEW = "Net sales fell in June. The board kept the dividend. A plant opened in Ohio."


def compare(page: AppTest, other: str) -> str:
    page.text_area(key="compare_text").set_value(other).run()
    page.button(key="compare_run").click().run()
    return "\n".join(text.value for text in page.markdown)


def test_what_changed_is_marked_and_counted(page: AppTest) -> None:
    analyze(page, NEW)
    open_tab(page, "Compare")
    shown = compare(page, OLD)
    assert not errors(page)
    assert "**1 sentence** the same, word for word; **1** reworded, **1** new, **1** gone." in shown
    assert "Net sales :red-background[~~rose~~] :green-background[fell] in :red-background[~~May~~]" in shown
    assert ":green-background[A plant opened in Ohio\\.]" in shown
    assert "<b>" not in shown


def test_the_other_text_may_be_the_later_one(page: AppTest) -> None:
    analyze(page, NEW)
    open_tab(page, "Compare")
    page.segmented_control(key="compare_order").set_value("came after it").run()
    shown = compare(page, OLD)
    assert ":red-background[~~fell~~] :green-background[rose]" in shown


def test_equal_texts_are_called_equal(page: AppTest) -> None:
    analyze(page, NEW)
    open_tab(page, "Compare")
    assert "The texts have the same 3 sentences, word for word." in compare(page, NEW.replace("plant", "Plant"))


def test_an_empty_text_is_refused_and_a_changed_one_named(page: AppTest) -> None:
    analyze(page, NEW)
    open_tab(page, "Compare")
    compare(page, "")
    assert "The first text has no words" in errors(page)[0].replace("\\", "")
    compare(page, OLD)
    page.text_area(key="compare_text").set_value("Something else.").run()
    assert any("A text has changed" in info.value for info in page.info)


def test_neither_text_reaches_the_address(page: AppTest) -> None:
    analyze(page, NEW)
    open_tab(page, "Compare")
    compare(page, OLD)
    assert not any("dividend" in str(value) for value in page.query_params.values())
