from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from feature_tracker.archive.archive import Archive
from feature_tracker.archive.groups import GroupComparison, compare_groups, stratified_rank_test
from feature_tracker.archive.selection import units_of
from feature_tracker.archive.standing import length_strata, standing
from feature_tracker.errors import TrackerError
from feature_tracker.feature import Feature
from tests.archive.made import write_archive

LATENTS = {4: 40, 10: 40}
PLANTED = {Feature(layer, 4 * at) for layer in LATENTS for at in range(5)}


def side(archive: Archive, group: str) -> np.ndarray:
    return (archive.documents["group"] == group).to_numpy()


def found(compared: GroupComparison) -> set[Feature]:
    return {Feature(*key) for key in compared.apart[["layer", "feature"]].to_numpy()}


@pytest.fixture(scope="module")
def even(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    """Documents of two groups that differ in nothing."""
    folder = tmp_path_factory.mktemp("even") / "archive"
    return write_archive(folder, n_documents=200, n_latents=LATENTS, n_companies=200)


def test_a_planted_difference_is_found_in_nine_cases_of_ten(tmp_path: Path) -> None:
    shares, false = [], []
    for seed in range(4):
        archive = write_archive(
            tmp_path / str(seed), n_documents=300, n_latents=LATENTS, n_companies=300, seed=seed,
            lifted=dict.fromkeys(PLANTED, ("bank", 1.7)),
        )  # fmt: skip
        apart = found(compare_groups(archive, side(archive, "bank"), side(archive, "retail")))
        shares.append(len(apart & PLANTED) / len(PLANTED))
        false.append(len(apart - PLANTED) / len(apart))
    assert np.mean(shares) > 0.9
    assert np.mean(false) < 0.05


@pytest.fixture
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Intervals, which are no part of the test, take most of the time."""
    monkeypatch.setattr("feature_tracker.archive.groups._DRAWS", 100)


@pytest.mark.usefixtures("few_draws")
@pytest.mark.parametrize("size", [100, 12])
def test_nothing_is_found_where_groups_are_shuffled(even: Archive, size: int) -> None:
    rng = np.random.default_rng(1)
    n_found = 0
    for _ in range(60):
        first = np.isin(np.arange(200), rng.choice(200, size, replace=False))
        n_found += bool(found(compare_groups(even, first, ~first)))
    assert n_found / 60 < 0.05


@pytest.mark.usefixtures("few_draws")
def test_groups_of_unlike_length_are_not_taken_for_different(tmp_path: Path) -> None:
    """Long documents have the same means and other ranks."""
    archive = write_archive(
        tmp_path / "archive", n_documents=400, n_latents=LATENTS, n_companies=400, longer={"bank": 5.0}, fires=0.02
    )
    rng = np.random.default_rng(0)
    is_long = side(archive, "bank")
    values, lengths = archive.matrix("root_mean"), archive.documents["n_counted"].to_numpy()
    naive = n_found = 0
    for _ in range(20):
        first = rng.random(400) < np.where(is_long, 0.8, 0.2)
        compared = compare_groups(archive, first, ~first)
        n_found += bool(found(compared))
        assert any("unlike length" in note for note in compared.notes)
        naive += mannwhitneyu(values[first], values[~first], axis=0).pvalue.min() < 0.03 / values.shape[1]
    assert n_found <= 1
    assert naive > 10  # a plain rank test takes the lengths for a difference
    assert length_strata(lengths).max() == 9


@pytest.mark.usefixtures("few_draws")
def test_a_companys_many_documents_count_once_as_a_unit(tmp_path: Path) -> None:
    documents = companies = 0
    for seed in range(5):
        archive = write_archive(
            tmp_path / str(seed), n_documents=200, n_latents=LATENTS, n_companies=20, company_spread=0.6, seed=seed
        )
        units = units_of(archive.documents, r"company-\d+")
        groups = side(archive, "bank"), side(archive, "retail")
        documents += bool(found(compare_groups(archive, *groups)))
        compared = compare_groups(archive, *groups, units=units)
        companies += bool(found(compared))
        assert (compared.n_first_units, compared.n_second_units) == (10, 10)
    assert documents == 5
    assert companies == 0


def test_a_difference_of_companies_is_found_by_companies(tmp_path: Path) -> None:
    lifted = {Feature(4, 0): ("bank", 3.0)}
    archive = write_archive(tmp_path / "archive", n_documents=300, n_companies=30, company_spread=0.3, lifted=lifted)
    units = units_of(archive.documents, r"company-\d+")
    assert found(compare_groups(archive, side(archive, "bank"), side(archive, "retail"), units=units)) == set(lifted)


def test_specialization_is_that_of_all_tokens_of_a_group(even: Archive) -> None:
    first = side(even, "bank")
    compared = compare_groups(even, first, ~first).features.sort_values(["layer", "feature"])
    n = even.documents["n_counted"].to_numpy()
    sums = even.matrix("mean").astype(float) * n[:, None]
    f, g = (sums[group].sum(axis=0) / n[group].sum() for group in (first, ~first))
    np.testing.assert_allclose(compared["difference"], f - g, rtol=1e-6)
    np.testing.assert_allclose(compared["index"], (f - g) / (f + g), rtol=1e-6)


def test_intervals_hold_the_difference_that_is_there_in_nineteen_cases_of_twenty(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "archive", n_documents=200, n_latents={4: 200}, n_companies=200)
    first = side(archive, "bank")
    features = compare_groups(archive, first, ~first).features
    for name in ("difference", "index"):
        assert ((features[f"{name}_low"] < 0) & (features[f"{name}_high"] > 0)).mean() == pytest.approx(0.95, abs=0.04)
        assert (features[f"{name}_low"] <= features[name]).all() and (features[name] <= features[f"{name}_high"]).all()


def test_in_one_stratum_the_test_is_mann_and_whitneys() -> None:
    rng = np.random.default_rng(0)
    values, first = rng.integers(0, 6, (60, 30)).astype(float), np.arange(60) < 30
    strata = np.zeros(60, int)
    auc, p = stratified_rank_test(standing(values, strata), first, strata)
    expected = mannwhitneyu(values[first], values[~first], axis=0, method="asymptotic", use_continuity=False)
    np.testing.assert_allclose(auc, expected.statistic / 900, rtol=1e-5)
    np.testing.assert_allclose(p, expected.pvalue, rtol=1e-3)


def test_a_rare_feature_in_a_small_group_is_not_too_sure() -> None:
    """One of five documents in which a feature fires is among the ten of a group: as likely as one in twenty."""
    values, first = np.zeros((1000, 1)), np.zeros(1000, bool)
    values[[0, 200, 400, 600, 800]] = 1.0
    first[:10] = True
    strata = np.zeros(1000, int)
    _, p = stratified_rank_test(standing(values, strata), first, strata)
    assert 0.01 < p.item() < 0.2
    assert mannwhitneyu(values[first], values[~first], axis=0).pvalue.item() < 1e-4


def test_strata_of_one_group_alone_count_for_nothing() -> None:
    values, first = np.array([[1.0], [2.0], [3.0], [9.0]]), np.array([True, False, True, True])
    auc, p = stratified_rank_test(standing(values, np.array([0, 0, 1, 1])), first, np.array([0, 0, 1, 1]))
    assert auc.item() == pytest.approx(0.0, abs=1e-6)  # the pair of the first stratum
    auc, p = stratified_rank_test(values, first, np.array([0, 1, 0, 0]))
    assert np.isnan([auc.item(), p.item()]).all()


def test_of_four_documents_nothing_is_told(even: Archive) -> None:
    few = np.arange(200) < 4
    compared = compare_groups(even, few, ~few)
    assert not compared.can_tell
    assert compared.apart.empty
    assert compared.features[["p", "q", "auc", "index_low"]].isna().all(axis=None)
    assert compared.notes == ("A group of 4 documents is too small to tell anything; at least 5 are needed.",)


def test_a_group_of_many_documents_of_one_company_is_one_unit(even: Archive) -> None:
    first = np.arange(200) < 50
    compared = compare_groups(even, first, ~first, units=np.where(first, 0, np.arange(200)))
    assert not compared.can_tell
    assert compared.notes[0].startswith("A group of 1 unit is too small")


def test_it_is_told_where_no_result_could_be_sure(even: Archive) -> None:
    first, second = np.arange(200) < 5, np.arange(200) >= 195
    notes = compare_groups(even, first, second).notes
    assert any("not even a feature that always stands higher" in note for note in notes)


def test_groups_that_share_documents_or_are_empty_are_refused(even: Archive) -> None:
    everything = np.ones(200, bool)
    with pytest.raises(TrackerError, match="in both groups, such as company-"):
        compare_groups(even, everything, everything)
    for first, second in ((everything, ~everything), (~everything, everything), (~everything, ~everything)):
        with pytest.raises(TrackerError, match="no documents"):
            compare_groups(even, first, second)


def test_ties_and_a_stratums_mean_stand_in_the_middle() -> None:
    values = np.array([[0.0], [0.0], [5.0], [7.0], [1.0]])
    ranks = standing(values, np.array([0, 0, 0, 1, 1]))
    np.testing.assert_allclose(ranks.ravel(), [1.5 / 4, 1.5 / 4, 3 / 4, 2 / 3, 1 / 3], rtol=1e-6)
