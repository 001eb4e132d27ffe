"""Tables as `rank_features` returns them, with labels meant to do harm."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from feature_tracker.labels.columns import SHOWN

HOSTILE = (
    "<script>alert('x')</script>",
    "<b>bold</b> &amp; <a href='javascript:x'>link</a>",
    "cost $x^2$ of $100",
    "line one\nline two\ttab",
    "nul \x00 and override \u202e txt.exe",
    "שיעורי ריבית",
    "😀 👩‍👩‍👧 emoji",
    "",
    "a very long label " * 30,
    "%{customdata[0]} {x}",
)


def make_ranked(layers: tuple[int, ...], n: int, *, seed: int = 0) -> pd.DataFrame:
    """`n` features a layer, best first."""
    generator = np.random.default_rng(seed)
    rows = [
        {column.name: column.missing for column in SHOWN}
        | {
            "layer": layer,
            "feature": 10 * place + layer,
            "label": HOSTILE[place % len(HOSTILE)],
            "f1": (np.nan, 0.5, 0.9)[place % 3],
            "precision": 0.8,
            "recall": 0.7,
            "balanced_accuracy": 0.75,
            "f1_always_yes": 2 / 3,
            "n_positive": 1000.0,
            "n_negative": 900.0,
            "n_unanswered": np.nan,
            "mark": ("not scored", "no better than always yes", "")[place % 3],
            "reliable": place % 3 == 2,
            "specialization": 0.01,
            "specialization_index": float(generator.uniform(-1, 1)),
            "density": 0.1,
            "activation": float(n - place),
            "percentile": 99.0 - place,
            "peak_position": place,
            "peak_word": HOSTILE[(place + 1) % len(HOSTILE)],
        }
        for layer in layers
        for place in range(n)
    ]
    columns = list(rows[0]) if rows else ["layer", "feature", "label", "reliable", "activation", "percentile"]
    return pd.DataFrame(rows, columns=columns)


@pytest.fixture
def ranked_of() -> Callable[..., pd.DataFrame]:
    return make_ranked


@pytest.fixture
def ranked() -> pd.DataFrame:
    return make_ranked((4, 10, 16), 10)
