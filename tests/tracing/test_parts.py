from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from feature_tracker.bundles.bundle import Bundle
from feature_tracker.errors import TrackerError
from feature_tracker.feature import Feature
from feature_tracker.labels.columns import KEYS, REQUIRED
from feature_tracker.labels.csv_files import save_labels
from feature_tracker.labels.table import LabelTable
from feature_tracker.tracker import open_labels
from tests.conftest import random_sae

SAES = {1: random_sae(8, n_latents=4), 3: random_sae(8, n_latents=6)}


@pytest.fixture
def bundle(tiny_bundle: Bundle, tmp_path: Path) -> Bundle:
    return replace(tiny_bundle, layers=(1, 3), labels=tmp_path / "t.csv")


def write_table(path: Path, *features: tuple[int, int]) -> None:
    frame = pd.DataFrame(1.0, index=pd.MultiIndex.from_tuples(features, names=KEYS), columns=REQUIRED)
    save_labels(LabelTable(frame.assign(label="Erträge", f1_method="", rule="")), path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_table_opens_as_a_spreadsheet_saves_it(bundle: Bundle, encoding: str) -> None:
    write_table(bundle.labels, (1, 3), (3, 5))
    bundle.labels.write_text(bundle.labels.read_text(encoding="utf-8"), encoding=encoding)
    assert open_labels(bundle, SAES).name(Feature(3, 5)) == "Erträge"


def test_a_feature_that_only_another_layers_sae_has_is_refused(bundle: Bundle) -> None:
    write_table(bundle.labels, (1, 5))
    with pytest.raises(TrackerError, match="feature must be 0 to 3"):
        open_labels(bundle, SAES)


def test_without_a_table_every_feature_is_unlabelled(bundle: Bundle) -> None:
    table = open_labels(bundle, SAES)
    assert len(table.frame) == 10
    assert table.name(Feature(3, 5)) == "unlabelled"


def test_another_tools_file_or_folder_is_refused_with_the_command_that_imports_it(
    bundle: Bundle, tmp_path: Path
) -> None:
    bundle.labels.write_text("layer,feature,label,f1_score\n1,0,Oil,0.5\n")
    with pytest.raises(TrackerError, match=r"but a CSV of labels and F1\. Import it: feature-tracker labels import"):
        open_labels(bundle, SAES)
    with pytest.raises(TrackerError, match=r"a folder\. Import it: feature-tracker"):
        open_labels(replace(bundle, labels=tmp_path), SAES)


def test_a_table_that_lacks_a_column_is_told_which(bundle: Bundle) -> None:
    write_table(bundle.labels, (1, 3))
    pd.read_csv(bundle.labels).drop(columns="q99").to_csv(bundle.labels, index=False)
    with pytest.raises(TrackerError, match="column q99 is missing"):
        open_labels(bundle, SAES)


def test_labels_of_another_bundle_are_refused(bundle: Bundle) -> None:
    write_table(bundle.labels, (1, 3))
    pd.read_csv(bundle.labels).assign(bundle="theirs").to_csv(bundle.labels, index=False)
    with pytest.raises(TrackerError, match="labels of bundle theirs, not of tiny"):
        open_labels(bundle, SAES)


def test_chosen_layers_open_a_table_of_all_layers(bundle: Bundle) -> None:
    write_table(bundle.labels, (1, 3), (3, 5))
    chosen = replace(bundle, layers=(3,), layers_chosen=True)
    assert open_labels(chosen, {3: SAES[3]}).frame.index.tolist() == [(3, 5)]


@pytest.mark.parametrize("raw", [b"", b"\x1f\x8b\xff", "layer,feature,label\n1,0,Erträge\n".encode("latin-1")])
def test_what_is_no_text_is_refused(bundle: Bundle, raw: bytes) -> None:
    bundle.labels.write_bytes(raw)
    with pytest.raises(TrackerError, match="is not a CSV table in UTF-8"):
        open_labels(bundle, SAES)
