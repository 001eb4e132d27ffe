from __future__ import annotations

import csv
import gzip
import json
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from feature_tracker.bundles.bundle import PretrainedModel, load_bundle
from feature_tracker.bundles.model_names import is_named, model_names
from feature_tracker.cli.labels import main
from feature_tracker.errors import TrackerError
from feature_tracker.feature import Feature
from feature_tracker.labels.columns import REPORTED, UNVERIFIED
from feature_tracker.labels.consistency import contradictions
from feature_tracker.labels.csv_files import load_labels, save_labels
from feature_tracker.labels.importers.merge import Merged, merge_sources
from feature_tracker.labels.importers.report import import_report
from feature_tracker.labels.importers.sources import find_sources
from feature_tracker.labels.importers.target import Target
from feature_tracker.labels.scores import GOOD, GUESS_UNKNOWN, NO_BETTER, NO_NEGATIVES, NOT_SCORED

TARGET = Target("tiny", {1: 10, 3: 10})


def merge(*paths: Path) -> Merged:
    return merge_sources(find_sources(paths).sources, TARGET)


def records(tp: int, fp: int, fn: int, tn: int, unanswered: int = 0) -> list[dict[str, Any]]:
    kinds = [(True, True)] * tp + [(False, True)] * fp + [(True, False)] * fn + [(False, False)] * tn
    kinds += [(True, None)] * unanswered
    return [
        {"str_tokens": ["a"], "activations": [1.0], "distance": 1, "activating": activating, "prediction": prediction,
         "probability": None, "correct": None if prediction is None else prediction == activating}
        for activating, prediction in kinds
    ]  # fmt: skip


def delphi_run(folder: Path, features: dict[str, tuple[Any, Any]]) -> Path:
    """A run; of each name an explanation and records, either left out where None, written raw where text in bytes."""
    for part, place in (("explanations", 0), ("scores/detection", 1)):
        (folder / part).mkdir(parents=True)
        for name, values in features.items():
            if values[place] is not None:
                raw = values[place] if isinstance(values[place], bytes) else json.dumps(values[place]).encode()
                (folder / part / f"{name}.txt").write_bytes(raw)
    return folder


