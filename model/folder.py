"""Where a bundle's model lies on this machine, wherever it comes from."""

from __future__ import annotations

from pathlib import Path

from bundles.bundle import Bundle, ModelSource
from model.fetch import ensure_builtin_model
from model.hub import ensure_hub_model
from model.progress import Progress, silent


def ensure_model_folder(bundle: Bundle, progress: Progress = silent) -> Path:
    """The folder of a bundle's model in transformers' format, fetched where it isn't on this machine.

    Raises:
        TrackerError: it can't be fetched or stored.
    """
    source = bundle.model
    if isinstance(source, ModelSource):
        return ensure_builtin_model(source, progress)
    return source.folder or ensure_hub_model(source, progress)
