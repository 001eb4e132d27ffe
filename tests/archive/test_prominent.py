from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from feature_tracker.archive.prominent import combined_values, prominent_themes
from feature_tracker.archive.standing_out import measured, ordinary_text, stands_out
from feature_tracker.feature import Feature
from tests.archive.made import made_labels, write_archive

N_LATENTS = {4: 15, 10: 15}


def test_features_that_go_together_over_documents_are_one_theme_with_the_surest_name(tmp_path: Path) -> None:
    planted = [Feature(4, 2), Feature(10, 7)]
    archive = write_archive(
        tmp_path / "made", n_documents=150, n_latents=N_LATENTS, tokens=(100, 200), themes=[planted], spread=0.3
    )
    labels = made_labels(N_LATENTS)
    labels.frame.loc[(10, 7), "f1"], labels.frame.loc[(4, 2), "f1"] = 0.95, 0.6
    ordinary = ordinary_text(archive, labels)
    standing = stands_out(archive, ordinary, np.ones(30, bool), most=8)
    directions = {layer: np.random.default_rng(layer).standard_normal((n, 16)) for layer, n in N_LATENTS.items()}
    themes, values = prominent_themes(archive, standing, ordinary, labels, directions)
    theme = next(theme for theme in themes if Feature(4, 2) in theme.features)
    assert values == pytest.approx(combined_values(archive, ordinary, [theme.features for theme in themes]))
    assert theme.features == [Feature(10, 7), Feature(4, 2)]
    assert theme.name == "thing 7 of layer 10"


def test_features_together_count_as_their_mean_in_its_own_standard_deviations(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "made", n_documents=40, n_latents=N_LATENTS, tokens=(60, 90))
    ordinary = ordinary_text(archive, made_labels(N_LATENTS))
    one, two = Feature(4, 2), Feature(10, 7)
    single = measured(archive, ordinary, [one, two])
    values = combined_values(archive, ordinary, [[one], [one, one], [one, two]])
    assert values[:, 0] == pytest.approx(single[:, 0])
    assert values[:, 1] == pytest.approx(single[:, 0])  # the same twice is no surer than once
    r = max(0.0, np.corrcoef(single.T)[0, 1])
    assert values[:, 2] == pytest.approx(single.sum(axis=1) / np.sqrt(2 + 2 * r))


def test_an_archive_in_which_nothing_stands_out_has_no_themes(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "made", n_documents=5, n_latents=N_LATENTS)
    labels = made_labels(N_LATENTS)
    ordinary = ordinary_text(archive, labels)
    standing = stands_out(archive, ordinary, np.zeros(30, bool))
    assert prominent_themes(archive, standing, ordinary, labels, {}).themes == []
    assert combined_values(archive, ordinary, []).shape == (5, 0)
