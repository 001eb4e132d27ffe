"""Downloads: made after a click, sent through the session until the browser has them, never at an address."""

from __future__ import annotations

from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

import feature_tracker.page.results
from feature_tracker.errors import TrackerError
from feature_tracker.page.components.download import _WANTED, _File
from feature_tracker.page.samples import SAMPLES
from tests.page.driving import TEXT, analyze, errors


def waiting(page: AppTest) -> dict[str, _File]:
    return page.session_state[_WANTED]


def test_a_click_makes_the_file_and_sends_it_until_the_browser_has_it(page: AppTest) -> None:
    analyze(page, TEXT)
    assert not waiting(page), "nothing is made before a click"
    page.button(key="report").click().run()
    first = waiting(page)["report"]
    assert first.name == "what-stands-out.html"
    assert b"<h1>What stands out</h1>" in (first.content or b"")
    page.run()
    assert waiting(page)["report"] == first._replace(n_sent=first.n_sent + 1)


def test_a_file_that_a_click_elsewhere_interrupted_is_made_in_the_next_run(page: AppTest) -> None:
    analyze(page, TEXT)
    waiting(page)["report"] = _File("1", "what-stands-out.html", "text/html")  # what a click leaves until then
    page.run()
    assert waiting(page)["report"].content


def test_an_error_in_making_a_file_is_shown_and_not_tried_again(page: AppTest, monkeypatch: pytest.MonkeyPatch) -> None:
    analyze(page, TEXT)

    def fails(*_: Any, **__: Any) -> bytes:
        raise TrackerError("The report can't be made.")

    monkeypatch.setattr(feature_tracker.page.results, "report", fails)
    page.button(key="report").click().run()
    assert errors(page) == [r"The report can't be made\."]
    assert not waiting(page)
    assert not errors(page.run())


def test_a_file_whose_button_left_the_page_is_named(page: AppTest) -> None:
    analyze(page, TEXT)
    waiting(page)["of_another_view"] = _File("1", "table.csv", "text/csv")
    page.run()
    assert r"table\.csv was not saved" in page.toast[0].value
    assert not waiting(page)


@pytest.mark.browser
@pytest.mark.model
def test_a_click_while_the_page_is_redrawn_saves_the_file_and_no_address_serves_it(served: str, tab: Any) -> None:
    addresses: list[str] = []
    saved: list[Any] = []
    tab.on("request", lambda request: addresses.append(request.url))
    tab.on("download", lambda download: saved.append(download))
    tab.goto(served)
    tab.get_by_label("Text to analyze").fill(next(iter(SAMPLES.values())))
    tab.get_by_role("button", name="Analyze").click()
    tab.locator(".js-plotly-plot").first.wait_for(timeout=120_000)
    slider = tab.get_by_role("slider", name="Number of top features")
    for number in range(4):
        slider.press(("ArrowLeft", "ArrowRight")[number % 2])
        with tab.expect_download(timeout=60_000):
            tab.get_by_role("button", name="Report", exact=True).click()
    assert "What stands out" in saved[0].path().read_text(encoding="utf-8")
    assert len(saved) == 4, "no click saves a file twice"
    assert not [address for address in addresses if "/media/" in address and "/static/" not in address]
