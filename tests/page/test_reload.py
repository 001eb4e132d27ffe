"""What the address keeps, and what the page says of the rest when a session begins anew."""

from __future__ import annotations

from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from tests.page.driving import TEXT, analyze
from tests.support import ROOT


def opened_again(earlier: AppTest, text: str = "") -> AppTest:
    """A new session at the address of an earlier one, as after a reload; `text` is what the box holds, if anything."""
    page = AppTest.from_file(str(ROOT / "feature_activation_tracker.py"), default_timeout=30)
    page.query_params.update({name: earlier.query_params[name] for name in earlier.query_params})
    if text:
        page.session_state["text"] = text
    return page.run()


def warnings(page: AppTest) -> list[str]:
    return [warning.value for warning in page.warning]


def test_a_fresh_page_tells_of_no_loss(page: AppTest) -> None:
    assert not warnings(page)
    assert not dict(page.query_params)


def test_the_address_tells_that_there_was_a_text_and_never_which(page: AppTest) -> None:
    analyze(page, TEXT)
    assert dict(page.query_params) == {"had_text": "yes"}
    assert not warnings(page)


def test_a_reload_says_that_the_text_is_gone_until_there_is_a_result(page: AppTest) -> None:
    analyze(page, TEXT)
    again = opened_again(page)
    assert "text and its results are gone" in warnings(again)[0]
    analyze(again, TEXT)
    assert not warnings(again)


def test_a_lost_session_says_that_the_results_are_gone_and_keeps_the_text(page: AppTest) -> None:
    # A browser that comes back after its session ended sends what its boxes hold.
    analyze(page, TEXT)
    again = opened_again(page, TEXT)
    assert "Your text is still in the box" in warnings(again)[0]
    assert again.text_area(key="text").value == TEXT


@pytest.mark.browser
@pytest.mark.model
def test_a_reload_keeps_the_settings_and_says_what_was_lost(served: str, tab: Any) -> None:
    tab.goto(served)
    tab.get_by_label("Text to analyze").fill(TEXT)
    tab.get_by_role("button", name="Analyze").click()
    tab.locator(".js-plotly-plot").first.wait_for(timeout=120_000)
    tab.get_by_role("slider", name="Number of top features").press("ArrowRight")
    tab.wait_for_url("**top=11**")
    tab.reload()
    tab.get_by_text("text and its results are gone").wait_for(timeout=60_000)
    assert "bank" not in tab.url
    tab.get_by_label("Text to analyze").fill(TEXT)
    tab.get_by_role("button", name="Analyze").click()
    tab.locator(".js-plotly-plot").first.wait_for(timeout=120_000)
    assert tab.get_by_role("slider", name="Number of top features").input_value() == "11"
