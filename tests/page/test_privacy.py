"""The analyst's text stays in the session: not on disk, not in a log, not with another host."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from tests.page.driving import analyze, errors, open_tab
from tests.support import ROOT

SECRET = "Zebrafish quarterly"
TEXT = f"{SECRET} sales rose 5.4% to $1,234 million. The central bank raised its policy rate."

_watching: list[set[str]] = []


def _note_writing(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watching or event != "open":
        return
    path, _, flags = arguments
    writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    if writes and isinstance(path, str | bytes) and "__pycache__" not in os.fsdecode(path):
        _watching[-1].add(os.fsdecode(path))


sys.addaudithook(_note_writing)  # which can't be taken away; it looks on only while a test watches


@contextmanager
def files_written() -> Generator[set[str]]:
    _watching.append(set())
    try:
        yield _watching[-1]
    finally:
        _watching.pop()


def use_everything(page: AppTest) -> None:
    analyze(page, TEXT)
    page.button(key="report").click().run()
    open_tab(page, "Circuit")
    page.button(key="circuit_trace").click().run()
    page.button(key="circuit_download_circuit.zip").click().run()
    assert not errors(page)
    assert len(page.session_state["wanted_downloads"]) == 2


def test_nothing_is_written_to_disk_from_paste_to_export(page: AppTest) -> None:
    with files_written() as written:
        use_everything(page)
    assert written - {os.devnull} == set()


def test_writing_would_be_noticed(tmp_path: Any) -> None:
    with files_written() as written:
        (tmp_path / "kept.txt").write_text(SECRET)
    assert written == {str(tmp_path / "kept.txt")}


def test_no_log_line_holds_the_text(
    page: AppTest, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.DEBUG):
        use_everything(page)
    printed = capfd.readouterr()
    for told in (caplog.text, printed.out, printed.err):
        assert "Zebrafish" not in told


@pytest.mark.browser
@pytest.mark.model
def test_the_page_works_under_the_policy_of_the_docs(served: str, tab: Any) -> None:
    written = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    policies = set(re.findall(r'Content-Security-Policy "(.+?)"', written))
    assert len(policies) == 1, "nginx and Caddy have the same"
    refused: list[str] = []

    def with_policy(route: Any) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, headers=answer.headers | {"content-security-policy": next(iter(policies))})

    tab.on("console", lambda line: refused.append(line.text) if "Content Security Policy" in line.text else None)
    # Chromium takes an answer that was changed on the way for one of another network.
    tab.context.grant_permissions(["local-network-access"], origin=served)
    tab.route(served + "/", with_policy)
    tab.goto(served)
    tab.get_by_label("Text to analyze").fill(TEXT)
    tab.get_by_role("button", name="Analyze").click()
    tab.locator(".js-plotly-plot .main-svg").first.wait_for(timeout=120_000)
    tab.locator(".words span").first.wait_for(timeout=60_000)
    tab.locator(".stDataFrame canvas").first.wait_for(state="attached", timeout=60_000)
    with tab.expect_download(timeout=60_000):
        tab.get_by_role("button", name="Report", exact=True).click()
    assert refused == []
