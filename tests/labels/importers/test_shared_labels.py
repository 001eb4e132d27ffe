"""The real label files of the Llama-2-7B finance SAEs, read and counted a second time by other means."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from feature_tracker.labels.columns import UNVERIFIED
from feature_tracker.labels.consistency import contradictions
from feature_tracker.labels.csv_files import load_labels, save_labels
from feature_tracker.labels.importers.imported import Evidence
from feature_tracker.labels.importers.merge import Merged, merge_sources
from feature_tracker.labels.importers.sources import find_sources
from feature_tracker.labels.importers.target import Target
from feature_tracker.labels.scores import GOOD, GUESS_UNKNOWN, NO_BETTER, NO_NEGATIVES
from tests.support import SHARED

pytestmark = pytest.mark.shared
TARGET = Target("llama2-7b-finance", dict.fromkeys((4, 10, 16, 22, 28), 400))


@pytest.fixture(scope="module")
def folder() -> Path:
    path = SHARED / "llama2-7b-finance-labels"
    if not path.is_dir():
        pytest.skip(f"no {path}: the real label files lie beside the project")
    return path


@pytest.fixture(scope="module")
def merged(folder: Path) -> Merged:
    return merge_sources(find_sources([folder]).sources, TARGET)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_file_is_read_and_every_row_counted(folder: Path, merged: Merged) -> None:
    expected = {path.name: len(rows_of(path)) for path in folder.glob("*.csv")}
    expected |= {run.name: len(list((run / "explanations").iterdir())) for run in (folder / "delphi").iterdir()}
    assert {tally.name: tally.read for tally in merged.tallies} == expected
    assert sum(tally.rejected.total() for tally in merged.tallies) == 0
    left_out = {path.name for path in find_sources([folder]).left_out}
    assert left_out == {"README.md", "finetuning_impact_results.json"}


def test_as_many_labels_are_cleaned_as_carry_the_dirt(folder: Path, merged: Merged) -> None:
    dirt = ("\\", "\n", "[EXPLANATION]", "This label captures")
    for tally in merged.tallies:
        run = folder / "delphi" / tally.name
        if run.is_dir():
            labels = [json.loads(path.read_text()) for path in (run / "explanations").iterdir()]
        else:
            labels = [row.get("label", row.get("llm_label", "")) for row in rows_of(folder / tally.name)]
        assert tally.cleaned == sum(any(mark in label for mark in dirt) for label in labels), tally.name


def test_every_f1_is_what_the_records_give(folder: Path, merged: Merged) -> None:
    seen = 0
    for path in sorted(folder.glob("delphi/*/scores/detection/*.txt")):
        layer, latent = path.stem.removeprefix("layers.").split("_latent")
        answered = [r for r in json.loads(path.read_text()) if r["prediction"] is not None]
        hits = sum(r["activating"] and r["prediction"] for r in answered)
        precision = hits / sum(r["prediction"] for r in answered)
        recall = hits / sum(r["activating"] for r in answered)
        row = merged.table.frame.xs((int(layer), int(latent)))
        assert row["f1"] == pytest.approx(2 * precision * recall / (precision + recall), abs=1e-9)
        assert row["precision"] == pytest.approx(precision, abs=1e-9)
        assert row["recall"] == pytest.approx(recall, abs=1e-9)
        assert row["n_negative"] == sum(not r["activating"] for r in answered)
        assert row["n_unanswered"] == len(json.loads(path.read_text())) - len(answered)
        seen += 1
    assert seen == 50 == merged.by_evidence[Evidence.RECORDS]


def test_reported_f1_stays_and_most_labels_are_no_better_than_guessing(folder: Path, merged: Merged) -> None:
    frame = merged.table.frame
    rows = {(int(r["layer"]), int(r["feature"])): r for r in rows_of(folder / "results_summary_all_layers.csv")}
    taken = frame[frame["label_source"] == "results_summary_all_layers.csv"]
    for key, row in taken.iterrows():
        assert row["f1"] == float(rows[key]["f1_score"])
    alone = (taken["precision"] == 1) & (taken["accuracy"] == taken["recall"]) & (taken["recall"] < 1)
    assert ((taken["mark"] == NO_NEGATIVES) == alone).all()
    assert dict(frame["mark"].value_counts()) == {NO_BETTER: 1860, NO_NEGATIVES: 105, GOOD: 30, GUESS_UNKNOWN: 5}


def test_reported_specialization_is_finance_minus_general_and_unverified(folder: Path, merged: Merged) -> None:
    frame = merged.table.frame
    reported = [row for path in folder.glob("features_layer*.csv") for row in rows_of(path)]
    for row in reported:
        here = frame.xs((int(row["layer"]), int(row["feature"])))
        assert here["specialization"] == -float(row["specialization"])
        assert here["specialization_source"] == UNVERIFIED
    assert (frame["specialization_source"] == UNVERIFIED).sum() == len(reported) == 50


def test_the_table_is_sound_and_comes_back(merged: Merged, tmp_path: Path) -> None:
    assert contradictions(merged.table) == []
    save_labels(merged.table, tmp_path / "t.csv")
    again = load_labels(tmp_path / "t.csv", TARGET.n_latents)
    assert (again.frame["f1"] == merged.table.frame["f1"]).all()
    assert (again.reliable == merged.table.reliable).all()
    assert again.frame["label"].tolist() == merged.table.frame["label"].tolist()
