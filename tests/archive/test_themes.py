from __future__ import annotations

from pathlib import Path

import pytest

from feature_tracker.archive.archive import Archive
from feature_tracker.archive.themes import archive_themes, theme_of_words
from feature_tracker.errors import TrackerError
from feature_tracker.feature import Feature
from feature_tracker.labels.table import LabelTable, unlabelled_table
from tests.archive.made import made_labels, write_archive

LATENTS = {4: 20, 10: 20}
THEMES = [
    [Feature(4, 1), Feature(4, 8), Feature(10, 2), Feature(10, 9)],
    [Feature(4, 3), Feature(10, 4), Feature(10, 5)],
]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    folder = tmp_path_factory.mktemp("themes") / "archive"
    return write_archive(folder, n_documents=300, n_latents=LATENTS, themes=THEMES, tokens=(60, 120))


def test_features_that_move_together_over_documents_are_themes(archive: Archive) -> None:
    themes = archive_themes(archive, made_labels(LATENTS))
    assert [sorted(theme.features) for theme in themes] == THEMES
    assert all(0.4 < theme.correlation < 1 for theme in themes)


def test_a_theme_has_the_label_of_its_first_feature_and_the_matrixs_columns(archive: Archive) -> None:
    labels = made_labels(LATENTS)
    for theme in archive_themes(archive, labels):
        assert theme.name == labels.name(theme.features[0])
        assert [archive.features[column] for column in theme.columns] == theme.features


def test_features_of_form_are_in_no_theme(archive: Archive) -> None:
    frame = made_labels(LATENTS).frame.copy()
    frame.loc[[tuple(feature) for feature in THEMES[0]], "kind"] = "punctuation"
    assert [sorted(theme.features) for theme in archive_themes(archive, LabelTable(frame))] == THEMES[1:]


def test_without_any_label_there_are_themes_all_the_same(archive: Archive) -> None:
    themes = archive_themes(archive, unlabelled_table(LATENTS))
    assert [sorted(theme.features) for theme in themes] == THEMES
    assert themes[0].name == "unlabelled"


@pytest.mark.parametrize("n_documents", [25, 200])
def test_independent_features_make_no_theme(tmp_path: Path, n_documents: int) -> None:
    archive = write_archive(tmp_path / "archive", n_documents=n_documents, n_latents=LATENTS)
    assert archive_themes(archive, made_labels(LATENTS)) == []


def test_too_few_documents_are_refused(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "archive", n_documents=10)
    with pytest.raises(TrackerError, match="10 documents are too few"):
        archive_themes(archive, made_labels(LATENTS))


def test_words_of_labels_make_a_theme_of_ones_own(archive: Archive) -> None:
    theme = theme_of_words(archive, made_labels(LATENTS), "thing 7")
    assert theme.features == [Feature(4, 7), Feature(10, 7)]
    assert theme.columns.tolist() == [7, 27]
    for nothing in ("zebra", " "):
        with pytest.raises(TrackerError, match="No feature's label holds"):
            theme_of_words(archive, made_labels(LATENTS), nothing)
