from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from feature_tracker.bundles.bundle import BUNDLES, Bundle, load_bundle
from feature_tracker.errors import TrackerError
from feature_tracker.feature import ALWAYS_ON, SLOW, Feature
from feature_tracker.labels.checks import check_bundle
from feature_tracker.labels.columns import KINDS, REQUIRED
from feature_tracker.labels.consistency import contradictions
from feature_tracker.labels.csv_files import load_labels, replace_table, save_labels
from feature_tracker.labels.report import report_table
from feature_tracker.labels.scores import JUDGED
from feature_tracker.labels.table import LabelTable

LAYERS, N_LATENTS = (1, 3), 4


def frame_of() -> pd.DataFrame:
    index = pd.MultiIndex.from_product([LAYERS, range(N_LATENTS)], names=["layer", "feature"])
    frame = pd.DataFrame(dict.fromkeys(REQUIRED, 0.5), index=index)
    texts = {"label": [f"label {layer}/{feature}" for layer, feature in index], "f1_method": "detection"}
    counts = dict.fromkeys(["n_positive", "n_negative", "finance_tokens", "general_tokens"], 10)
    return frame.assign(**texts, **counts)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save_labels(LabelTable(frame_of()), tmp_path / "labels.csv")
    return tmp_path / "labels.csv"


def load(path: Path) -> LabelTable:
    return load_labels(path, dict.fromkeys(LAYERS, N_LATENTS))


def rewrite(path: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    change(pd.read_csv(path)).to_csv(path, index=False)


def test_a_saved_table_comes_back(path: Path) -> None:
    pd.testing.assert_frame_equal(load(path).frame, frame_of()[REQUIRED], check_dtype=False)


def test_rows_are_joined_by_layer_and_index_and_never_by_row_order(path: Path) -> None:
    rewrite(path, lambda frame: frame.sample(frac=1, random_state=0))
    table = load(path)
    for layer in LAYERS:
        for index in range(N_LATENTS):
            assert table.name(Feature(layer, index)) == f"label {layer}/{index}"


def test_a_feature_without_a_row_is_unlabelled(path: Path) -> None:
    rewrite(path, lambda frame: frame.iloc[1:])
    table = load(path)
    row = table.describe(pd.MultiIndex.from_tuples([(1, 0)])).iloc[0]
    assert row["label"] == table.name(Feature(1, 0)) == "unlabelled"
    assert row["mark"] == "not scored"
    assert np.isnan(row["f1"])
    assert not table.is_reliable(Feature(1, 0))


def test_a_column_that_no_table_has_any_more_is_passed_over(path: Path) -> None:
    rewrite(path, lambda frame: frame.assign(rule="{}"))
    assert "rule" not in load(path).frame


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: f.drop(columns="f1"), "column f1 is missing"),
        (lambda f: pd.concat([f, f.iloc[[2]]]), "line 10: layer 1, feature 2 stands there a second time"),
        (lambda f: f.assign(f1=[7.0, *f["f1"][1:]]), r"line 2: f1 must be between 0 and 1, found 7\.0\. Correct"),
        (lambda f: f.assign(f1=["high", *f["f1"][1:]]), "line 2: f1 must be a number, found 'high'"),
        (lambda f: f.assign(layer=[2, *f["layer"][1:]]), r"line 2: layer must be one of 1, 3, found 2\. Correct"),
        (lambda f: f.assign(feature=[4, *f["feature"][1:]]), "line 2: feature must be 0 to 3"),
        (lambda f: f.assign(feature=[0.5, *f["feature"][1:]]), "line 2: feature must be a whole number"),
        (lambda f: f.assign(n_negative=[-1, *f["n_negative"][1:]]), "line 2: n_negative must be 0 or more, found -1"),
        (lambda f: f.assign(layer=[np.nan, *f["layer"][1:]]), "line 2: layer must be a number, found ''"),
        (lambda f: f.assign(label=[" ", *f["label"][1:]]), "line 2: label must not be empty, found ' '"),
        (
            lambda f: f.assign(max_activation=[np.inf, *f["max_activation"][1:]]),
            "max_activation must be a finite number",
        ),
    ],
    ids=["column", "twice", "range", "text", "layer", "index", "fraction", "negative", "empty", "blank", "infinite"],
)
def test_a_bad_table_is_refused_with_the_line(path: Path, change: Callable, said: str) -> None:
    rewrite(path, change)
    with pytest.raises(TrackerError, match=said):
        load(path)


def bundle_named(name: str, folder: Path, **changes: object) -> Bundle:
    return replace(load_bundle(), name=name, layers=LAYERS, sae_folder=folder / "saes", **changes)


