"""Rank features as the sidebar is set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from feature_tracker.page.state import Settings
from feature_tracker.tracing.trace import Trace
from feature_tracker.tracker import Tracker


def rank_under(
    settings: Settings, tracker: Tracker, trace: Trace, layers: Sequence[int], positions: np.ndarray | None
) -> pd.DataFrame:
    """`rank_features` under the sidebar's settings.

    Args:
        positions: tokens to look at, all where None.
    """
    return tracker.rank(
        trace,
        layers=layers,
        top=settings.top,
        aggregation=settings.aggregation,
        by=settings.by,
        hide_always_on=settings.hide_always_on,
        min_f1=settings.min_f1,
        positions=positions,
    )
