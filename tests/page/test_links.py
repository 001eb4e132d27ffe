"""Links: what is said of them, and where there is nothing to link."""

from __future__ import annotations

import re

import pytest
from streamlit.testing.v1 import AppTest

from tests.page.driving import analyze, errors, open_tab, slider
from tests.support import SENTENCES

COUNTED = re.compile(
    r"\*\*([\d,]+) links?\*\* at \|r\| ≥ ([\d.]+); chance alone would give (?:about|under) ([\d.,]+)\."
)


def test_links_are_counted_beside_what_chance_gives(page: AppTest) -> None:
    analyze(page, SENTENCES)
    open_tab(page, "Links")
    counts = []
    for threshold in (0.1, 0.5):
        slider(page, "Correlation threshold").set_value(threshold).run()
        (under,) = [match for text in page.markdown if (match := COUNTED.match(text.value))]
        assert float(under[2]) == threshold
        shown = page.dataframe[0].value if page.dataframe else []
        assert len(shown) == int(under[1].replace(",", ""))
        counts.append((int(under[1].replace(",", "")), float(under[3].replace(",", ""))))
    assert counts[0][0] > counts[1][0]
    assert counts[0][1] > counts[1][1]


def test_a_text_of_three_tokens_is_said_to_be_too_short(page: AppTest) -> None:
    analyze(page, "a b c")
    open_tab(page, "Links")
    assert not errors(page)
    assert any(re.search(r"A text of [3-6] tokens is too short for correlations", info.value) for info in page.info)


def test_a_threshold_that_leaves_no_link_is_said(page: AppTest) -> None:
    analyze(page, SENTENCES)
    open_tab(page, "Links")
    slider(page, "Correlation threshold").set_value(0.9).run()
    correlations = page.session_state["session_correlations"].correlations
    if len(correlations.links(0.9)):
        pytest.fail("the random model links features this strongly; take another text")
    assert any("Lower the correlation threshold" in info.value for info in page.info)
    assert not errors(page)
    assert any(text.value.startswith("**0 links**") for text in page.markdown)
