from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from feature_tracker.archive import standing_out
from feature_tracker.archive.archive import Archive
from feature_tracker.archive.standing_out import columns_of, measured, odd_ones, ordinary_text, stands_out
from feature_tracker.feature import Feature
from feature_tracker.labels.table import LabelTable, unlabelled_table
from feature_tracker.tracing.distinctive import distinctiveness_of_means
from tests.archive.made import made_labels, write_archive

N_LATENTS = {4: 20, 10: 15}
LABELS = made_labels(N_LATENTS)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    folder = tmp_path_factory.mktemp("made") / "archive"
    return write_archive(folder, n_latents=N_LATENTS, documents_a_part=25, undated=0.1)


def naive(archive: Archive, labels: LabelTable) -> np.ndarray:
    index = pd.MultiIndex.from_tuples([tuple(feature) for feature in archive.features])
    n_counted = archive.documents["n_counted"].to_numpy()[:, None]
    return distinctiveness_of_means(archive.matrix("root_mean"), labels.frame.reindex(index), n_counted)


def everything(archive: Archive) -> np.ndarray:
    return np.ones(len(archive.features), bool)


@pytest.mark.parametrize("rows_at_once", [2**17, 7])
def test_what_stands_out_is_the_highest_of_the_whole_matrix(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, rows_at_once: int
) -> None:
    monkeypatch.setattr(standing_out, "_BATCH", rows_at_once)
    standing = stands_out(archive, ordinary_text(archive, LABELS), everything(archive), most=3)
    z = np.where(archive.matrix("root_mean") > 0, naive(archive, LABELS), -1.0)
    for document in range(len(archive.documents)):
        expected = [column for column in np.argsort(-z[document])[:3] if z[document, column] > 0]
        found = standing.of(document)
        assert found.column.tolist() == expected
        assert found.score == pytest.approx(z[document, expected], rel=1e-5)


def test_features_that_are_not_shown_never_stand_out(archive: Archive) -> None:
    shown = everything(archive)
    shown[::2] = False
    standing = stands_out(archive, ordinary_text(archive, LABELS), shown)
    assert len(standing.column)
    assert (standing.column % 2 == 1).all()


def test_some_features_are_measured_in_every_document_also_where_they_are_silent(archive: Archive) -> None:
    features = [Feature(10, 3), Feature(4, 3), Feature(10, 14)]  # two of one index
    values = measured(archive, ordinary_text(archive, LABELS), features)
    assert values == pytest.approx(naive(archive, LABELS)[:, columns_of(archive, features)], rel=1e-5)
    assert (archive.matrix("root_mean")[:, columns_of(archive, features)] == 0).any()


def test_what_no_table_measured_is_told_against_the_other_documents(archive: Archive) -> None:
    unmeasured = ordinary_text(archive, unlabelled_table(N_LATENTS))
    assert len(stands_out(archive, unmeasured, everything(archive)).column) == 0
    values = measured(archive, unmeasured, [Feature(4, 1), Feature(10, 2)])
    assert values.mean(axis=0) == pytest.approx([0, 0], abs=1e-9)
    assert values.std(axis=0) == pytest.approx([1, 1])
    odd = odd_ones(archive, unmeasured, everything(archive), most=4)
    root_mean = archive.matrix("root_mean").astype(float)
    deviation = (root_mean - root_mean.mean(axis=0)) / root_mean.std(axis=0)
    assert odd.features.of(7).score == pytest.approx(-np.sort(-deviation[7])[:4], rel=1e-4)


def test_a_short_document_is_not_odd_by_chance(tmp_path: Path) -> None:
    made = write_archive(tmp_path / "made", n_documents=300, n_latents={4: 60}, tokens=(20, 400), spread=0.1, groups=())
    labels = made_labels({4: 60})
    n_counted = made.documents["n_counted"].to_numpy()
    short = n_counted <= np.quantile(n_counted, 0.2)

    def short_among_odd(table: LabelTable) -> float:
        score = odd_ones(made, ordinary_text(made, table), everything(made)).score
        return float(short[np.argsort(-score)[:60]].mean())

    assert short_among_odd(unlabelled_table({4: 60})) > 0.5  # where chance is unknown
    assert short_among_odd(labels) < 0.3


def test_the_odd_one_is_the_document_that_has_what_no_other_has(tmp_path: Path) -> None:
    own = {Feature(4, 5): ("other", 12.0), Feature(10, 6): ("other", 12.0)}
    groups = ("same",) * 39 + ("other",)
    made = write_archive(
        tmp_path / "made", n_documents=200, n_latents=N_LATENTS, groups=groups, n_companies=40, lifted=own,
        tokens=(100, 120),
    )  # fmt: skip
    odd = odd_ones(made, ordinary_text(made, LABELS), everything(made))
    others = np.flatnonzero(made.documents["group"] == "other")
    assert 0 < len(others) < 20
    assert set(np.argsort(-odd.score)[: len(others)].tolist()) == set(others.tolist())
    first = odd.features.of(int(others[0])).column[:2]
    assert set(first.tolist()) == set(columns_of(made, list(own)).tolist())
