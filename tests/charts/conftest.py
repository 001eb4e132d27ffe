"""Ranked features with hostile labels, for tests of figures."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import pytest

from tests.support import make_ranked


@pytest.fixture
def ranked_of() -> Callable[..., pd.DataFrame]:
    return make_ranked


@pytest.fixture
def ranked() -> pd.DataFrame:
    return make_ranked((4, 10, 16), 10)