def write_csv(path: Path, *rows: list[Any]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


F1 = ["layer", "feature", "label", "f1_score"]
RATES = [*F1, "accuracy", "precision", "recall"]
SPECIAL = ["layer", "feature", "llm_label", "domain_activation", "general_activation", "specialization", "x_conf"]


def test_a_delphi_run_is_scored_from_its_records_without_the_unanswered(tmp_path: Path) -> None:
    run = delphi_run(
        tmp_path / "run",
        {
            "layers.1_latent0": ("Oil.\n\nExample 2: [EXPLANATION]: Ships.", records(40, 3, 10, 12, unanswered=5)),
            "layers.1_latent2": ("Loans.", records(40, 0, 10, 0)),
            "layers.3_latent1": ("Bonds.", records(0, 0, 0, 0, unanswered=9)),
            "layers.3_latent2": ("Years.", None),
            "layers.3_latent3": (None, records(1, 1, 1, 1)),
            "layers.3_latent4": (b"{", records(1, 1, 1, 1)),
            "layers.3_latent5": ("Cut.", b'[{"activating": tr'),
            "layers.3_latent6": ("Maybe.", [{"activating": True, "prediction": "maybe"}]),
            "layers.3_latent8": ("Simulated.", [{"activating": True, "score": 0.5}]),
            "layers.3.mlp_latent7": ("Elsewhere.", records(1, 1, 1, 1)),
        },
    )
    merged = merge(run)
    rows = merged.table.frame
    assert rows.loc[(1, 0), "f1"] == pytest.approx(80 / 93, abs=1e-12)
    assert rows.loc[(1, 0), ["n_positive", "n_negative", "n_unanswered"]].tolist() == [50, 15, 5]
    assert rows.loc[(1, 0), "label"] == "Oil."
    assert rows.loc[(1, 0), "original_label"] == "Oil.\n\nExample 2: [EXPLANATION]: Ships."
    assert rows.loc[(1, 0), "f1_method"] == "detection"
    assert rows["mark"].tolist() == [NO_BETTER, NO_NEGATIVES, NOT_SCORED, NOT_SCORED]
    tally = merged.tallies[0]
    assert (tally.read, tally.cleaned, tally.rejected.total()) == (10, 1, 6)
    report = import_report(merged, TARGET, [])
    assert "scores without an explanation: 1\n  run/scores/detection/layers.3_latent3.txt" in report
    assert (
        "record 1 must say `activating` true or false, `prediction` true, false or null: 2\n"
        "  run/scores/detection/layers.3_latent6.txt\n  run/scores/detection/layers.3_latent8.txt" in report
    )
    assert "no answer to 14 questions about 2 features" in report


def test_an_older_run_says_feature_and_minus_one_for_no_answer(tmp_path: Path) -> None:
    old = [{"ground_truth": r["activating"], "prediction": r["prediction"]} for r in records(3, 1, 1, 3)]
    failed = [{"ground_truth": True, "prediction": -1}, {"ground_truth": False, "prediction": -1}]
    run = delphi_run(tmp_path / "run", {".model.layers.1_feature4": ("Oil.", old + failed)})
    row = merge(run).table.frame.xs((1, 4))
    assert row[["f1", "n_positive", "n_negative", "n_unanswered"]].tolist() == [0.75, 4, 4, 2]


@pytest.mark.parametrize(
    "failure", ["Explanation could not be parsed.", "No explanation found", "", "I'm sorry, but I can't help.", "None"]
)
def test_a_failure_to_explain_is_no_label_however_well_it_was_judged(tmp_path: Path, failure: str) -> None:
    good = records(9, 1, 1, 9)
    merged = merge(
        delphi_run(tmp_path / "run", {"layers.1_latent0": (failure, good), "layers.1_latent1": ("Oil", good)})
    )
    assert list(merged.table.frame.index) == [(1, 1)]
    assert merged.tallies[0].rejected.total() == 1


@pytest.mark.parametrize(
    ("ran", "chosen"),
    [
        (("embedding", "fuzz"), "fuzz"),
        (("detection", "fuzz"), "fuzz"),
        (("detection", "a-scorer"), "detection"),
        (("embedding", "b-scorer", "a-scorer"), "a-scorer"),
        (("embedding",), ""),
        (("fuzz-empty", "detection"), "detection"),
    ],
)
def test_the_scorer_whose_f1_counts_is_chosen_in_a_stated_order(
    tmp_path: Path, ran: tuple[str, ...], chosen: str
) -> None:
    run = tmp_path / "run"
    (run / "explanations").mkdir(parents=True)
    (run / "explanations" / "layers.1_latent0.txt").write_text('"Oil"')
    for name in ran:
        (run / "scores" / name.removesuffix("-empty")).mkdir(parents=True)
        scores = [{"text": "a", "similarity": 0.5}] if name == "embedding" else records(9, 1, 1, 9)
        if not name.endswith("-empty"):
            (run / "scores" / name / "layers.1_latent0.txt").write_text(json.dumps(scores))
    merged = merge(run)
    assert merged.table.frame.loc[(1, 0), "f1_method"] == chosen
    said = f"F1 is that of {chosen}" if chosen else "no scores but those of embedding, which have no yes or no"
    assert said in import_report(merged, TARGET, [])


def test_a_file_of_a_layer_that_the_run_did_not_explain_is_refused(tmp_path: Path) -> None:
    run = delphi_run(tmp_path / "run", {"layers.1_latent0": ("Oil.", None), "layers.3_latent0": ("Gas.", None)})
    (run / "run_config.json").write_text(json.dumps({"hookpoints": ["model.layers.1", "layers.3"]}))
    assert len(merge(run).table.frame) == 2
    (run / "run_config.json").write_text(json.dumps({"hookpoints": ["layers.1"]}))
    with pytest.raises(
        TrackerError, match=r"is about layers.3, but the run's run_config.json has the hookpoints layers.1"
    ):
        merge(run)


@pytest.mark.parametrize("hookpoint", ["layers.1.mlp", "vision_tower.layers.1", "blocks.1.hook_resid_mid"])
def test_a_delphi_run_of_another_stream_is_rejected(tmp_path: Path, hookpoint: str) -> None:
    run = delphi_run(tmp_path / "run", {f"{hookpoint}_latent0": ("Oil.", None), "layers.1_latent1": ("Gas.", None)})
    assert list(merge(run).table.frame.index) == [(1, 1)]


def test_csv_rows_are_rejected_with_line_and_reason(tmp_path: Path) -> None:
    path = write_csv(
        tmp_path / "a.csv",
        F1,
        [1, 0, "Two\nlines", 0.5],
        [1, 1, "Fine", 0.6],
        [1, 1, "Again", 0.9],
        [1, 2, "High", 1.5],
        [1, 3, "Word", "good"],
        ["one", 4, "No layer", 0.5],
        [1, 5, " ", 0.5],
        [1, 6, "short row"],
        [1, 7, "No score", ""],
    )
    merged = merge(path)
    tally = merged.tallies[0]
    assert (tally.read, tally.rejected.total(), len(merged.table.frame)) == (9, 6, 3)
    report = import_report(merged, TARGET, [])
    # The first row takes two lines of the file.
    assert "a.csv, line 5, first in a.csv, line 4" in report
    assert "f1_score must be a number between 0 and 1: 2\n  a.csv, line 6, found '1.5'\n  a.csv, line 7" in report
    assert "a.csv, line 9, found ' '" in report
    assert merged.table.frame["mark"].tolist() == [GUESS_UNKNOWN, GUESS_UNKNOWN, NOT_SCORED]
    assert not merged.table.reliable.any()


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ('1,1,"Oil,0.5\n1,2,Gas,0.5\n1,3,"Coal, wood",0.5\n', "line 3: not a row of CSV .* Is a quote left open"),
        ('1,1,"Oil,0.5\n1,2,Gas,0.5\n', "line 3: not a row of CSV .* Is a quote left open"),
        ('1,1,"Oil,0.5\n1,2,Gas,0.5\n1,3,Coal"\n', "line 3: the row goes on to line 5 and has 3 cells instead of 4"),
        (
            '1,1,"Oil,0.5\n1,2,Gas,0.5\n1,3,Coal of 5",0.5\n',
            "line 3: the row goes on to line 5 and holds what begins like another",
        ),
    ],
)
def test_a_quote_left_open_swallows_no_rows(tmp_path: Path, rows: str, said: str) -> None:
    (tmp_path / "a.csv").write_text("layer,feature,label,f1_score\n1,0,Wind,0.5\n" + rows)
    with pytest.raises(TrackerError, match=rf"a\.csv, {said}"):
        merge(tmp_path / "a.csv")


