"""`python -m benchmarks.memory`: the server's memory while analyses, circuits and sessions come and go, within 10 %.

Resident memory in megabytes, each time after a pause in which Streamlit collects garbage.
"""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import click

from benchmarks.page import sample_text, served
from benchmarks.sessions import analyze_all, browser, marked, open_tabs

_SESSION_SECONDS = 120  # Streamlit keeps a closed session as long, in case its browser comes back


@click.command()
@click.option("--analyses", default=200, show_default=True)
@click.option("--circuits", default=10, show_default=True)
@click.option("--sessions", default=30, show_default=True)
@click.option("--tokens", default=300, show_default=True, help="Length of the longest text.")
def main(analyses: int, circuits: int, sessions: int, tokens: int) -> None:
    """Measure memory after a tenth and after all of the analyses, after 2 circuits and all, and around the sessions.

    No two analyses in a row are of texts of one length: the processor's kernels are compiled and kept by length.
    """
    words = sample_text(tokens).split(" ")
    texts = [" ".join(words[:n_words]) for n_words in range(len(words) // 4, len(words))]
    text = texts[len(texts) // 2]
    with browser() as chromium, served() as (address, process):
        (tab,) = open_tabs(chromium, address, [text])
        analyze_all([tab])
        figures: dict[str, int | None] = {}
        for number in range(2, analyses + 1):
            _analyze_again(tab, marked(texts[-number % len(texts)], number, "again"))
            if number in (analyses // 10, analyses):
                figures[f"after_{number}_analyses_mb"] = resident_mb(process.pid)
        tab.get_by_role("tab", name="Circuit").click()
        for number in range(1, circuits + 1):
            _trace_circuit(tab)
            if number in (2, circuits):
                figures[f"after_{number}_circuits_mb"] = resident_mb(process.pid)
        tab.close()
        for number in range(sessions):
            (short,) = open_tabs(chromium, address, [marked(text, number, "session")])
            analyze_all([short])
            short.context.close()
            if number == sessions // 10:
                figures[f"after_{number + 1}_sessions_mb"] = resident_mb(process.pid)
        time.sleep(_SESSION_SECONDS + 10)
        analyze_all(
            open_tabs(chromium, address, [text])
        )  # Streamlit forgets old sessions when another one ends or comes
        figures[f"after_{sessions}_sessions_mb"] = resident_mb(process.pid)
    click.echo(json.dumps(figures))


def resident_mb(pid: int) -> int | None:
    """Resident memory of a process; `None` if the system doesn't report it."""
    time.sleep(2)
    status = Path(f"/proc/{pid}/status")
    resident = re.search(r"VmRSS:\s+(\d+) kB", status.read_text()) if status.exists() else None
    return None if resident is None else int(resident[1]) // 1024


def _analyze_again(tab: Any, text: str) -> None:
    folded = tab.locator("details summary").filter(has_text="tokens").first
    box = tab.locator("details textarea")  # a page that is being redrawn may still have the box of its first screen
    if not box.is_visible():
        folded.click()
    box.fill(text)
    tab.locator("details").get_by_role("button", name="Analyze").click()
    tab.locator(".words").filter(has_text=text.partition(" ")[0]).wait_for(timeout=120_000)


def _trace_circuit(tab: Any) -> None:
    tab.get_by_role("button", name="Trace", exact=True).click()
    tab.get_by_role("button", name="Stop").wait_for(timeout=60_000)
    tab.get_by_role("button", name="Stop").wait_for(state="detached", timeout=300_000)


if __name__ == "__main__":
    main()
