"""Which features of a language model fire on a financial text, on which words, and how they connect."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

if sys.version_info < (3, 11):  # noqa: UP036 - a script under an older Python should say so, not fail on syntax
    sys.exit("Python 3.11 or newer is needed; this is Python %d.%d." % sys.version_info[:2])  # noqa: UP031

if TYPE_CHECKING:
    from feature_tracker.errors import TrackerError
    from feature_tracker.feature import Feature
    from feature_tracker.tracing.trace import Trace
    from feature_tracker.tracker import Tracker

__all__ = ["Feature", "Trace", "Tracker", "TrackerError", "__version__"]

__version__ = "0.2.0"

_HOMES = {
    "Feature": "feature_tracker.feature",
    "Trace": "feature_tracker.tracing.trace",
    "Tracker": "feature_tracker.tracker",
    "TrackerError": "feature_tracker.errors",
}


def __getattr__(name: str) -> object:
    # Imported when they are asked for (PEP 562), so that `import feature_tracker` costs milliseconds.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
