"""`feature-tracker corpus trend`: what rises and falls over the dates of an archive's documents."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, get_args

import click
import numpy as np
import pandas as pd

from feature_tracker.archive.archive import Archive
from feature_tracker.archive.groups import SIGNIFICANT, compare_groups
from feature_tracker.archive.labels import tells_of_content
from feature_tracker.archive.selection import choose_documents, units_of
from feature_tracker.archive.themes import Theme, archive_themes, theme_of_words
from feature_tracker.archive.trends import (
    FEWEST_PERIODS,
    Period,
    Trends,
    by_period,
    feature_trends,
    periods_of,
    standing_in_dates,
    trend_table,
)
from feature_tracker.cli.corpus_asking import (
    archive_command,
    counted,
    form_option,
    print_table,
    quoted,
    surest_to_name,
    tell,
    top_option,
    unit_option,
    with_labels,
)
from feature_tracker.cli.corpus_groups import report_groups
from feature_tracker.errors import TrackerError
from feature_tracker.feature import Feature
from feature_tracker.labels.table import LabelTable
from feature_tracker.tracing.rows import features_of


class _Asked(NamedTuple):
    archive: Archive
    labels: LabelTable
    by: Period
    units: np.ndarray | None
    top: int
    csv_file: Path | None


@click.command("trend")
@archive_command
@click.option("--by", type=click.Choice(get_args(Period)), default="month", show_default=True, help="Period.")
@click.option("--feature", metavar="L16/F283", help="Instead of all features: one, period by period.")
@click.option("--words", help="Instead: the features whose labels hold these words, as one theme, period by period.")
@click.option("--themes", is_flag=True, help="Instead: groups of features that are high in the same documents.")
@click.option(
    "--between", nargs=2, metavar="DATE DATE", help="Instead: which features rose and fell from one date to another."
)
@unit_option
@form_option
@top_option
def main(
    archive: Archive, labels: LabelTable, by: Period, feature: str | None, words: str | None, themes: bool,
    between: tuple[str, str] | None, unit: str | None, form: bool, top: int, csv_file: Path | None,
) -> None:  # fmt: skip
    """Print which features rise and fall over the documents' dates.

    The test is Mann and Kendall's over periods: tau is 1 for a feature that rises in every one. A date is 2023, 2023Q2,
    2023-05 or 2023-05-17, or from one to another: 2022..2023Q2. With --unit, only changes within a unit count.
    """
    if sum(map(bool, (feature, words, themes, between))) > 1:
        raise click.UsageError("Give one of --feature, --words, --themes and --between.")
    units = None if unit is None else units_of(archive.documents, unit)
    asked = _Asked(archive, labels, by, units, top, csv_file)
    if feature is not None:
        _tell_feature(asked, feature)
    elif words is not None:
        _tell_theme(asked, theme_of_words(archive, labels, words))
    elif themes:
        _tell_themes(asked)
    elif between:
        before, after = (choose_documents(archive.documents, [f"date={date}"]) for date in between)
        compared = compare_groups(archive, after, before, units=units)
        report_groups(compared, labels, (f"after, {between[1]}", f"before, {between[0]}"), top, csv_file, form=form)
    else:
        trends = feature_trends(archive, by=by, units=units)
        in_words = _in_words(trends, labels, by, form=form)
        tell([in_words, _undated(trends.n_undated), _advice(units) if trends.can_tell else ""])
        printed = None if form else tells_of_content(labels, features_of(trends.features))
        print_table(with_labels(trends.features, labels), top if trends.can_tell else 0, csv_file, printed=printed)


def _in_words(trends: Trends, labels: LabelTable, by: Period, *, form: bool) -> str:
    where = f"{counted(trends.n_documents, 'document')} in {counted(trends.n_periods, by)}"
    n, n_trending = len(trends.features), len(trends.trending)
    if not trends.can_tell:
        return _too_few(trends.n_periods, by)
    if not n:
        return f"No feature fires in enough of {where}."
    surest = surest_to_name(trends.trending, labels, form=form) if n_trending else trends.features.iloc[0]
    feature = quoted(Feature(int(surest["layer"]), int(surest["feature"])), labels)
    if not n_trending:
        return (
            f"No feature rises or falls beyond chance over {where}. The surest of {counted(n, 'feature')} is {feature} "
            f"with p = {surest['p']:.2g}; where the periods stand in random order, {n * surest['p']:.2g} features are "
            "as sure on average."
        )
    n_rising = int((trends.trending["tau"] > 0).sum())
    return (
        f"Over {where}, {n_trending:,} of {counted(n, 'feature')} {'has' if n_trending == 1 else 'have'} a trend: "
        f"{n_rising:,} rising, {n_trending - n_rising:,} falling. The surest is "
        f"{feature}, which {'rises' if surest['tau'] > 0 else 'falls'} (tau {surest['tau']:+.2f}): a "
        f"document stood above {surest['first']:.0%} of those of like length in the first third of the time, and above "
        f"{surest['last']:.0%} in the last. Of those found, about {SIGNIFICANT:.0%} may be chance (q at most "
        f"{SIGNIFICANT}); where the periods stand in random order, none is found in 97 of 100 cases."
    )


def _tell_feature(asked: _Asked, text: str) -> None:
    feature = Feature.named(text)
    if feature is None or feature not in asked.archive.features:
        layers = ", ".join(f"{layer} (F0 to F{n - 1})" for layer, n in asked.archive.manifest.n_latents.items())
        raise TrackerError(f"This archive has no feature {text}. Write one such as L16/F283; its layers are {layers}.")
    period = periods_of(asked.archive.documents, asked.by)
    rows = period.index.to_numpy()
    values = asked.archive.matrix("root_mean")[rows][:, [asked.archive.features.index(feature)]]
    test = trend_table(standing_in_dates(asked.archive, values, rows, asked.units), period).iloc[0]
    table = by_period(values[:, 0], period)
    n_fires = int((values > 0).sum())
    tell(
        [
            f"{quoted(feature, asked.labels)} fires in {n_fires:,} of {counted(len(rows), 'document')} with a date. "
            f"{_trend_in_words(test, len(table), asked.by)}",
            "Below: the mean over documents of a document's mean of sqrt(activation), and its 95 % interval.",
            _undated(int(asked.archive.documents["date"].isna().sum())),
        ]
    )
    print_table(table, max(len(table), asked.top), asked.csv_file)


def _tell_theme(asked: _Asked, theme: Theme) -> None:
    period = periods_of(asked.archive.documents, asked.by)
    standing = _theme_standing(asked, theme, period)
    test = trend_table(standing[:, None], period).iloc[0]
    table = by_period(standing, period)
    features = ", ".join(quoted(feature, asked.labels) for feature in theme.features[:5])
    more = f" and {len(theme.features) - 5:,} more" if len(theme.features) > 5 else ""
    tell(
        [
            f"“{theme.name}” is {counted(len(theme.features), 'feature')}: {features}{more}. "
            f"{_trend_in_words(test, len(table), asked.by)}",
            f"Below: how high the theme stands in the mean of {counted(len(standing), 'document')} among documents of "
            "like length, from 0 to 1 (0.5: as in the ordinary document), and its 95 % interval.",
        ]
    )
    print_table(table, max(len(table), asked.top), asked.csv_file)


def _tell_themes(asked: _Asked) -> None:
    themes = archive_themes(asked.archive, asked.labels)
    if not themes:
        tell(["No features are high in the same documents beyond chance, so there are no themes."])
        return
    period = periods_of(asked.archive.documents, asked.by)
    standing = np.stack([_theme_standing(asked, theme, period) for theme in themes], axis=1)
    others = ["; ".join(quoted(feature, asked.labels) for feature in theme.features[1:]) for theme in themes]
    table = pd.DataFrame(
        {
            "theme": [theme.name for theme in themes],
            "feature": [str(theme.features[0]) for theme in themes],
            "with": others,
            "n_features": [len(theme.features) for theme in themes],
            "correlation": [theme.correlation for theme in themes],
        }
    )
    table = pd.concat([table, trend_table(standing, period)], axis=1).sort_values("p", kind="stable")
    n_trending = int((table["q"] <= SIGNIFICANT).sum())
    n_periods = period.nunique()
    found = f"With a trend over {counted(n_periods, asked.by)}: {n_trending:,}"
    tell(
        [
            f"{counted(len(themes), 'theme')} in {counted(len(period), 'document')} with a date: features that are "
            "high in the same documents, named by the label of the one that goes along best with the others. "
            + (f"{found} (q at most {SIGNIFICANT})." if n_periods >= FEWEST_PERIODS else _too_few(n_periods, asked.by))
        ]
    )
    print_table(table, asked.top, asked.csv_file, columns=[str(name) for name in table if name not in ("with", "p")])


def _theme_standing(asked: _Asked, theme: Theme, period: pd.Series) -> np.ndarray:
    rows = period.index.to_numpy()
    values = asked.archive.matrix("root_mean")[rows][:, theme.columns]
    return standing_in_dates(asked.archive, values, rows, asked.units).mean(axis=1)


def _trend_in_words(test: pd.Series, n_periods: int, by: Period) -> str:
    if n_periods < FEWEST_PERIODS:
        return _too_few(n_periods, by)
    chance = (
        f"tau {test['tau']:+.2f}, p = {test['p']:.2g}, the share of random orders of the periods with as clear a trend"
    )
    over = f"over {counted(n_periods, by)}"
    if test["p"] > SIGNIFICANT:
        return f"It neither rises nor falls {over} beyond chance ({chance})."
    return f"It {'rises' if test['tau'] > 0 else 'falls'} {over} ({chance})."


def _too_few(n_periods: int, by: Period) -> str:
    shorter = {"year": " Try --by quarter.", "quarter": " Try --by month.", "month": ""}[by]
    return (
        f"No trend can be told from {counted(n_periods, by)} with documents; at least {FEWEST_PERIODS} are needed."
        f"{shorter}"
    )


def _undated(n_undated: int) -> str:
    return f"{counted(n_undated, 'document')} without a date are left out." if n_undated else ""


def _advice(units: np.ndarray | None) -> str:
    if units is not None:
        return ""
    return (
        "Which documents there are may change over time. With --unit, a document is compared with its own company's "
        "(or whatever the expression tells apart), so that only changes within one count."
    )
