"""Alerts: rules over features, asked of an archive's documents; see `conditions` for the language of rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow.compute as pc

from feature_tracker.archive.archive import Archive
from feature_tracker.archive.conditions import Comparison, Condition, Measure, comparisons, evaluate
from feature_tracker.archive.labels import labelled_with
from feature_tracker.archive.rules import Rule
from feature_tracker.errors import TrackerError
from feature_tracker.feature import Feature
from feature_tracker.labels.columns import KEYS
from feature_tracker.labels.table import LabelTable
from feature_tracker.tracing.distinctive import distinctiveness_of_means, share_above

_AROUND = 60  # characters of text on either side of a peak
_DOCUMENT = ["document", "name", "source", "date", "group", "n_tokens"]


class RuleCount(NamedTuple):
    """What came of one rule.

    Attributes:
        rule: which.
        n_fired: documents of which it holds.
        by_chance: of as many ordinary passages of the same lengths, the most of which it would hold; NaN where the rule
            depends on what has no such estimate (other measures than distinctiveness, `<`, NOT).
    """

    rule: Rule
    n_fired: int
    by_chance: float


class Alerts(NamedTuple):
    """What fired.

    Attributes:
        table: one row a rule and document: `rule`, the document's `document, name, source, date, group, n_tokens`;
            `because`, the comparisons that hold with their features' labels and values; `where`, the text around the
            peak of the first of these features.
        counts: by rule.
        n_documents: that were looked at.
        n_empty: of the new ones, those without tokens that count, of which no rule holds.
    """

    table: pd.DataFrame
    counts: list[RuleCount]
    n_documents: int
    n_empty: int


def find_alerts(archive: Archive, rules: Sequence[Rule], labels: LabelTable, *, since: int = 0) -> Alerts:
    """Ask rules of an archive's documents.

    Args:
        since: number of the first document to look at.

    Raises:
        TrackerError: a rule names a feature that the archive doesn't have, or whose distinctiveness the label table
            doesn't know, or words that no label holds.
    """
    documents = archive.documents.iloc[since:]
    n_new = len(documents)
    documents = documents[documents["n_counted"] > 0]
    read = _Values(archive, documents, labels, since)
    tables, counts = [], []
    for rule in rules:
        try:
            fires = evaluate(rule.condition, lambda comparison: read.values(comparison).max(axis=1))
            chance = _most_by_chance(rule.condition, read)
        except TrackerError as error:
            raise TrackerError(f"Rule {rule.name!r}: {error}") from None
        rows = np.flatnonzero(fires).tolist()
        told = [read.reasons(rule.condition, row) for row in rows]
        where = _peaks(
            archive, {int(documents["document"].iloc[row]): first for row, (_, first) in zip(rows, told, strict=True)}
        )
        table = documents.iloc[rows][_DOCUMENT]
        tables.append(
            table.assign(
                rule=rule.name,
                because=[because for because, _ in told],
                where=[where.get(int(number), "") for number in table["document"]],
            )
        )
        counts.append(RuleCount(rule, len(rows), float(chance.sum())))
    table = pd.concat(tables, ignore_index=True)[["rule", *_DOCUMENT, "because", "where"]]
    return Alerts(table, counts, len(documents), n_new - len(documents))


class _Values:
    """What comparisons are about, read once for each feature and measure.

    Args:
        documents: those to look at.
        since: the first one's number, or less.
    """

    def __init__(self, archive: Archive, documents: pd.DataFrame, labels: LabelTable, since: int) -> None:
        self._archive = archive
        self._documents = documents
        self._labels = labels
        self._since = since
        self._read: dict[tuple[Feature | str, Measure], np.ndarray] = {}

    @property
    def n_counted(self) -> np.ndarray:
        """(n_documents, 1)."""
        return self._documents["n_counted"].to_numpy()[:, None]

    def values(self, comparison: Comparison) -> np.ndarray:
        """(n_documents, n_features) of a comparison's features."""
        key = comparison.subject, comparison.measure
        if key not in self._read:
            self._read[key] = self._computed(self.features(comparison.subject), comparison.measure)
        return self._read[key]

    def features(self, subject: Feature | str) -> list[Feature]:
        """Those that a subject stands for."""
        n_latents = self._archive.manifest.n_latents
        if isinstance(subject, Feature):
            if subject.index >= n_latents.get(subject.layer, 0):
                layers = ", ".join(f"{layer} (F0 to F{n - 1})" for layer, n in n_latents.items())
                raise TrackerError(f"the archive has no feature {subject}. Its layers are {layers}.")
            return [subject]
        return labelled_with(self._labels, subject, self._archive)

    def rows(self, features: Sequence[Feature]) -> pd.DataFrame:
        """The features' rows of the label table."""
        return self._labels.frame.reindex(pd.MultiIndex.from_tuples([tuple(f) for f in features], names=KEYS))

    def _computed(self, features: list[Feature], measure: Measure) -> np.ndarray:
        values = np.stack(
            [self._column(feature, "root_mean" if measure == "distinctiveness" else measure) for feature in features],
            axis=1,
        )
        if measure != "distinctiveness":
            return values
        z = distinctiveness_of_means(values, self.rows(features), self.n_counted)
        if len(z) and np.isnan(z).all():
            raise TrackerError(
                f"the label table doesn't know how much {features[0]} fires on ordinary passages, so it has no "
                "distinctiveness. Measure it by `feature-tracker labels measure`, or compare its max, mean or share."
            )
        return np.where(np.isnan(z), -np.inf, z)  # of several features, those that are known count

    def _column(self, feature: Feature, measure: str) -> np.ndarray:
        """(n_documents,) one measure of `archive.schema.FEATURES`; 0 where the feature doesn't fire."""
        wanted = (pc.field("layer") == feature.layer) & (pc.field("feature") == feature.index)
        table = self._archive.dataset("features").to_table(
            columns=["document", measure], filter=wanted & (pc.field("document") >= self._since)
        )
        column = pd.Series(table[measure].to_numpy(), index=table["document"].to_numpy())
        return column.reindex(self._documents["document"], fill_value=0.0).to_numpy(dtype=float)

    def reasons(self, condition: Condition, row: int) -> tuple[str, Feature | None]:
        """The comparisons that hold of a document, in words, and the first feature that fires in it."""
        told, first = [], None
        for comparison, is_denied in comparisons(condition):
            values = self.values(comparison)[row]
            if is_denied or not comparison.holds(values.max()):
                continue
            feature = self.features(comparison.subject)[int(values.argmax())]
            if first is None and comparison.sign in (">", ">="):
                first = feature
            label = self._labels.name(feature)
            told.append(f"{feature} “{label}” {comparison.measure} {values.max():.3g} {comparison.sign} "
                        f"{comparison.threshold:g}")  # fmt: skip
        return "; ".join(told), first


