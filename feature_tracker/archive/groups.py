"""What sets two groups of documents apart: specialization with its interval, and a rank test over documents.

Specialization is that of the label table, with the two groups in place of finance and general text: f and g are mean
activations a token, over all tokens of a group that are no attention sinks; f - g, and the index (f - g) / (f + g) from
-1 to 1. Its interval is that of a bootstrap over documents.

The test asks of each feature whether documents of one group stand higher than those of the other by the mean of
sqrt(activation). It compares documents of like length alone (see `standing`): features are means over tokens, which
vary more in short documents, and a plain Mann-Whitney test takes that for a difference of groups.

What the test can't know:

- Documents of one company, or of one form, are alike for reasons of their own. A thousand filings of four companies
  are four voices and not a thousand; `units_of` counts them so.
- Groups differ in more than in what they are named by. Where one group is older, or holds the annual reports, its
  features tell that too. No test over documents separates the two.
- Short documents are openings, long ones hold notes and tables as well. Where hardly any document of the one group is
  as long as one of the other's, nothing is left to compare, and notes say so.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control, pearson3

from feature_tracker.archive.archive import Archive
from feature_tracker.archive.selection import FEWEST
from feature_tracker.archive.standing import length_strata, standing, unit_means
from feature_tracker.errors import TrackerError
from feature_tracker.labels.columns import KEYS

SIGNIFICANT = 0.03
"""Largest q of what counts as found, here and in trends. Up to 5 % of discoveries may be false, and Benjamini and
Hochberg's rule keeps its level on average alone."""
_DRAWS = 1000
_SEED = 0
_AT_ONCE = 100  # draws; their sums of 2,000 features are in memory together
_UNLIKE_LENGTHS = 2.0


@dataclass(frozen=True, eq=False)
class GroupComparison:
    """What sets a first group of documents apart from a second one.

    Attributes:
        features: one row a feature that fires in at least `FEWEST` documents, the surest first:

            - `layer, feature`;
            - `first_mean, second_mean`: mean activation a token in each group;
            - `difference`, first minus second, with its 95 % interval `difference_low, difference_high`;
            - `index`, (first - second) / (first + second), with `index_low, index_high`;
            - `auc`: of a document of the first group and one of the second of like length, how often the first stands
              higher, ties counting half;
            - `p`, two-sided; `q`, Benjamini-Hochberg over the rows.

            Where nothing can be told, `auc`, `p`, `q` and the intervals are NaN.
        n_first, n_second: documents of each group.
        n_first_units, n_second_units: units of each; see `selection.units_of`.
        notes: what a reader should know before believing it, in sentences.
    """

    features: pd.DataFrame
    n_first: int
    n_second: int
    n_first_units: int
    n_second_units: int
    notes: tuple[str, ...]

    @property
    def can_tell(self) -> bool:
        """Whether both groups have enough documents and units."""
        return min(self.n_first_units, self.n_second_units) >= FEWEST

    @property
    def apart(self) -> pd.DataFrame:
        """The features that set the groups apart: q of at most `SIGNIFICANT`."""
        return self.features[self.features["q"] <= SIGNIFICANT]