def test_a_table_of_another_bundle_is_refused_with_both_names(path: Path, tmp_path: Path) -> None:
    theirs, ours = bundle_named("theirs", tmp_path), bundle_named("ours", tmp_path)
    assert load_labels(path, dict.fromkeys(LAYERS, N_LATENTS), ours).bundles == []
    save_labels(LabelTable(frame_of().assign(bundle="theirs")), path)
    assert load_labels(path, dict.fromkeys(LAYERS, N_LATENTS), theirs).bundles == ["theirs"]
    with pytest.raises(TrackerError, match=r"labels of bundle theirs, not of ours.*take the column `bundle` out"):
        load_labels(path, dict.fromkeys(LAYERS, N_LATENTS), ours)


def test_a_copy_of_a_bundle_with_the_same_saes_may_share_its_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = (BUNDLES / "smollm2-135m.toml").read_text()
    (tmp_path / "mine.toml").write_text(shipped.replace('"sae/smollm2-135m"', f'"{load_bundle().sae_folder}"'))
    monkeypatch.setenv("FEATURE_TRACKER_BUNDLES", str(tmp_path))
    check_bundle(pd.DataFrame({"bundle": ["mine"]}), "t.csv", load_bundle())
    copied = replace(load_bundle(), name="a-longer-text", max_tokens=40_000)
    assert built_in().bundles == ["smollm2-135m"]
    assert len(load_labels(copied.labels, dict.fromkeys(copied.layers, 400), copied).frame) == 2000


def test_a_table_of_all_layers_serves_chosen_ones(path: Path, tmp_path: Path) -> None:
    chosen = bundle_named("ours", tmp_path, layers_chosen=True)
    table = load_labels(path, {3: N_LATENTS}, chosen)
    assert table.frame.index.unique("layer").tolist() == [3]
    assert table.left_out == N_LATENTS
    rewrite(path, lambda f: f.assign(f1=[*f["f1"][:-1], 7]))
    with pytest.raises(TrackerError, match="line 9: f1 must be"):
        load_labels(path, {3: N_LATENTS}, chosen)
    with pytest.raises(TrackerError, match="rows of other layers only, none of 2"):
        load_labels(path, {2: N_LATENTS}, chosen)


@pytest.mark.parametrize("layers_chosen", [True, False])
def test_a_table_of_too_many_rows_is_refused_without_reading_them_all(
    path: Path, tmp_path: Path, layers_chosen: bool
) -> None:
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, *rows * 10_000]))
    tracemalloc.start()
    with pytest.raises(TrackerError, match=r"line 10: layer 1, feature 0 .* a second time.*the bundle has 8 features"):
        load_labels(path, dict.fromkeys(LAYERS, N_LATENTS), bundle_named("a", tmp_path, layers_chosen=layers_chosen))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5e6  # all 80,000 rows take 14 MB


def test_a_table_without_rows_is_refused(path: Path) -> None:
    rewrite(path, lambda frame: frame.iloc[:0])
    with pytest.raises(TrackerError, match="holds no feature"):
        load(path)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrackerError, match="is a folder, and a label table is one CSV file"):
        load(tmp_path)


def test_a_table_is_checked_against_the_sae_of_its_own_layer(path: Path) -> None:
    rewrite(path, lambda f: f.assign(feature=[*range(4), *range(2, 6)]))
    assert load_labels(path, {1: 4, 3: 6}).name(Feature(3, 5)) == "label 3/3"
    with pytest.raises(TrackerError, match="line 8: feature must be 0 to 3, found"):
        load_labels(path, {1: 6, 3: 4})


def test_a_table_takes_anothers_place_only_when_it_is_sound(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(TrackerError, match=r"The new table for .*labels\.csv, line 5: feature must be 0 to 2"):
        replace_table(LabelTable(frame_of().assign(label="new")), path, dict.fromkeys(LAYERS, N_LATENTS - 1))
    assert path.read_bytes() == before
    replace_table(LabelTable(frame_of().assign(label="new")), path, dict.fromkeys(LAYERS, N_LATENTS))
    assert load(path).name(Feature(1, 0)) == "new"
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_table_that_cannot_be_written_is_told_with_the_reason(path: Path) -> None:
    below_a_file = path / "t.csv"
    with pytest.raises(TrackerError, match=r"t\.csv can't be written \((File exists|Not a directory)\)"):
        replace_table(LabelTable(frame_of()), below_a_file, dict.fromkeys(LAYERS, N_LATENTS))


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(
        TrackerError, match=r"feature-tracker labels import --help, .*feature-tracker labels measure --help"
    ):
        load(tmp_path / "none.csv")


def test_a_file_that_is_not_utf8_is_refused(path: Path) -> None:
    path.write_bytes("layer,feature,label\n1,0,Erträge\n".encode("latin-1"))
    with pytest.raises(TrackerError, match="UTF-8"):
        load(path)


def test_rows_with_more_cells_than_the_header_are_never_read_under_the_wrong_columns(path: Path) -> None:
    header, *rows = path.read_text().splitlines()
    for more in ("", "1"):
        path.write_text("\n".join([header, *(f"{row},{more}" for row in rows)]))
        with pytest.raises(TrackerError, match="its rows have more cells than its first line names"):
            load(path)


def test_a_doubled_column_is_refused(path: Path) -> None:
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([f"{header},label", *(f"{row},other" for row in rows)]))
    with pytest.raises(TrackerError, match="has two columns label"):
        load(path)


