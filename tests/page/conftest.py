from __future__ import annotations

import functools
import gc
from collections.abc import Iterator
from dataclasses import replace

import pytest
from streamlit.components.v2 import manifest_scanner
from streamlit.testing.v1 import AppTest

import feature_tracker.page.app
import feature_tracker.page.pool
from benchmarks.page import served as serve_page
from feature_tracker.bundles.bundle import Bundle
from feature_tracker.model.load import LanguageModel
from feature_tracker.tracker import Tracker
from tests.support import ROOT, tiny_labels


@pytest.fixture(scope="session", autouse=True)
def pages_open_quickly() -> Iterator[None]:
    """Save half a second each time a test opens a page."""
    # Every page makes Streamlit read the metadata of all installed distributions, and the engine's loading collects
    # garbage, for which Python looks through all that torch and transformers made when they were imported.
    gc.freeze()
    with pytest.MonkeyPatch.context() as patch:
        scan = functools.cache(manifest_scanner.scan_component_manifests)
        patch.setattr(manifest_scanner, "scan_component_manifests", scan)
        yield
    gc.unfreeze()


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch, tiny_bundle: Bundle, tiny_tracker: Tracker) -> Iterator[AppTest]:
    """The page on a tiny random Llama; `Tracker.open` gives it."""
    tracker = replace(tiny_tracker, labels=tiny_labels(tiny_bundle, 40))
    monkeypatch.setattr(Tracker, "open", lambda *_, **__: replace(tracker))  # a new one each time, as from disk
    monkeypatch.setattr(feature_tracker.page.app, "choose_bundle", lambda: tiny_bundle)
    monkeypatch.setattr(feature_tracker.page.app, "missing_parts", lambda bundle: [])
    feature_tracker.page.pool.tracker_pool.clear()
    yield AppTest.from_file(str(ROOT / "feature_activation_tracker.py"), default_timeout=30).run()
    feature_tracker.page.pool.tracker_pool.clear()


@pytest.fixture
def served(builtin_model: LanguageModel) -> Iterator[str]:
    """Address of the real page, served by Streamlit on a free port."""
    with serve_page() as (address, _):
        yield address
