"""The report of an analysis."""

from __future__ import annotations

import gc
from dataclasses import replace
from html.parser import HTMLParser
from weakref import ref

import pytest
from streamlit.testing.v1 import AppTest

import feature_tracker.page.results
from feature_tracker.labels.table import LabelTable
from feature_tracker.page.report import report
from feature_tracker.page.state import Scene
from tests.page.driving import analyze

TEXT = "Rates <script>alert(1)</script> rose & fell.\n\nNet sales rose 5.4% to $1,234 million again and again. " * 3


@pytest.fixture
def scene(page: AppTest, monkeypatch: pytest.MonkeyPatch) -> Scene:
    kept: list[Scene] = []
    monkeypatch.setattr(feature_tracker.page.results, "_offer_report", kept.append)
    analyze(page, TEXT)
    return kept[-1]


def written_of(scene: Scene) -> bytes:
    labels = scene.tracker.labels
    tracker = replace(scene.tracker, labels=LabelTable(labels.frame.assign(detail="What it is <b>about</b>.")))
    return report(scene.analysis, tracker, scene.settings, scene.feature, of_theme=True)


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_report_holds_themes_text_features_and_how_it_was_made(scene: Scene) -> None:
    written = written_of(scene).decode()
    parsed = _Tags()
    parsed.feed(written)
    assert TEXT in parsed.text
    assert all(theme.label in parsed.text for theme in scene.themes[:12])
    assert "What it is <b>about</b>." in parsed.text
    for said in ("ranked by", "distinctiveness", "SHA-256", "torch", "minimum F1"):
        assert said in parsed.text
    assert parsed.tags <= {
        "html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "b", "br", "div", "span", "table", "thead",
        "tbody", "tr", "th", "td",
    }  # fmt: skip
    assert "http" not in written and "<script" not in written


def test_two_reports_of_one_analysis_are_the_same(scene: Scene) -> None:
    assert written_of(scene) == written_of(scene)


def test_the_report_is_offered_beside_the_themes(page: AppTest) -> None:
    analyze(page, TEXT)
    assert any(button.label == "Report" for button in page.button)


def test_a_report_that_is_offered_keeps_no_text_of_an_earlier_analysis(page: AppTest) -> None:
    analyze(page, TEXT)
    earlier = ref(page.session_state["analysis"])
    analyze(page, "Rates fell.")
    page.run()  # a page under test keeps the state of the run before
    gc.collect()
    assert earlier() is None
