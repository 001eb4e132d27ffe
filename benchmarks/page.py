"""`python -m benchmarks.page`: what an analyst waits for, from start to slider, and how much memory it takes."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import click
from streamlit.testing.v1 import AppTest

from feature_tracker.model.tokens import tokenize
from feature_tracker.page.results import TITLES
from feature_tracker.page.samples import SAMPLES
from feature_tracker.tracker import Tracker

ROOT = Path(__file__).resolve().parent.parent
CHROMIUM_ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]


@click.command()
@click.option("--rounds", default=9, show_default=True, help="Moves of each slider that are timed.")
@click.option("--tokens", default=512, show_default=True, help="Length of the text.")
def main(rounds: int, tokens: int) -> None:
    """Time the page in headless Chromium, and its sliders on the server alone. The model should be cached already."""
    text = _text_of(tokens)
    figures: dict[str, Any] = {"import_s": _measure_import(), "tokens": tokens, "rounds": rounds}
    figures |= _measure_browser(text)
    figures |= _measure_sliders(text, rounds)
    click.echo(json.dumps(figures))


def _measure_import() -> float:
    """Seconds that `import feature_tracker` takes in a fresh interpreter, the median of nine."""
    script = "import time; s = time.perf_counter(); import feature_tracker; print(time.perf_counter() - s)"
    runs = [subprocess.check_output([sys.executable, "-c", script], cwd=ROOT) for _ in range(9)]
    return round(statistics.median(map(float, runs)), 3)


def _text_of(tokens: int) -> str:
    """The sample texts, cut to so many tokens of the built-in model."""
    tracker = Tracker.open()
    whole = "\n\n".join(SAMPLES.values())
    found = tokenize(whole, tracker.language_model.tokenizer, window=512, max_tokens=100_000)
    return whole[: found.offsets[tokens - 1][1]]


def _measure_sliders(text: str, rounds: int) -> dict[str, Any]:
    """Milliseconds on the server from a slider's move to the view redrawn, the page run by Streamlit's own test."""
    page = AppTest.from_file(str(ROOT / "feature_activation_tracker.py"), default_timeout=120).run()
    page.text_area(key="text").set_value(text).run()
    next(button for button in page.button if button.label == "Analyze").click().run()
    by_view: dict[str, float] = {}
    every: list[float] = []
    for title in TITLES:
        page.session_state["view"] = title
        page.run()
        timed = []
        for turn in range(rounds + 1):
            label, value = ("Number of top features", (8, 12)) if turn % 2 else ("Correlation threshold", (0.3, 0.6))
            slider = next(slider for slider in page.slider if slider.label == label)
            start = time.perf_counter()
            slider.set_value(value[turn // 2 % 2]).run()
            timed.append(1e3 * (time.perf_counter() - start))
            if page.error or page.exception:
                raise click.ClickException(f"{title}: the page shows an error.")
        every += timed[1:]
        by_view[title] = round(statistics.median(timed[1:]), 1)
    return {"slider_ms_median": round(statistics.median(every), 1), "slider_ms_by_view": by_view}


def find_chromium() -> str | None:
    """Path of the browser: `CHROMIUM`, or Debian's or Ubuntu's."""
    return os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")


def _measure_browser(text: str) -> dict[str, Any]:
    """Seconds from starting the server to a text box that takes text, to the first result, and peak memory."""
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
        with _served() as (address, process):
            tab.goto(address)
            tab.get_by_label("Text to analyze").fill(text)
            ready = time.perf_counter() - start
            analyzed = time.perf_counter()
            tab.get_by_role("button", name="Analyze").click()
            tab.locator(".js-plotly-plot").first.wait_for(timeout=120_000)
            first = time.perf_counter() - analyzed
            again = _second_analysis(tab, text)
            figures = {
                "ready_s": round(ready, 2),
                "first_analysis_s": round(first, 2),
                "second_analysis_s": round(again, 2),
                "peak_memory_mb": _peak_memory_mb(process.pid),
            }
        browser.close()
    return figures


def _second_analysis(tab: Any, text: str) -> float:
    """Seconds of an analysis with the model loaded, told by the count of tokens that it changes."""
    count = tab.get_by_text("words and parts of words")
    before = count.inner_text()
    tab.get_by_label("Text to analyze").fill(text + " It rose.")
    start = time.perf_counter()
    tab.get_by_role("button", name="Analyze").click()
    while count.inner_text() == before:
        time.sleep(0.02)
    return time.perf_counter() - start


@contextlib.contextmanager
def _served() -> Generator[tuple[str, subprocess.Popen[bytes]]]:
    """The page on a free port: (its address, its process)."""
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
    """Largest resident memory of a process so far; None where the system doesn't tell."""
    status = Path(f"/proc/{pid}/status")
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.exists() else None
    return None if found is None else int(found[1]) // 1024


if __name__ == "__main__":
    main()