def _most_by_chance(condition: Condition, read: _Values) -> np.ndarray:
    """(n_documents,) at most this share of ordinary passages of its length meets a condition; NaN if unknown."""
    if isinstance(condition, Comparison):
        n = len(read.n_counted)
        if condition.measure != "distinctiveness" or condition.sign not in (">", ">="):
            return np.full(n, np.nan)
        rows = read.rows(read.features(condition.subject))
        above = share_above(np.full((1, len(rows)), condition.threshold), rows, read.n_counted)
        return np.minimum(np.nansum(above, axis=1), 1.0)
    parts = np.stack([_most_by_chance(part, read) for part in condition.parts])
    if condition.how == "AND":  # no more than meet the rarest part
        return np.fmin.reduce(parts, axis=0)
    return np.minimum(parts.sum(axis=0), 1.0) if condition.how == "OR" else np.full(parts.shape[1], np.nan)


def _peaks(archive: Archive, features: dict[int, Feature | None]) -> dict[int, str]:
    """By document, the text around the token on which its feature fires most, on one line."""
    peaks: dict[int, int] = {}
    for feature in {feature for feature in features.values() if feature is not None}:
        numbers = [number for number, fires in features.items() if fires == feature]
        wanted = (pc.field("layer") == feature.layer) & (pc.field("feature") == feature.index)
        table = archive.dataset("features").to_table(
            columns=["document", "peak"], filter=wanted & pc.field("document").isin(numbers)
        )
        peaks |= dict(zip(table["document"].to_pylist(), table["peak"].to_pylist(), strict=True))
    tokens = archive.dataset("tokens").to_table(
        columns=["document", "start", "end"], filter=pc.field("token").isin(list(peaks.values()))
    )
    document, *span = (column.to_pylist() for column in tokens.columns)
    spans = dict(zip(document, zip(*span, strict=True), strict=True))
    here = pc.field("document").isin(list(peaks))
    excerpts = {}
    for batch in archive.dataset("documents").to_batches(columns=["document", "text"], filter=here):
        for number, text in zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True):
            excerpts[number] = _excerpt(text, *spans[number])
    return excerpts


def _excerpt(text: str, start: int, end: int) -> str:
    word = text[start:end].lstrip()  # a token begins with the space before it
    start = end - len(word)
    before, after = text[max(0, start - _AROUND) : start], text[end : end + _AROUND]
    return " ".join(f"{before}[{word}]{after}".split())