def compare_groups(
    archive: Archive, first: np.ndarray, second: np.ndarray, *, units: np.ndarray | None = None
) -> GroupComparison:
    """Compare two groups of documents, feature by feature.

    Args:
        first, second: (n_documents,) bool.
        units: (n_documents,) int, from `selection.units_of`; `None` if each document is its own. Documents of one unit
            are drawn together, and the test is over units.

    Raises:
        TrackerError: a document is in both groups, or a group has none.
    """
    documents = archive.documents
    if (first & second).any():
        name = documents["name"][first & second].iloc[0]
        raise TrackerError(
            f"{int((first & second).sum()):,} documents are in both groups, such as {name}. Choose groups "
            "that share none."
        )
    rows = np.flatnonzero((first | second) & (documents["n_counted"] > 0))
    is_first = first[rows]
    if is_first.all() or not is_first.any():
        raise TrackerError("One of the groups has no documents with tokens that count. Choose two that have some.")
    n_counted = documents["n_counted"].to_numpy()[rows]
    unit = rows if units is None else units[rows]
    root_mean = archive.matrix("root_mean")[rows]
    fires = np.flatnonzero((root_mean > 0).sum(axis=0) >= FEWEST)
    keys = [archive.features[at] for at in fires]
    sums = archive.matrix("mean")[rows][:, fires] * n_counted[:, None].astype(np.float64)
    n_units = [len(np.unique(unit[side])) for side in (is_first, ~is_first)]
    columns = _specialization(sums, n_counted, is_first, unit, enough=min(n_units) >= FEWEST)
    if min(n_units) >= FEWEST and len(fires):
        columns |= _rank_test(root_mean[:, fires], n_counted, is_first, None if units is None else unit)
    else:
        columns |= dict.fromkeys(("auc", "p", "q"), np.full(len(fires), np.nan))
    frame = pd.DataFrame(keys, columns=KEYS).assign(**columns)
    # At one p, which many documents drive to 0, the larger effect comes first.
    order = np.lexsort((-np.abs(frame["auc"] - 0.5), frame["p"]))
    frame = frame.iloc[order].reset_index(drop=True)
    notes = _notes(n_counted, is_first, n_units, len(fires), units is not None)
    return GroupComparison(frame, int(is_first.sum()), int((~is_first).sum()), n_units[0], n_units[1], notes)


def _specialization(
    sums: np.ndarray, n_counted: np.ndarray, is_first: np.ndarray, unit: np.ndarray, *, enough: bool
) -> dict[str, np.ndarray]:
    """Means, difference and index with their bootstrap intervals, each (n_features,)."""
    rng = np.random.default_rng(_SEED)
    means, drawn = [], []
    for side in (is_first, ~is_first):
        of_unit = unit[side]
        n_documents = np.unique(of_unit, return_counts=True)[1][:, None]
        by_unit = unit_means(sums[side], of_unit) * n_documents
        tokens = (unit_means(n_counted[side][:, None], of_unit) * n_documents).ravel()
        means.append(by_unit.sum(axis=0) / tokens.sum())
        drawn.append(_drawn_means(by_unit, tokens, rng) if enough else np.full((1, sums.shape[1]), np.nan))
    columns = {"first_mean": means[0], "second_mean": means[1]}
    with np.errstate(invalid="ignore", divide="ignore"):
        for name, value, draws in (
            ("difference", means[0] - means[1], drawn[0] - drawn[1]),
            ("index", (means[0] - means[1]) / (means[0] + means[1]), (drawn[0] - drawn[1]) / (drawn[0] + drawn[1])),
        ):
            # In a draw without any document in which the feature fires, the groups don't differ.
            low, high = np.quantile(np.nan_to_num(draws) if enough else draws, [0.025, 0.975], axis=0)
            columns |= {name: value, f"{name}_low": low, f"{name}_high": high}
    return columns


