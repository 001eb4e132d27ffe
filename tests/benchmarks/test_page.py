from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from benchmarks.page import find_chromium, main
from feature_tracker.page.results import TITLES


@pytest.mark.browser
@pytest.mark.model
def test_the_page_is_measured_from_start_to_slider(builtin_model: object) -> None:
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if find_chromium() is None:
        pytest.skip("no Chromium on this machine; on Debian: apt install chromium")
    done = CliRunner().invoke(main, ["--rounds", "1", "--tokens", "60"])
    assert done.exit_code == 0, done.output
    figures = json.loads(done.stdout.splitlines()[-1])
    assert set(figures["slider_ms_by_view"]) == set(TITLES)
    assert all(figures[name] > 0 for name in ("ready_s", "first_analysis_s", "second_analysis_s", "peak_memory_mb"))
    assert all(figures[f"{name}_ms_p95"] > 0 for name in ("view", "feature", "paint"))
