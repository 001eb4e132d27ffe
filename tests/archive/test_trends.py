from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from feature_tracker.archive.archive import Archive
from feature_tracker.archive.selection import units_of
from feature_tracker.archive.trends import Trends, by_period, feature_trends, periods_of
from feature_tracker.errors import TrackerError
from feature_tracker.feature import Feature
from tests.archive.made import write_archive

LATENTS = {4: 30, 10: 30}
RISING = {Feature(4, at): 2.5 for at in range(5)} | {Feature(10, at): 0.3 for at in range(5)}


def found(trends: Trends) -> dict[Feature, bool]:
    """The features with a trend, and whether each rises."""
    return {Feature(*key): tau > 0 for *key, tau in trends.trending[["layer", "feature", "tau"]].to_numpy()}


@pytest.fixture(scope="module")
def rising(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    folder = tmp_path_factory.mktemp("rising") / "archive"
    return write_archive(folder, n_documents=400, n_latents=LATENTS, rising=RISING, undated=0.1, tokens=(60, 100))


def test_what_rises_and_falls_is_found_and_hardly_anything_else(rising: Archive) -> None:
    trends = feature_trends(rising)
    trending = found(trends)
    assert {feature: factor > 1 for feature, factor in RISING.items()}.items() <= trending.items()
    assert len(trending) <= len(RISING) + 1
    assert trends.n_documents + trends.n_undated == 400
    assert trends.n_undated > 0 and trends.n_periods == 36


def test_standing_is_that_of_the_first_and_the_last_third(rising: Archive) -> None:
    top = feature_trends(rising).trending.set_index(["layer", "feature"])
    first, last = top["first"].to_dict(), top["last"].to_dict()
    assert first[4, 0] < 0.45 < 0.55 < last[4, 0]
    assert first[10, 0] > 0.55 > 0.45 > last[10, 0]


def test_no_trend_is_found_where_dates_are_shuffled(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "archive", n_documents=200, n_latents=LATENTS)
    dates, rng = archive.documents["date"].to_numpy().copy(), np.random.default_rng(0)
    n_found = 0
    for _ in range(20):
        archive.documents["date"] = rng.permutation(dates)
        n_found += bool(found(feature_trends(archive)))
    assert n_found <= 1


def test_more_and_shorter_documents_over_time_are_no_trend(tmp_path: Path) -> None:
    archive = write_archive(
        tmp_path / "archive", n_documents=400, n_latents=LATENTS, longer={"bank": 5.0}, fires=0.02, n_companies=400
    )
    is_long = (archive.documents["group"] == "bank").to_numpy()
    n_found = 0
    for seed in range(10):
        rng = np.random.default_rng(seed)
        month = np.where(is_long, rng.integers(0, 20, 400), 23 - rng.integers(0, 20, 400))  # long ones are older
        archive.documents["date"] = [date(2022 + m // 12, m % 12 + 1, 1) for m in month.tolist()]
        n_found += bool(found(feature_trends(archive)))
    assert n_found <= 1


def test_companies_that_come_later_make_no_trend_within_companies(tmp_path: Path) -> None:
    archive = write_archive(
        tmp_path / "archive", n_documents=600, n_latents=LATENTS, n_companies=4, company_spread=1.0,
        rising={Feature(4, 0): 3.0},
    )  # fmt: skip
    late = archive.documents["name"].str.startswith(("company-00", "company-01")).to_numpy()
    days = pd.to_datetime(archive.documents["date"])
    elapsed = (days - days.min()) / (days.max() - days.min())
    kept = ~late | (np.random.default_rng(0).random(600) < elapsed**2)
    archive.documents["date"] = days.where(kept).dt.date
    units = units_of(archive.documents, r"company-\d+")
    assert len(found(feature_trends(archive, by="month"))) > 5
    within = found(feature_trends(archive, by="month", units=units))
    assert within[Feature(4, 0)]
    assert len(within) <= 2


def test_four_periods_tell_nothing(rising: Archive) -> None:
    trends = feature_trends(rising, by="year")
    assert trends.n_periods == 3 and not trends.can_tell
    assert trends.trending.empty
    assert trends.features["p"].isna().all() and trends.features["first"].notna().all()


def test_periods_have_counts_means_and_intervals(rising: Archive) -> None:
    period = periods_of(rising.documents, "year")
    values = np.where(period.astype(str) == "2022", 1.0, 3.0)
    table = by_period(values, period)
    assert table["period"].tolist() == ["2022", "2023", "2024"]
    assert table["mean"].tolist() == [1.0, 3.0, 3.0]
    assert table["n_documents"].sum() == len(period)
    few = by_period(np.array([1.0, 2.0, 3.0]), pd.Series(pd.PeriodIndex(["2022", "2022", "2023"], freq="Y")))
    assert few["low"].isna().all()  # of two documents nothing is told
    spread = np.random.default_rng(0).normal(size=len(period))
    wide = by_period(spread, period)
    assert (wide["low"] < wide["mean"]).all() and (wide["mean"] < wide["high"]).all()
    expected = 2 * 1.96 / np.sqrt(wide["n_documents"])
    np.testing.assert_allclose(wide["high"] - wide["low"], expected, rtol=0.25)


def test_an_archive_without_dates_is_refused(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "archive", n_documents=10, undated=1.0)
    with pytest.raises(TrackerError, match="No document of this archive has a date"):
        feature_trends(archive)
