"""`python -m benchmarks.page`: how long an analyst waits, from the page's start to a slider's move, and peak memory."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path
from typing import Any

import click
from streamlit.testing.v1 import AppTest

from feature_tracker.page.results import TITLES
from feature_tracker.page.samples import SAMPLES
from feature_tracker.tracker import Tracker

ROOT = Path(__file__).resolve().parent.parent
CHROMIUM_ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]

_LONGEST_WAIT = 30  # seconds

# Each move sets a slider to another value than it has, so that the page has something to redraw.
_MOVES = (
    ("Correlation threshold", 0.3),
    ("Number of top features", 8),
    ("Correlation threshold", 0.6),
    ("Number of top features", 12),
)


@click.command()
@click.option("--rounds", default=9, show_default=True, help="Moves of each slider that are timed.")
@click.option("--tokens", default=512, show_default=True, help="Length of the text.")
def main(rounds: int, tokens: int) -> None:
    """Time the page in headless Chromium, and its sliders on the server alone.

    Fetch the model before, or the first figure includes its download.
    """
    text = sample_text(tokens)
    figures: dict[str, Any] = {"tokens": tokens, "rounds": rounds}
    figures |= _measure_browser(text, rounds)
    figures |= _measure_sliders(text, rounds)
    click.echo(json.dumps(figures))


def sample_text(tokens: int) -> str:
    """The first `tokens` tokens of the sample texts, as the built-in model counts them."""
    whole = "\n\n".join(SAMPLES.values())
    return whole[: Tracker.open().tokenize(whole).offsets[tokens - 1, 1]]


def _measure_sliders(text: str, rounds: int) -> dict[str, Any]:
    """Milliseconds on the server to redraw a view after a slider's move; the page runs in Streamlit's `AppTest`."""
    page = AppTest.from_file(str(ROOT / "feature_activation_tracker.py"), default_timeout=120).run()
    page.text_area(key="text").set_value(text).run()
    next(button for button in page.button if button.label == "Analyze").click().run()
    by_view: dict[str, float] = {}
    all_views: list[float] = []
    for title in TITLES:
        page.session_state["view"] = title
        page.run()
        timed = []
        for label, value in itertools.islice(itertools.cycle(_MOVES), 1 + rounds):  # the first is a warm-up
            slider = next(slider for slider in page.slider if slider.label == label)
            start = time.perf_counter()
            slider.set_value(value).run()
            timed.append(1e3 * (time.perf_counter() - start))
            if page.error or page.exception:
                raise click.ClickException(f"{title}: the page shows an error.")
        all_views += timed[1:]
        by_view[title] = round(statistics.median(timed[1:]), 1)
    return {"slider_ms_median": round(statistics.median(all_views), 1), "slider_ms_by_view": by_view}


def find_chromium() -> str | None:
    """Path of the browser: the environment's `CHROMIUM`, or Debian's or Ubuntu's."""
    return os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")


def _measure_browser(text: str, rounds: int) -> dict[str, Any]:
    """What a person waits for, and peak memory.

    Seconds from the server's start until the text box takes text, and of two analyses; milliseconds from a click until
    it shows, at the median and the 95th percentile, of a view, of a theme's feature, and of a slider.
    """
    chromium = find_chromium()
    try:
        from playwright.sync_api import sync_playwright  # noqa: PLC0415 - the sliders can be timed without it
    except ImportError:
        sync_playwright = None
    if chromium is None or sync_playwright is None:
        click.echo("No Chromium or no playwright: only the sliders are timed.", err=True)
        return {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_ARGUMENTS)
        tab = browser.new_page(viewport={"width": 1440, "height": 1000})
        start = time.perf_counter()
        with served() as (address, process):
            tab.goto(address)
            tab.get_by_label("Text to analyze").fill(text)
            ready = time.perf_counter() - start
            analyzed = time.perf_counter()
            tab.get_by_role("button", name="Analyze").click()
            tab.locator(".js-plotly-plot").first.wait_for(timeout=120_000)
            first = time.perf_counter() - analyzed
            again = _second_analysis(tab, text)
            figures = _measure_clicks(tab, rounds) | {
                "ready_s": round(ready, 2),
                "first_analysis_s": round(first, 2),
                "second_analysis_s": round(again, 2),
                "peak_memory_mb": _peak_memory_mb(process.pid),
            }
        browser.close()
    return figures


