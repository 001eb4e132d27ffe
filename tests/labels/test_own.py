from __future__ import annotations

import math
import threading
from pathlib import Path

import pandas as pd
import pytest

from feature_tracker.bundles.bundle import Bundle
from feature_tracker.errors import TrackerError
from feature_tracker.feature import Feature
from feature_tracker.labels.own import load_own_labels, own_labels_path, save_own_label, with_own_labels
from tests.support import tiny_labels

SAES = "0123456789ab"
FEATURE = Feature(3, 5)


@pytest.mark.parametrize("label", ["Rate rises", "=1+1", "<b>no tag</b>", 'a "quoted", label', "007", "NA", "Zölle"])
def test_a_label_is_read_as_it_was_written(tmp_path: Path, label: str) -> None:
    path = tmp_path / "new" / "tiny.own.csv"
    save_own_label(path, SAES, FEATURE, label)
    save_own_label(path, SAES, Feature(3, 6), "other")
    assert load_own_labels(path, SAES) == {FEATURE: label, Feature(3, 6): "other"}


def test_an_empty_label_gives_the_old_one_back_and_leaves_the_others(tmp_path: Path) -> None:
    path = tmp_path / "tiny.own.csv"
    for label in ("first", "second", " \n "):
        save_own_label(path, SAES, FEATURE, label)
        save_own_label(path, SAES, Feature(3, 6), "other")
    assert load_own_labels(path, SAES) == {Feature(3, 6): "other"}


def test_labels_of_other_weights_do_not_apply_and_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "tiny.own.csv"
    save_own_label(path, SAES, FEATURE, "old weights")
    save_own_label(path, "ba9876543210", FEATURE, "new weights")
    assert load_own_labels(path, "ba9876543210") == {FEATURE: "new weights"}
    assert load_own_labels(path, SAES) == {FEATURE: "old weights"}
    assert load_own_labels(path, "") == {}


def test_sessions_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "tiny.own.csv"
    threads = [
        threading.Thread(target=save_own_label, args=(path, SAES, Feature(3, index), f"label {index}"))
        for index in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(load_own_labels(path, SAES)) == 12


@pytest.mark.parametrize("content", ["", "layer,feature\n1,2\n", "saes,layer,feature,label\nx,one,2,y\n", "\x00\xff"])
def test_a_file_that_is_no_table_of_labels_is_refused_and_stays(tmp_path: Path, content: str) -> None:
    path = tmp_path / "tiny.own.csv"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(TrackerError, match="your own labels"):
        load_own_labels(path, SAES)
    with pytest.raises(TrackerError, match="your own labels"):
        save_own_label(path, SAES, FEATURE, "new")
    assert path.read_text(encoding="latin-1") == content


def test_a_label_has_a_length(tmp_path: Path) -> None:
    with pytest.raises(TrackerError, match="at most 100 characters; this one has 3,000"):
        save_own_label(tmp_path / "own.csv", SAES, FEATURE, "x" * 3000)


def test_own_labels_have_no_score_and_are_relied_on(tiny_bundle: Bundle) -> None:
    table = tiny_labels(tiny_bundle, 40)
    scored = next(Feature(*key) for key in table.frame.index if table.reliable[key])
    own = with_own_labels(table, {scored: "mine", Feature(3, 10**6): "of no feature"})
    row = own.describe(pd.MultiIndex.from_tuples([tuple(scored)])).iloc[0]
    assert (row["label"], bool(row["reliable"])) == ("mine", True)
    assert math.isnan(row["f1"])
    assert own.replaced == {scored: table.name(scored)}
    assert len(own.frame) == len(table.frame)
    assert table.name(scored) != "mine"


def test_the_file_lies_with_the_users_own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert own_labels_path("tiny").parent == tmp_path / "feature-activation-tracker" / "labels"