def test_a_label_may_have_a_line_that_begins_with_a_large_number(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", F1, [1, 0, "Amounts such as\n1,000,000 dollars", 0.5])
    assert len(merge(path).table.frame) == 1


def test_an_f1_is_judged_by_what_guessing_scores_on_its_own_sample(tmp_path: Path) -> None:
    path = write_csv(
        tmp_path / "a.csv",
        RATES,
        [1, 0, "Guess", 0.769, 0.625, 0.625, 1.0],
        [1, 1, "Better", 0.8, 0.75, 0.8, 0.8],
        [1, 2, "Positives alone", 0.889, 0.8, 1.0, 0.8],
    )
    table = merge(path).table
    assert table.frame["mark"].tolist() == [NO_BETTER, GOOD, NO_NEGATIVES]
    assert table.reliable.tolist() == [False, True, False]
    assert table.f1_always_yes.tolist() == pytest.approx([10 / 13, 10 / 13, 1.0])
    assert table.frame.loc[(1, 1), "balanced_accuracy"] == pytest.approx((0.8 + 2 / 3) / 2)


def test_records_come_before_reported_numbers_and_files_in_order(tmp_path: Path) -> None:
    run = delphi_run(tmp_path / "run", {"layers.1_latent0": ("Records", records(9, 1, 1, 9))})
    full = write_csv(
        tmp_path / "full.csv", RATES, [1, 0, "Rates", 0.8, 0.75, 0.8, 0.8], [1, 1, "Rates", 0.1, 0.75, 0.8, 0.8]
    )
    alone = write_csv(tmp_path / "alone.csv", F1, [1, 1, "Alone", 0.9], [1, 2, "First", 0.2])
    later = write_csv(tmp_path / "later.csv", F1, [1, 2, "Second", 0.9])
    merged = merge(later, alone, full, run)
    assert merged.table.frame["label"].tolist() == ["Records", "Rates", "Second"]
    assert merged.n_in_several_files == 3
    assert merge(alone, later).table.frame.loc[(1, 2), "label"] == "First"


def test_specialization_is_turned_and_marked_where_it_is_no_mean_of_activations(tmp_path: Path) -> None:
    turned = write_csv(
        tmp_path / "turned.csv", SPECIAL, [1, 0, "Oil", 3.0, 5.0, 2.0, 9], [1, 1, "Rates", 1.0, 4.0, 3.0, 9]
    )
    hidden = write_csv(
        tmp_path / "hidden.csv", SPECIAL, [1, 2, "Oil", 5.0, 3.0, 2.0, 9], [1, 3, "Rates", 1.0, 4.0, 5.0, 9]
    )
    negative = write_csv(tmp_path / "negative.csv", SPECIAL, [1, 4, "Oil", -0.5, 3.0, -3.5, 9])
    sound = write_csv(tmp_path / "sound.csv", SPECIAL, [1, 5, "Oil", 3.0, 1.0, 2.0, 9])
    merged = merge(turned, hidden, negative, sound)
    rows = merged.table.frame
    assert rows["specialization"].tolist() == [-2.0, -3.0, 2.0, 5.0, -3.5, 2.0]
    assert rows["specialization_source"].tolist() == [UNVERIFIED] * 5 + [REPORTED]
    assert rows["specialization_index"].tolist()[-1] == 0.5
    assert rows["specialization_index"].isna().tolist() == [True] * 5 + [False]
    report = import_report(merged, TARGET, [])
    assert "turned.csv: specialization is general minus finance in 2 of 2 rows" in report
    assert "hidden.csv: specialization follows from the means in 1 of 2 rows only if one of them was negative" in report
    assert "negative.csv: a mean activation is negative in 1 of 1 rows" in report
    assert not contradictions(merged.table)


@pytest.mark.parametrize("more", [{"ground_truth": False}, {"correct": False}])
def test_delphi_records_that_contradict_themselves_are_rejected(tmp_path: Path, more: dict[str, bool]) -> None:
    doubtful = [{"activating": True, "prediction": True} | more]
    sound = [*records(4, 1, 1, 4), {"ground_truth": True, "prediction": -1, "correct": False}]
    run = delphi_run(tmp_path / "run", {"layers.1_latent0": ("Oil", doubtful), "layers.1_latent1": ("Gas", sound)})
    merged = merge(run)
    assert merged.table.frame["label"].tolist() == ["Gas"]
    assert "contradicts itself" in import_report(merged, TARGET, [])


def test_neuronpedias_bucket_is_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "v1" / "m" / "1-res-x" / "explanations" / "batch-0.jsonl.gz"
    path.parent.mkdir(parents=True)
    line = {"modelId": "m", "layer": "1-res-x", "index": "4", "description": "oil"}
    path.write_bytes(gzip.compress(json.dumps(line).encode()))
    assert merge(tmp_path / "v1").table.frame["label"].tolist() == ["oil"]


@pytest.mark.parametrize("zipped", [False, True])
def test_a_neuronpedia_export_is_read(tmp_path: Path, zipped: bool) -> None:
    lines = [
        {"modelId": "m", "layer": "1-res-x", "index": "4", "description": " oil  prices", "embedding": [0.1]},
        {"modelId": "m", "layer": "1-res-x", "index": "4", "description": "second"},
        {"modelId": "m", "layer": "3-mlp-x", "index": "5", "description": "elsewhere"},
        {"modelId": "m", "layer": "3-res-x", "index": "5", "description": None},
        {"modelId": "m", "layer": "3-res-x", "index": "6", "description": "loans"},
    ]
    text = "\n".join(json.dumps(line) for line in lines) + "\n{broken\n"
    path = tmp_path / ("batch-0.jsonl.gz" if zipped else "batch-0.jsonl")
    path.write_bytes(gzip.compress(text.encode()) if zipped else text.encode())
    merged = merge(path)
    assert merged.table.frame["label"].to_dict() == {(1, 4): "oil prices", (3, 6): "loans"}
    assert (merged.tallies[0].read, merged.tallies[0].rejected.total()) == (6, 4)
    assert set(merged.table.frame["mark"]) == {NOT_SCORED}


NAMED = TARGET._replace(models=("owner/Llama-tiny", "tiny"))


@pytest.mark.parametrize(("model", "taken"), [("LLAMA_tiny", True), ("/models/llama-tiny/", True), ("gpt2", False)])
def test_labels_of_another_model_are_refused_with_both_names(tmp_path: Path, model: str, taken: bool) -> None:
    run = delphi_run(tmp_path / "run", {"layers.1_latent0": ("Oil.", None)})
    (run / "run_config.json").write_text(json.dumps({"model": model}))
    export = tmp_path / "a.jsonl"
    export.write_text(json.dumps({"modelId": model, "layer": "1-res-x", "index": "4", "description": "oil"}))
    for path in (run, export):
        sources = find_sources([path]).sources
        assert len(merge_sources(sources, TARGET).table.frame) == 1
        if taken:
            assert merge_sources(sources, NAMED).table.bundles == ["tiny"]
            continue
        with pytest.raises(TrackerError, match="of model gpt2, but the model of bundle tiny is owner/Llama-tiny"):
            merge_sources(sources, NAMED)


def test_the_command_accepts_other_models_by_name_alone(tmp_path: Path) -> None:
    exports = []
    for index, model in enumerate(("my-tune", "gpt2-small", "stranger")):
        exports.append(tmp_path / f"{index}.jsonl")
        line = {"modelId": model, "layer": "4-res-x", "index": str(index), "description": "oil"}
        exports[-1].write_text(json.dumps(line))
    command = ["import", "--bundle", "smollm2-135m", "--latents", "400", "--out", str(tmp_path / "t.csv")]
    accept = ["--accept-model", "my-tune", "--accept-model", "GPT2_small"]
    done = CliRunner().invoke(main, [*command, *accept, *map(str, exports[:2])])
    assert "2 of 2,000 features" in done.output, done.output
    refused = CliRunner().invoke(main, [*command, "--replace", *accept, *map(str, exports)])
    assert "of model stranger" in refused.output and "--accept-model 'stranger'" in refused.output
    assert "No such option" in CliRunner().invoke(main, [*command, "--any-model", str(exports[0])]).output


def test_a_bundles_model_goes_by_hub_id_folder_and_bundle_name(tmp_path: Path) -> None:
    own = load_bundle("llama2-7b-finance")
    assert is_named("cxllin/Llama2-7b-Finance", model_names(own))
    cached = tmp_path / "models--owner--Tiny-1b" / "snapshots" / "0f3a"
    assert is_named(r"C:\models\Llama2-7b-Finance", model_names(own))
    assert is_named("/cache/models--cxllin--Llama2-7b-Finance/snapshots/abc123", model_names(own))
    assert not is_named("/models/Llama2-7b-Finance/another", model_names(own))
    assert is_named("owner/tiny-1b", model_names(replace(own, model=PretrainedModel(folder=cached))))
    for name in ("HuggingFaceTB/SmolLM2-135M-Instruct", "smollm2-135m"):
        assert is_named(name, model_names(load_bundle()))
        assert not is_named(name, model_names(own))


def test_layers_that_are_not_chosen_are_left_out_and_counted(tmp_path: Path) -> None:
    run = delphi_run(tmp_path / "run", {"layers.1_latent0": ("Oil.", None), "layers.7_latent0": ("Gas.", None)})
    path = write_csv(tmp_path / "a.csv", F1, [1, 1, "Fine", 0.5], [2, 700, "Other", 0.5], [2, 1, "Other", 0.5])
    export = tmp_path / "a.jsonl"
    export.write_text(json.dumps({"modelId": "m", "layer": "9-res-x", "index": "4", "description": "oil"}))
    chosen = TARGET._replace(layers_chosen=True)
    merged = merge_sources(find_sources([run, path, export]).sources, chosen)
    assert [tally.left_out for tally in merged.tallies] == [1, 2, 1]
    assert len(merged.table.frame) == 2
    assert "a.csv: 2 of layers that are not chosen were left out." in import_report(merged, chosen, [])
    with pytest.raises(TrackerError, match=r"No label is left to import.*1 are of layers that are not chosen"):
        merge_sources(find_sources([export]).sources, chosen)


@pytest.mark.slow
def test_a_csv_file_of_any_length_takes_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    with path.open("w", encoding="utf-8") as file:
        file.write(",".join(F1) + "\n")
        file.writelines(f'1,{i % 12},"A label of some words, {i}",0.5\n' for i in range(200_000))
    target = TARGET._replace(n_latents={1: 12})
    tracemalloc.start()
    merged = merge_sources(find_sources([path]).sources, target)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (merged.tallies[0].read, len(merged.table.frame)) == (200_000, 12)
    assert peak < 2e6  # the file has 8 MB


def test_two_saes_of_one_layer_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    line = {"modelId": "m", "index": "4", "description": "x"}
    path.write_text("\n".join(json.dumps(line | {"layer": layer}) for layer in ("1-res-x", "1-res-y")))
    with pytest.raises(TrackerError, match="different SAEs of layer 1"):
        merge(path)


@pytest.mark.parametrize(("layer", "index"), [(2, 0), (1, 10), (1, -1)])
def test_labels_of_another_bundle_are_refused_with_the_line(tmp_path: Path, layer: int, index: int) -> None:
    path = write_csv(tmp_path / "a.csv", F1, [1, 0, "Fine", 0.5], [layer, index, "Other", 0.5])
    with pytest.raises(TrackerError, match=rf"a.csv, line 3 labels L{layer}/F{index}, which bundle tiny doesn't have"):
        merge(path)


def test_unknown_files_are_refused_by_name_and_left_out_of_folders(tmp_path: Path) -> None:
    (tmp_path / "labels.pkl").write_bytes(b"\x80\x04K\x01.")
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(TrackerError, match=r"labels.pkl is in no format known here"):
        find_sources([tmp_path / "labels.pkl"])
    (tmp_path / "deep.jsonl").write_text("[" * 100_000)
    with pytest.raises(TrackerError, match=r"deep.jsonl is in no format known here"):
        find_sources([tmp_path / "deep.jsonl"])
    (tmp_path / "deep.jsonl").unlink()
    with pytest.raises(TrackerError, match="No labels in"):
        find_sources([tmp_path])
    with pytest.raises(TrackerError, match="does not exist"):
        find_sources([tmp_path / "none"])
    write_csv(tmp_path / "b.csv", F1, [1, 0, "Fine", 0.5])
    found = find_sources([tmp_path, tmp_path / "b.csv"])
    assert [source.path.name for source in found.sources] == ["b.csv"]
    assert [path.name for path in found.left_out] == ["a.json", "labels.pkl"]


def test_a_file_that_is_no_csv_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b'layer,feature,label,f1_score\n1,0,"x' + b"y" * 200_000)
    with pytest.raises(TrackerError, match=r"a.csv"):
        merge(tmp_path / "a.csv")