@pytest.mark.parametrize(("column", "cell"), [("layer", "9" * 30), ("feature", "9" * 5000), ("n_positive", "9" * 5000)])
def test_a_number_of_many_digits_is_refused_with_its_line(path: Path, column: str, cell: str) -> None:
    frame = pd.read_csv(path, dtype=str)
    frame.loc[0, column] = cell
    frame.to_csv(path, index=False)
    with pytest.raises(TrackerError, match=rf"line 2: {column} must") as refused:
        load(path)
    assert len(str(refused.value)) < 400


def test_a_label_may_read_like_a_missing_value(path: Path) -> None:
    rewrite(path, lambda frame: frame.assign(label=["NA", *frame["label"][1:]]))
    assert load(path).name(Feature(1, 0)) == "NA"


def test_an_unscored_label_stays_and_counts_as_not_scored(path: Path) -> None:
    rewrite(path, lambda frame: frame.assign(f1=[np.nan, *[0.9] * 7]))
    report = report_table(load(path))
    assert "| 1 | 0.900 | 0.900 | 75.0% | 1 |" in report  # median, mean, better than guessing, not scored
    assert "| 3 | 0.900 | 0.900 | 100.0% | 0 |" in report


def test_an_f1_of_two_thirds_is_reported_as_no_better_than_guessing(path: Path) -> None:
    rewrite(path, lambda frame: frame.assign(f1=[0.666667, 0.66667, *[0.9] * 6]))
    table = load(path)
    assert table.reliable.tolist() == [False, True, *[True] * 6]
    assert "| 1 | 0.783 | 0.783 | 75.0% | 0 | 1 | 1 | 0 |" in report_table(table)


def test_labels_that_somebody_wrote_are_short_and_told_apart() -> None:
    frame = built_in().frame
    assert len(frame) == 2000
    written = frame[frame["kind"] != ""]
    assert len(written) == 2000
    assert written["kind"].isin(KINDS).all()
    assert (written["detail"].str.len() > 20).all()
    assert written["confidence"].isin(["high", "medium", "low"]).all()
    assert written["label"].str.split().str.len().max() <= 8
    assert not written["label"].str.contains(r"\w/\w").any()
    repeated = written.reset_index().duplicated(["layer", "label"], keep=False).to_numpy()
    assert pd.Series(repeated).groupby(written.index.get_level_values("layer")).mean().max() <= 0.02
    unread = frame[frame["kind"] == ""]
    assert (unread["label"] == unread["top_words"]).all()


def test_top_words_stand_beside_the_built_in_labels() -> None:
    frame = built_in().frame
    begins = frame["top_words"].str.extract(r"^(fires on|in passages with): .", expand=False)
    assert begins.isna().sum() <= 1, "features that fire on no word in particular"
    slow = frame["autocorrelation"] > SLOW
    assert (begins[slow].dropna() == "in passages with").all()
    assert (begins[~slow].dropna() == "fires on").all()


def test_the_scores_of_the_built_in_labels_belong_together() -> None:
    table = built_in()
    judged = table.frame[table.frame["f1_method"] == JUDGED]
    assert len(judged) >= 1_950
    assert (judged["n_positive"] + judged["n_negative"] + judged["n_hard"] + judged["n_unanswered"] <= 32).all()
    assert (judged["judge"] != "").all()
    assert pd.to_datetime(judged["date"], format="%Y-%m-%d").notna().all()
    assert contradictions(table) == []


def test_the_upper_layers_of_the_built_in_bundle_have_slow_features() -> None:
    n_slow = (built_in().frame["autocorrelation"] > SLOW).groupby("layer").sum()
    assert n_slow[16] >= 60
    assert n_slow[22] >= 75
    assert n_slow[28] >= 75


def test_the_built_in_features_were_measured_on_both_kinds_of_text_and_none_is_dead_or_always_on() -> None:
    frame = built_in().frame
    assert frame["density"].between(0, ALWAYS_ON, inclusive="neither").all()
    for column in ("specialization_index", "window_mean", "window_sd", "window_sd_64", "q99"):
        assert frame[column].notna().all(), column


def built_in() -> LabelTable:
    bundle = load_bundle()
    return load_labels(bundle.labels, dict.fromkeys(bundle.layers, 400))
