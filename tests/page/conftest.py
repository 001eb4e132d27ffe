from __future__ import annotations

import functools
import gc
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace

import pytest
from streamlit.components.v2 import manifest_scanner
from streamlit.testing.v1 import AppTest

import feature_tracker.page.app
import feature_tracker.page.pool
from feature_tracker.bundles.bundle import Bundle, load_bundle
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
    bundle = load_bundle()
    if not bundle.labels.is_file() or not bundle.sae_folder.is_dir():
        pytest.skip("the built-in bundle has no SAEs or labels yet")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "feature_activation_tracker.py", "--server.port", str(port)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=1)
                break
            except OSError:
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)
