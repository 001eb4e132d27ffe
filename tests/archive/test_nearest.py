from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from feature_tracker.archive.archive import Archive
from feature_tracker.archive.nearest import nearest_to_document, nearest_to_features
from feature_tracker.errors import TrackerError
from feature_tracker.feature import Feature
from tests.archive.made import write_archive

LIFTED = [Feature(4, 1), Feature(10, 2), Feature(10, 9)]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    """One document in sixteen is of a group that fires three features five times as often."""
    folder = tmp_path_factory.mktemp("nearest") / "archive"
    return write_archive(
        folder, n_documents=120, tokens=(80, 120), spread=0.2, fires=0.1, n_companies=16,
        groups=["fraud", *"abcdefghijklmno"], lifted=dict.fromkeys(LIFTED, ("fraud", 5.0)),
    )  # fmt: skip


def fraud(archive: Archive) -> np.ndarray:
    return np.flatnonzero(archive.documents["group"] == "fraud")


def test_documents_about_the_same_are_near_and_the_features_say_why(archive: Archive) -> None:
    alike = fraud(archive)
    found = nearest_to_document(archive, int(alike[0]), top=5)
    assert {near.document for near in found.near} <= set(alike.tolist()) - {alike[0]}
    assert found.n_documents == 119
    assert {near.reasons[0].feature for near in found.near} <= set(LIFTED)
    assert all(0 < reason.share <= 1 and reason.standing > 0 for near in found.near for reason in near.reasons)
    assert found.near[0].cosine > found.one_in_hundred > found.typical
    assert not any(near.same_text for near in found.near)


def test_cosines_are_those_of_standardized_means_of_roots(archive: Archive) -> None:
    values = archive.matrix("root_mean")
    z = np.clip((values - values.mean(axis=0)) / values.std(axis=0), -6, 6)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    expected = z @ z[3]
    for near in nearest_to_document(archive, 3, top=200).near:
        assert near.cosine == pytest.approx(expected[near.document], abs=1e-5)


def test_documents_near_features_are_those_that_they_stand_out_in(archive: Archive) -> None:
    found = nearest_to_features(archive, LIFTED[:2], top=8)
    assert {near.document for near in found.near} <= set(fraud(archive).tolist())
    assert {reason.feature for near in found.near for reason in near.reasons} == set(LIFTED[:2])
    assert found.n_documents == 120


def test_a_copy_is_told_as_such(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Archive, "texts", lambda self, numbers: {int(number): f"{number % 2}" for number in numbers})
    found = nearest_to_document(archive, 2, top=119)
    assert {near.document for near in found.near if near.same_text} == set(range(0, 120, 2)) - {2}


@pytest.mark.parametrize("feature", [Feature(4, 500), Feature(5, 0)])
def test_a_feature_that_the_archive_lacks_is_refused(archive: Archive, feature: Feature) -> None:
    with pytest.raises(TrackerError, match=f"{feature} fires in fewer than 5 documents"):
        nearest_to_features(archive, [feature])


def test_a_lone_document_has_no_neighbors(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "archive", n_documents=1)
    with pytest.raises(TrackerError, match="too few documents"):
        nearest_to_document(archive, 0)