def _second_analysis(tab: Any, text: str) -> float:
    """Seconds of an analysis with the model loaded; it is done when the text box folds away with another count."""
    folded = tab.locator("details summary").filter(has_text="tokens").first
    before = folded.inner_text()
    folded.click()
    tab.get_by_label("Text to analyze").fill(text + " It rose.")
    start = time.perf_counter()
    tab.get_by_role("button", name="Analyze").click()
    while folded.inner_text() == before:
        time.sleep(0.02)
    return time.perf_counter() - start


def _measure_clicks(tab: Any, rounds: int) -> dict[str, float]:
    """Milliseconds until the browser shows what was clicked: views in turn, themes in turn, and moves of a slider."""
    views = [title for title in TITLES if title != "Circuit"]  # which waits for another button
    panel = tab.locator("[role=tabpanel]:visible")
    heading = tab.locator(".stMarkdown p").filter(has_text="fires on").first
    ticks = tab.locator(".js-plotly-plot .yaxislayer-above").first
    themes = tab.locator("[class*=st-key-theme_] button")
    slider = tab.get_by_role("slider", name="Number of top features")
    waits: dict[str, list[float]] = {"view": [], "feature": [], "paint": []}
    for number in range(1, 2 * rounds + 1):  # the first view is open
        open_view = tab.get_by_role("tab", name=views[number % len(views)], exact=True).click
        waits["view"].append(_until(open_view, panel, draws=True))
    tab.get_by_role("tab", name=views[0], exact=True).click()
    ticks.wait_for()
    for number in range(1, 2 * rounds + 1):  # the first theme is chosen
        waits["feature"].append(_until(themes.nth(number % min(4, themes.count())).click, heading))
    for number in range(2 * rounds):
        waits["paint"].append(_until(partial(slider.press, ("ArrowRight", "ArrowLeft")[number % 2]), ticks))
    return {
        f"{name}_ms_{which}": round(value)
        for name, times in waits.items()
        for which, value in (
            ("median", statistics.median(times)),
            ("p95", statistics.quantiles(times, n=20, method="inclusive")[-1]),
        )
    }


def _until(act: Callable[[], Any], place: Any, *, draws: bool = False) -> float:
    """Milliseconds from an action until a place shows another text.

    Args:
        draws: wait for a chart or a table there, too.
    """
    before = place.text_content()
    start = time.perf_counter()
    act()
    while place.text_content() == before:
        if time.perf_counter() - start > _LONGEST_WAIT:
            raise click.ClickException(f"The page still shows the same {_LONGEST_WAIT} s after a click.")
        time.sleep(0.01)
    if draws:
        place.locator(".js-plotly-plot .main-svg, .stDataFrame canvas").first.wait_for(state="attached", timeout=30_000)
    return 1e3 * (time.perf_counter() - start)


@contextlib.contextmanager
def served() -> Generator[tuple[str, subprocess.Popen[bytes]]]:
    """Serve the page on a free port: (its address, its process)."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "feature_activation_tracker.py", "--server.port", str(port)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}", process
    finally:
        process.terminate()
        process.wait(10)


def _peak_memory_mb(pid: int) -> int | None:
    """Peak resident memory of a process so far; `None` if the system doesn't report it."""
    status = Path(f"/proc/{pid}/status")
    peak = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.exists() else None
    return None if peak is None else int(peak[1]) // 1024


if __name__ == "__main__":
    main()