def _drawn_means(sums: np.ndarray, tokens: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(n_draws, n_features) float32 mean activations a token of as many units, drawn with replacement."""
    drawn = np.empty((_DRAWS, sums.shape[1]), np.float32)
    for start in range(0, _DRAWS, _AT_ONCE):
        times = rng.multinomial(len(tokens), np.full(len(tokens), 1 / len(tokens)), _AT_ONCE).astype(np.float64)
        drawn[start : start + _AT_ONCE] = times @ sums / (times @ tokens)[:, None]
    return drawn


def _rank_test(
    root_mean: np.ndarray, n_counted: np.ndarray, is_first: np.ndarray, unit: np.ndarray | None
) -> dict[str, np.ndarray]:
    strata = _strata(n_counted, is_first)
    ranks = standing(root_mean, strata)
    if unit is not None:
        sides = [unit_means(ranks[side], unit[side]) for side in (is_first, ~is_first)]
        is_first = np.arange(sum(map(len, sides))) < len(sides[0])
        strata = np.zeros(len(is_first), np.int64)
        ranks = standing(np.concatenate(sides), strata)
    auc, p = stratified_rank_test(ranks, is_first, strata)
    # Without a stratum that has documents of both groups, there is nothing to compare.
    return {"auc": auc, "p": p, "q": false_discovery_control(p) if np.isfinite(p).all() else p}


def _strata(n_counted: np.ndarray, is_first: np.ndarray) -> np.ndarray:
    n_first = int(np.count_nonzero(is_first))
    return length_strata(n_counted, smallest_group=min(n_first, len(is_first) - n_first))


def stratified_rank_test(ranks: np.ndarray, is_first: np.ndarray, strata: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """AUC and two-sided p of each feature, by the Mann-Whitney statistic within strata.

    With one stratum it is the Mann-Whitney test. With several, each stratum's rank sum is weighed by 1 / (1 + its size)
    (van Elteren 1960, On the combination of independent two-sample tests of Wilcoxon). Mean, variance and skewness are
    those over all assignments of documents to groups within strata, ties included; p comes from a Pearson type III
    distribution with these three moments. By the normal distribution, a feature of few documents that fires in one of a
    small group would seem far too sure.

    Args:
        ranks: (n_documents, n_features) from `standing`.
        is_first: (n_documents,) bool.
        strata: (n_documents,).

    Returns:
        (n_features,) AUC and p; NaN where no stratum has documents of both groups.
    """
    n_features = ranks.shape[1]
    statistic, variance, third, pairs = np.zeros(n_features), np.zeros(n_features), np.zeros(n_features), 0.0
    for stratum in np.unique(strata):
        rows = strata == stratum
        n, n_first = np.count_nonzero(rows), np.count_nonzero(is_first[rows])
        n_second = n - n_first
        if not n_first or not n_second:
            continue
        centred = ranks[rows].astype(np.float64) - 0.5
        statistic += centred[is_first[rows]].sum(axis=0)
        variance += n_first * n_second / (n * (n - 1)) * (centred**2).sum(axis=0)
        if n > 2:
            shape = n_first * n_second * (n_second - n_first) / (n * (n - 1) * (n - 2))
            third += shape * (centred**3).sum(axis=0)
        pairs += n_first * n_second / (n + 1)
    if not pairs:
        return np.full(n_features, np.nan), np.full(n_features, np.nan)
    spread = np.sqrt(np.maximum(variance, 1e-30))  # 0 for a feature that is the same everywhere, as is its statistic
    z, skew = statistic / spread, third / spread**3
    tail = np.where(z > 0, pearson3.sf(z, skew), pearson3.cdf(z, skew))
    return 0.5 + statistic / pairs, np.minimum(1.0, 2 * tail)


def _notes(
    n_counted: np.ndarray, is_first: np.ndarray, n_units: list[int], n_features: int, has_units: bool
) -> tuple[str, ...]:
    notes = []
    smallest, unit = min(n_units), "unit" if has_units else "document"
    if smallest < FEWEST:
        plural = "" if smallest == 1 else "s"
        return (f"A group of {smallest} {unit}{plural} is too small to tell anything; at least {FEWEST} are needed.",)
    rarest = 2 / comb(sum(n_units), smallest)
    if rarest * n_features > SIGNIFICANT:
        notes.append(
            f"With {n_units[0]} and {n_units[1]} {unit}s not even a feature that always stands higher in one group is "
            f"sure: of {n_features:,} features, chance alone sets {rarest * n_features:.1g} apart so far."
        )
    lengths = [float(np.median(n_counted[side])) for side in (is_first, ~is_first)]
    strata = _strata(n_counted, is_first)
    n_left_out = int((~np.isin(strata, np.intersect1d(strata[is_first], strata[~is_first]))).sum())
    if max(lengths) >= _UNLIKE_LENGTHS * min(lengths):
        left_out = f"; {n_left_out:,} have none in the other group to be compared with" if n_left_out else ""
        notes.append(
            f"The groups' documents are of unlike length ({lengths[0]:,.0f} and {lengths[1]:,.0f} tokens at the "
            f"median). The test compares documents of like length{left_out}. Means are over all."
        )
    if not has_units:
        notes.append(
            "Every document counts as a voice of its own. Where several are of one company or source, what is peculiar "
            "to that company looks like a difference of the groups. The command feature-tracker corpus groups counts "
            "companies instead, with --unit."
        )
    return tuple(notes)
