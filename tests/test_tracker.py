from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from feature_tracker.bundles.bundle import Bundle, load_bundle
from feature_tracker.errors import TrackerError
from feature_tracker.feature import Feature
from feature_tracker.labels.columns import KEYS, REQUIRED
from feature_tracker.labels.csv_files import open_labels, save_labels
from feature_tracker.labels.table import LabelTable, unlabelled_table
from feature_tracker.model.load import LanguageModel
from feature_tracker.sae.topk import Sae
from feature_tracker.tracker import Tracker

LATENTS = {1: 4, 3: 6}


@pytest.fixture
def bundle(tiny_bundle: Bundle, tmp_path: Path) -> Bundle:
    return replace(tiny_bundle, layers=(1, 3), labels=tmp_path / "t.csv")


def write_table(path: Path, *features: tuple[int, int]) -> None:
    frame = pd.DataFrame(1.0, index=pd.MultiIndex.from_tuples(features, names=KEYS), columns=REQUIRED)
    save_labels(LabelTable(frame.assign(label="Erträge", f1_method="")), path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_table_opens_as_a_spreadsheet_saves_it(bundle: Bundle, encoding: str) -> None:
    write_table(bundle.labels, (1, 3), (3, 5))
    bundle.labels.write_text(bundle.labels.read_text(encoding="utf-8"), encoding=encoding)
    assert open_labels(bundle, LATENTS).name(Feature(3, 5)) == "Erträge"


def test_a_feature_that_only_another_layers_sae_has_is_refused(bundle: Bundle) -> None:
    write_table(bundle.labels, (1, 5))
    with pytest.raises(TrackerError, match="feature must be 0 to 3"):
        open_labels(bundle, LATENTS)


def test_without_a_table_every_feature_is_unlabelled(bundle: Bundle) -> None:
    table = open_labels(bundle, LATENTS)
    assert len(table.frame) == 10
    assert table.name(Feature(3, 5)) == "unlabelled"


def test_another_tools_file_or_folder_is_refused_with_the_command_that_imports_it(
    bundle: Bundle, tmp_path: Path
) -> None:
    bundle.labels.write_text("layer,feature,label,f1_score\n1,0,Oil,0.5\n")
    with pytest.raises(TrackerError, match=r"column .* is missing\. .* import it: feature-tracker labels import"):
        open_labels(bundle, LATENTS)
    with pytest.raises(TrackerError, match=r"is a folder, .* import it: feature-tracker labels import"):
        open_labels(replace(bundle, labels=tmp_path), LATENTS)


def test_a_table_that_lacks_a_column_is_told_which(bundle: Bundle) -> None:
    write_table(bundle.labels, (1, 3))
    pd.read_csv(bundle.labels).drop(columns="q99").to_csv(bundle.labels, index=False)
    with pytest.raises(TrackerError, match="column q99 is missing"):
        open_labels(bundle, LATENTS)


def test_labels_of_another_bundle_are_refused(bundle: Bundle) -> None:
    write_table(bundle.labels, (1, 3))
    pd.read_csv(bundle.labels).assign(bundle="theirs").to_csv(bundle.labels, index=False)
    with pytest.raises(TrackerError, match="labels of bundle theirs, not of tiny"):
        open_labels(bundle, LATENTS)


def test_chosen_layers_open_a_table_of_all_layers(bundle: Bundle) -> None:
    write_table(bundle.labels, (1, 3), (3, 5))
    chosen = replace(bundle, layers=(3,), layers_chosen=True)
    assert open_labels(chosen, {3: LATENTS[3]}).frame.index.tolist() == [(3, 5)]


@pytest.mark.parametrize("raw", [b"", b"\x1f\x8b\xff", "layer,feature,label\n1,0,Erträge\n".encode("latin-1")])
def test_what_is_no_text_is_refused(bundle: Bundle, raw: bytes) -> None:
    bundle.labels.write_bytes(raw)
    with pytest.raises(TrackerError, match="is not a CSV table in UTF-8"):
        open_labels(bundle, LATENTS)


def test_a_float32_model_is_not_copied(tiny_tracker: Tracker) -> None:
    assert tiny_tracker.exact_model() is tiny_tracker.language_model


@pytest.mark.model
def test_the_built_in_model_traces_circuits_in_float32(
    builtin_model: LanguageModel, builtin_saes: dict[int, Sae]
) -> None:
    tracker = Tracker(load_bundle(), builtin_model, builtin_saes, unlabelled_table(dict.fromkeys(builtin_saes, 400)))
    exact = tracker.exact_model()
    assert exact.model.dtype.itemsize == 4
    assert tracker.exact_model() is exact


def test_a_large_half_precision_model_is_not_copied(tiny_tracker: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    half = copy.deepcopy(tiny_tracker.language_model.model).to(torch.bfloat16)
    tracker = replace(tiny_tracker, language_model=replace(tiny_tracker.language_model, model=half))
    monkeypatch.setattr("feature_tracker.tracker._LARGEST_COPY", 1000)
    assert tracker.exact_model() is tracker.language_model
