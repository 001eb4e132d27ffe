"""How features and themes rise and fall over the dates of an archive's documents.

A period is a month, a quarter or a year. The test is Mann and Kendall's, over periods: Kendall's tau between the period
and the mean over its documents of how high the feature stands among documents of like length (see `standing`). Periods
and not documents are the samples, because documents of one period share its events. The mean rank of a period doesn't
depend on how many documents it has, or how long they are; a mean activation's distribution does.

What the test can't know:

- Which documents there are changes over the years. Where a company enters the archive late, its features rise. By
  `units`, a document counts by how far it stands above its unit's own mean, so that only changes within a company
  count; a rise that all companies share is then still seen.
- Periods that follow each other are alike. A wave of a few years looks like a trend where the archive ends on its
  slope.
- Monotone is what is tested: up and down again is no trend.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control, kendalltau

from feature_tracker.archive.archive import Archive
from feature_tracker.archive.groups import SIGNIFICANT
from feature_tracker.archive.selection import FEWEST
from feature_tracker.archive.standing import length_strata, standing, unit_means
from feature_tracker.errors import TrackerError
from feature_tracker.labels.columns import KEYS

Period = Literal["month", "quarter", "year"]
FEWEST_PERIODS = 5
"""With four, even a steady rise has p = 0.08."""
_CODES: dict[Period, str] = {"month": "M", "quarter": "Q", "year": "Y"}
_DRAWS = 1000
_SEED = 0


@dataclass(frozen=True, eq=False)
class Trends:
    """Trends of the features that fire in at least `FEWEST` of the documents with a date.

    Attributes:
        features: one row a feature, the surest first: `layer, feature, tau, p, q`, and `first, last`, the mean standing
            (between 0 and 1, 1/2 on average) over the documents of the first and of the last third of the periods. With
            fewer than `FEWEST_PERIODS` periods, tau, p and q are NaN.
        n_documents: documents with a date.
        n_undated: documents without one.
        n_periods: periods with documents.
    """

    features: pd.DataFrame
    n_documents: int
    n_undated: int
    n_periods: int

    @property
    def can_tell(self) -> bool:
        """Whether there are enough periods."""
        return self.n_periods >= FEWEST_PERIODS

    @property
    def trending(self) -> pd.DataFrame:
        """The features with a trend: q of at most `SIGNIFICANT`."""
        return self.features[self.features["q"] <= SIGNIFICANT]


def periods_of(documents: pd.DataFrame, by: Period) -> pd.Series:
    """The period of each document that has a date and tokens, indexed by its row.

    Raises:
        TrackerError: no document has a date, or there is no such period.
    """
    if by not in _CODES:
        raise TrackerError(f"Expected one of the periods {', '.join(get_args(Period))}; found {by}.")
    dates = pd.to_datetime(documents["date"][documents["n_counted"] > 0]).dropna()
    if dates.empty:
        raise TrackerError(
            "No document of this archive has a date. Run the documents again with their dates: see "
            "`feature-tracker corpus run --help`."
        )
    return dates.dt.to_period(_CODES[by])


def feature_trends(archive: Archive, *, by: Period = "month", units: np.ndarray | None = None) -> Trends:
    """Test every feature for a trend.

    Args:
        units: (n_documents,) int, from `selection.units_of`; `None` to compare documents of all units with each other.

    Raises:
        TrackerError: see `periods_of`.
    """
    period = periods_of(archive.documents, by)
    rows = period.index.to_numpy()
    values = archive.matrix("root_mean")[rows]
    fires = np.flatnonzero((values > 0).sum(axis=0) >= FEWEST)
    ranks = standing_in_dates(archive, values[:, fires], rows, units)
    table = trend_table(ranks, period)
    keys = pd.DataFrame([archive.features[at] for at in fires], columns=KEYS)
    frame = pd.concat([keys, table], axis=1).sort_values(["p", "tau"], key=_strongest_last, kind="stable")
    n_undated = int(archive.documents["date"].isna().sum())
    return Trends(frame.reset_index(drop=True), len(rows), n_undated, period.nunique())


def standing_in_dates(archive: Archive, values: np.ndarray, rows: np.ndarray, units: np.ndarray | None) -> np.ndarray:
    """(n_rows, n_features) how high each document stands among those of like length, above its unit's mean if any.

    Args:
        values: (n_rows, n_features).
        rows: (n_rows,) numbers of the documents.
        units: of all documents.
    """
    ranks = standing(values, length_strata(archive.documents["n_counted"].to_numpy()[rows]))
    if units is None:
        return ranks
    unit = np.unique(units[rows], return_inverse=True)[1]
    return ranks - unit_means(ranks, unit)[unit] + 0.5


def trend_table(ranks: np.ndarray, period: pd.Series) -> pd.DataFrame:
    """`tau, p, q, first, last` of each column; see `Trends`.

    Args:
        ranks: (n_documents, n) from `standing_in_dates`.
        period: (n_documents,) from `periods_of`.
    """
    number = np.unique(period.astype(str), return_inverse=True)[1]
    means = unit_means(ranks, number)
    n_periods, n = means.shape
    third = max(1, n_periods // 3)
    first, last = ranks[number < third].mean(axis=0), ranks[number >= n_periods - third].mean(axis=0)
    columns = dict.fromkeys(("tau", "p", "q"), np.full(n, np.nan))
    if n_periods >= FEWEST_PERIODS and n:
        tau, p = np.array([kendalltau(np.arange(n_periods), means[:, at]) for at in range(n)]).T
        # A feature that stands the same in every period has no tau and no trend.
        tau, p = np.nan_to_num(tau), np.nan_to_num(p, nan=1.0)
        columns = {"tau": tau, "p": p, "q": false_discovery_control(p)}
    return pd.DataFrame({**columns, "first": first, "last": last})


def by_period(values: np.ndarray, period: pd.Series) -> pd.DataFrame:
    """Mean of a value over the documents of each period, with its 95 % interval.

    Args:
        values: (n_documents,) of documents with a date.
        period: (n_documents,) from `periods_of`.

    Returns:
        `period` as text, `n_documents, mean, low, high`, in the order of time; a period without documents has no row.
        The interval is that of a bootstrap over documents; NaN with fewer than `FEWEST`.
    """
    rng = np.random.default_rng(_SEED)
    rows = []
    for name, part in pd.Series(values, index=period.astype(str).to_numpy()).groupby(level=0):
        low = high = np.nan
        if len(part) >= FEWEST:
            drawn = rng.choice(part.to_numpy(dtype=float), (_DRAWS, len(part))).mean(axis=1)
            low, high = np.quantile(drawn, [0.025, 0.975])
        rows.append((name, len(part), float(part.mean()), low, high))
    return pd.DataFrame(rows, columns=["period", "n_documents", "mean", "low", "high"])


def _strongest_last(column: pd.Series) -> pd.Series:
    return -column.abs() if column.name == "tau" else column
