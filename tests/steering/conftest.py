from __future__ import annotations

from dataclasses import replace

import pytest

from feature_tracker.bundles.bundle import Bundle
from feature_tracker.tracker import Tracker
from tests.support import tiny_labels


@pytest.fixture
def tracker(tiny_tracker: Tracker, tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> Tracker:
    """A tiny random Llama that reads 64 tokens at once and ends no text, and labels that know largest activations."""
    monkeypatch.setattr(tiny_tracker.language_model.model.generation_config, "eos_token_id", None)
    return replace(tiny_tracker, bundle=replace(tiny_bundle, window=64), labels=tiny_labels(tiny_bundle, 40))
