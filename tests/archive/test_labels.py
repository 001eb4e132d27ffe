from __future__ import annotations

from pathlib import Path

import pytest

from feature_tracker.archive.archive import Archive
from feature_tracker.archive.labels import archive_labels, tells_of_content
from feature_tracker.errors import TrackerError
from feature_tracker.feature import Feature
from feature_tracker.labels.own import own_labels_path, save_own_label
from tests.archive.made import made_labels, write_archive, write_bundle

LATENTS = {4: 20, 10: 20}


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    write_bundle(tmp_path, LATENTS)
    return write_archive(tmp_path / "archive", n_documents=5, n_latents=LATENTS)


def test_labels_are_those_of_the_bundle_that_made_the_archive(archive: Archive, tmp_path: Path) -> None:
    labels = archive_labels(archive, bundle=str(tmp_path / "made.toml"))
    assert labels.name(Feature(10, 3)) == "thing 3 of layer 10"


def test_the_users_own_labels_of_the_same_saes_come_first(archive: Archive, tmp_path: Path) -> None:
    save_own_label(own_labels_path("made"), archive.manifest.fingerprint, Feature(4, 1), "mine")
    save_own_label(own_labels_path("made"), "another", Feature(4, 2), "not mine")
    labels = archive_labels(archive, bundle=str(tmp_path / "made.toml"))
    assert [labels.name(Feature(4, i)) for i in (1, 2)] == ["mine", "thing 2 of layer 4"]


def test_an_archive_of_some_of_a_bundles_layers_has_labels_for_these(tmp_path: Path) -> None:
    write_bundle(tmp_path, LATENTS)
    archive = write_archive(tmp_path / "archive", n_documents=5, n_latents={10: 20})
    labels = archive_labels(archive, bundle=str(tmp_path / "made.toml"))
    assert set(labels.frame.index.get_level_values("layer")) == {10}
    assert labels.left_out == 20


def test_a_bundle_without_a_table_leaves_features_unlabelled(archive: Archive, tmp_path: Path) -> None:
    (tmp_path / "made.csv").unlink()
    assert archive_labels(archive, bundle=str(tmp_path / "made.toml")).name(Feature(4, 0)) == "unlabelled"


def test_another_table_can_be_named(archive: Archive, tmp_path: Path) -> None:
    table = (tmp_path / "made.csv").read_text().replace("thing 3 of layer 10", "deposits")
    (tmp_path / "other.csv").write_text(table)
    labels = archive_labels(archive, bundle=str(tmp_path / "made.toml"), path=tmp_path / "other.csv")
    assert labels.name(Feature(10, 3)) == "deposits"


def test_another_bundle_and_one_that_cannot_be_opened_are_refused(archive: Archive) -> None:
    with pytest.raises(TrackerError, match="was made with the bundle made, and smollm2-135m has other features"):
        archive_labels(archive, bundle="smollm2-135m")
    with pytest.raises(TrackerError, match="Name its TOML file by --bundle"):
        archive_labels(archive)
    with pytest.raises(TrackerError, match="No bundle 'nowhere'"):
        archive_labels(archive, bundle="nowhere")


def test_of_no_features_none_tells_of_content() -> None:
    assert tells_of_content(made_labels({4: 3}), []).tolist() == []
