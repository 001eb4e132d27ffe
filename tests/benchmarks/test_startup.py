"""The start-up benchmark: it times fresh interpreters, and sees a heavy library that gets imported."""

from __future__ import annotations

import json

from click.testing import CliRunner

from benchmarks.startup import import_cost, main


def test_importing_the_package_loads_no_heavy_library() -> None:
    result = CliRunner().invoke(main, ["--rounds", "1"], catch_exceptions=False)
    figures = json.loads(result.stdout)
    assert figures["heavy_modules"] == []
    assert 0 < figures["import_s"] < figures["version_s"]


def test_a_heavy_library_is_seen() -> None:
    assert import_cost("feature_tracker.labels.table", rounds=1).heavy == ["pandas"]