def test_an_imported_table_comes_back_to_the_last_digit_and_formulas_stay_letters(tmp_path: Path) -> None:
    run = delphi_run(tmp_path / "run", {"layers.1_latent0": ("=HYPERLINK(1)", records(7, 3, 4, 6, unanswered=1))})
    table = merge(run).table
    save_labels(table, tmp_path / "t.csv")
    assert ",'=HYPERLINK(1)," in (tmp_path / "t.csv").read_text()
    again = load_labels(tmp_path / "t.csv", TARGET.n_latents)
    assert again.name(Feature(1, 0)) == "=HYPERLINK(1)"
    for name in ("f1", "precision", "recall", "balanced_accuracy", "accuracy", "f1_always_yes"):
        assert again.frame[name].tolist() == table.frame[name].tolist()
    assert np.isnan(again.frame.loc[(1, 0), "density"])
    assert not again.has_quantiles


def test_the_command_imports_checks_and_never_overwrites_unasked(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", RATES, [4, 0, "Better", 0.8, 0.75, 0.8, 0.8])
    out = tmp_path / "t.csv"
    command = ["import", str(path), "--bundle", "smollm2-135m", "--latents", "400"]
    done = CliRunner().invoke(main, [*command, "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "1 of 2,000 features" in done.output
    assert "already exists" in CliRunner().invoke(main, [*command, "--out", str(out)]).output
    refused = CliRunner().invoke(main, [*command, "--out", str(path), "--replace"])
    assert "one of the files to import" in refused.output
    check = ["check", str(out), "--bundle", "smollm2-135m", "--latents", "400"]
    assert "No contradictions" in CliRunner().invoke(main, check).output
    pd.read_csv(out, dtype=str).assign(f1="0.5").to_csv(out, index=False)
    wrong = CliRunner().invoke(main, check)
    assert wrong.exit_code == 1
    assert "L4/F0: f1 is not the harmonic mean" in wrong.output
    out.write_text("layer,feature\n4,0\n")
    assert CliRunner().invoke(main, check).exit_code == 1
