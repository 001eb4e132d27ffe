from __future__ import annotations

import io
import sys

import pytest

from feature_tracker.cli.progress import terminal_progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_bar_goes_back_to_the_start_for_every_task(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with terminal_progress("Looking for the model") as progress:
        for task in ("Reading the text", "Taking features out"):
            for share in (0.0, 0.5, 1.0):
                progress(task, share)
    drawn = terminal.getvalue()
    for task in ("Reading the text", "Taking features out"):
        bars = drawn[drawn.index(task) : drawn.rindex(task) + 120]
        assert all(share in bars for share in ("  0%", " 50%", "100%")), bars
