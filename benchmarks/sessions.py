"""`python -m benchmarks.sessions`: many analysts at once, each in a browser session, against one after the other.

Bars: all at once take at most 1.10 times what they take one after the other; nobody waits more than twice the mean;
nobody sees another's text; a closed tab frees its place within two seconds.

The browser draws on the cores on which the server computes. So a result counts once its page holds still: else what is
drawn last would be left out of the serial sum, and would make the others wait when all go at once.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
import statistics
import time
from collections.abc import Generator, Sequence
from typing import Any

import click

from benchmarks.page import CHROMIUM_ARGUMENTS, find_chromium, sample_text, served

_LONGEST_WAIT = 600  # seconds
_STILL = 0.5  # seconds without a change, after which a page is done
_PLACE = re.compile(r"place \d+ of (\d+)")


@click.command()
@click.option("--sessions", default=8, show_default=True)
@click.option("--tokens", default=512, show_default=True, help="Length of each text.")
def main(sessions: int, tokens: int) -> None:
    """Time sessions one after the other and at once, in one run of the server."""
    text = sample_text(tokens - 8)
    with browser() as chromium, served() as (address, _):
        first = open_tabs(chromium, address, ["Warm-up. " + text])
        analyze_all(first)
        serial = [analyze_all(open_tabs(chromium, address, [marked(text, n, "alone")]))[0] for n in range(sessions)]
        tabs = open_tabs(chromium, address, [marked(text, n, "together") for n in range(sessions)])
        together = analyze_all(tabs)
        mixed = [n for n, tab in enumerate(tabs) if marks_in(tab) != {mark(n)}]
        for tab in tabs:
            tab.close()
        freed = seconds_until_a_closed_tab_is_gone(chromium, address, sample_text(tokens) * 8)
    click.echo(
        json.dumps(
            {
                "sessions": sessions,
                "tokens": tokens,
                "serial_s": round(sum(serial), 2),
                "together_s": round(max(together), 2),
                "together_to_serial": round(max(together) / sum(serial), 3),
                "mean_wait_s": round(statistics.mean(together), 2),
                "longest_to_mean_wait": round(max(together) / statistics.mean(together), 2),
                "sessions_with_anothers_text": mixed,
                "closed_tab_freed_s": round(freed, 2),
            }
        )
    )


@contextlib.contextmanager
def browser() -> Generator[Any]:
    """A headless Chromium; ends with a sentence where there is none."""
    chromium = find_chromium()
    try:
        from playwright.sync_api import sync_playwright  # noqa: PLC0415
    except ImportError:
        raise click.ClickException("playwright is not installed.") from None
    if chromium is None:
        raise click.ClickException("No Chromium on this machine; on Debian: apt install chromium")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_ARGUMENTS)
        try:
            yield opened
        finally:
            opened.close()


def mark(number: int) -> str:
    """A word that only this session's text has."""
    return f"Zebrafish{number:03d}x"


def marked(text: str, number: int, run: str) -> str:
    """The text of one session."""
    return f"{mark(number)} {run}. {text}"


def marks_in(tab: Any) -> set[str]:
    """The marks of sessions that a tab shows anywhere."""
    return set(re.findall(r"Zebrafish\d{3}x", tab.content() + tab.locator(".words").inner_text()))


def open_tabs(chromium: Any, address: str, texts: Sequence[str]) -> list[Any]:
    """A session for each text, with the text in its box."""
    tabs = [chromium.new_context().new_page() for _ in texts]
    for tab, text in zip(tabs, texts, strict=True):
        tab.goto(address)
        tab.get_by_label("Text to analyze").fill(text)
    return tabs


def analyze_all(tabs: Sequence[Any]) -> list[float]:
    """Press Analyze in each tab; seconds from the first click until each has drawn its result."""
    start = time.perf_counter()
    for tab in tabs:
        tab.get_by_role("button", name="Analyze").click()
    n_elements, changed = [0] * len(tabs), [math.inf] * len(tabs)
    while any(time.perf_counter() - start - at < _STILL for at in changed):
        for number, tab in enumerate(tabs):
            if tab.locator(".words span").count() and (now := tab.locator("*").count()) != n_elements[number]:
                n_elements[number], changed[number] = now, time.perf_counter() - start
        if time.perf_counter() - start > _LONGEST_WAIT:
            raise click.ClickException(f"{changed.count(math.inf)} sessions have no result after {_LONGEST_WAIT} s.")
        time.sleep(0.02)
    return changed


def seconds_until_a_closed_tab_is_gone(chromium: Any, address: str, text: str) -> float:
    """Close one of three tabs in the middle of a long text; seconds until another is told of two."""
    closed, *others = open_tabs(chromium, address, [text] * 3)
    for tab in (closed, *others):
        tab.get_by_role("button", name="Analyze").click()
    for tab in (closed, others[0]):
        tab.get_by_text(re.compile(r"place \d of 3")).wait_for(timeout=60_000)
    closed.close()
    start = time.perf_counter()
    while _PLACE.search(others[0].locator(".stProgress").inner_text(timeout=60_000))[1] != "2":  # type: ignore[index]
        time.sleep(0.02)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
