"""`python -m benchmarks.documents`: how long an archive of many documents takes to open on the page, and the memory."""

from __future__ import annotations

import json
import os
import re
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from benchmarks.page import CHROMIUM_ARGUMENTS, find_chromium, served
from feature_tracker.archive.archive import Archive
from feature_tracker.page.documents.view import TITLES
from feature_tracker.tracker import Tracker
from tests.archive.made import write_archive

_TABLE = "[role=tabpanel]:visible .stDataFrame canvas"
_BARS = {"open_s": 3.0, "peak_memory_mb": 1500}


@click.command()
@click.option(
    "--archive", type=click.Path(path_type=Path), help="An archive of the built-in bundle, or one made before."
)
@click.option("--documents", default=5000, show_default=True, help="Documents of an archive that is made up.")
@click.option("--rounds", default=3, show_default=True, help="Servers that are started, one after another.")
def main(archive: Path | None, documents: int, rounds: int) -> None:
    """Time the page's Many documents in headless Chromium. Making an archive up takes minutes.

    `start_s` is from the server's start until the table is there, the model's loading included; `open_s` from a click
    on Many documents of a page that is up; `again_s` the same once more; `views_s` from a click on each tab. The worst
    of all rounds counts, and the memory is the server's at its peak.
    """
    with tempfile.TemporaryDirectory() as made:
        folder = archive or Path(made) / "archive"
        opened = prepare(folder, documents)
        os.environ["FEATURE_TRACKER_ARCHIVES"] = str(folder)
        measured = [_measure() for _ in range(rounds)]
        figures = {name: max(one[name] for one in measured) for name in measured[0] if name != "views_s"}
        views = {title: max(one["views_s"][title] for one in measured) for title in TITLES[1:]}
        rows = opened.dataset("features").count_rows()
        missed = [name for name, bar in _BARS.items() if figures[name] > bar]
        click.echo(
            json.dumps(
                {
                    "documents": len(opened.documents),
                    "feature_rows": rows,
                    **figures,
                    "views_s": views,
                    "missed": missed,
                }
            )
        )


def prepare(folder: Path, documents: int) -> Archive:
    """An archive that passes for one of the built-in bundle, made up where there is none."""
    tracker = Tracker.open()
    if not folder.exists():
        latents = {layer: sae.n_latents for layer, sae in tracker.saes.items()}
        write_archive(folder, n_documents=documents, n_latents=latents, tokens=(200, 900), fires=0.02)
    archive = Archive.open(folder)
    replace(archive.manifest, bundle=tracker.bundle.name, fingerprint=tracker.fingerprint).save(folder)
    return archive


def _measure() -> dict[str, Any]:
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - the archive can be made without it

    figures: dict[str, Any] = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=CHROMIUM_ARGUMENTS)
        start = time.perf_counter()
        with served() as (address, process):
            tab = browser.new_page(viewport={"width": 1440, "height": 1000})
            tab.goto(f"{address}/?look_at=Many+documents")
            tab.locator(_TABLE).first.wait_for(state="attached", timeout=120_000)
            figures["start_s"] = round(time.perf_counter() - start, 2)
            figures["memory_mb"] = _memory_mb(process.pid, "VmRSS")
        with served() as (address, process):
            tab = browser.new_page(viewport={"width": 1440, "height": 1000})
            tab.goto(address)
            tab.get_by_label("Text to analyze").fill("Net sales rose.")
            tab.get_by_role("button", name="Analyze").click()
            tab.locator(".js-plotly-plot").first.wait_for(timeout=120_000)
            for name in ("open_s", "again_s"):
                start = time.perf_counter()
                tab.get_by_text("Many documents", exact=True).click()
                tab.get_by_role("tab", name=TITLES[0]).wait_for(timeout=60_000)
                tab.locator(_TABLE).first.wait_for(state="attached", timeout=60_000)
                figures[name] = round(time.perf_counter() - start, 2)
                if name == "open_s":
                    tab.get_by_text("One text", exact=True).click()
                    tab.locator(".words").first.wait_for(timeout=60_000)
            figures["views_s"] = {title: _open_view(tab, title) for title in TITLES[1:]}
            figures["peak_memory_mb"] = _memory_mb(process.pid, "VmHWM")
        browser.close()
    return figures


def _open_view(tab: Any, title: str) -> float:
    start = time.perf_counter()
    tab.get_by_role("tab", name=title, exact=True).click()
    tab.locator("[data-test-script-state=running]").wait_for(state="attached", timeout=10_000)
    tab.locator("[data-test-script-state=notRunning]").wait_for(state="attached", timeout=60_000)
    return round(time.perf_counter() - start, 2)


def _memory_mb(pid: int, what: str) -> int:
    """Resident memory of a process, at its peak (`VmHWM`) or now (`VmRSS`)."""
    found = re.search(rf"{what}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) // 1024 if found else 0


if __name__ == "__main__":
    main()
