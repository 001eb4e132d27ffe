"""CSV files of labels as spreadsheets, other countries and broken scripts write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from feature_tracker.errors import TrackerError
from feature_tracker.labels.csv_files import load_labels, save_labels
from feature_tracker.labels.importers.merge import Merged, merge_sources
from feature_tracker.labels.importers.report import import_report
from feature_tracker.labels.importers.sources import find_sources
from feature_tracker.labels.importers.target import Target

TARGET = Target("tiny", {1: 10, 3: 10})
PLAIN = "layer,feature,label,f1_score\n1,0,Erträge,0.5\n3,1,Kredite,0.85\n"
FOREIGN = PLAIN.replace(".", "#").replace(",", ";").replace("#", ",")


def merge(tmp_path: Path, raw: bytes | str, name: str = "a.csv", target: Target = TARGET) -> Merged:
    (tmp_path / name).write_bytes(raw if isinstance(raw, bytes) else raw.encode("utf-8", "surrogatepass"))
    return merge_sources(find_sources([tmp_path / name]).sources, target)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (PLAIN.encode("utf-8-sig"), ""),
        (PLAIN.encode("utf-16"), "read as UTF-16"),
        (PLAIN.encode("utf-16-le"), "read as UTF-16"),
        (PLAIN.encode("utf-16-be"), "read as UTF-16"),
        (PLAIN.encode("cp1252"), "read as Windows-1252"),
        (FOREIGN.encode(), "separated by semicolons"),
        (FOREIGN.encode(), "decimal commas"),
        (FOREIGN.encode("cp1252"), "read as Windows-1252"),
        (b"sep=;\r\n" + FOREIGN.encode(), "separated by semicolons"),
        (PLAIN.replace(",", "\t").encode(), "separated by tabs"),
        (FOREIGN.replace(";", "\t").encode("utf-16"), "decimal commas"),
        (PLAIN.replace("layer,feature,label,f1_score", "Layer, FEATURE ,Label,F1 Score").encode(), ""),
        (PLAIN.replace("\n", "\r\n").encode(), ""),
        (PLAIN.replace("\n", "\r").encode(), ""),
        (PLAIN.replace("\n", ",,\n").encode(), ""),
        (f"\n  \n{PLAIN}".encode(), ""),
        (b"\r\nsep=;\r\n" + FOREIGN.encode(), "separated by semicolons"),
        (PLAIN.replace("1,0,", "1.0,0.0,").encode(), ""),
        (PLAIN.replace("0.5\n", '"0,5"\n').encode(), "decimal commas"),
    ],
)
def test_a_foreign_csv_says_what_the_plain_one_says(tmp_path: Path, raw: bytes, said: str) -> None:
    merged = merge(tmp_path, raw)
    assert merged.table.frame["label"].to_dict() == {(1, 0): "Erträge", (3, 1): "Kredite"}
    assert merged.table.frame["f1"].tolist() == [0.5, 0.85]
    assert said in import_report(merged, TARGET, [])


@pytest.mark.parametrize(
    ("dirty", "clean"),
    [
        ("Oil\rprices", "Oil prices"),
        ('"Oil\rprices"', "Oil prices"),
        ("Oil \ud83dprices", "Oil prices"),
        ("Oil prices\udc00", "Oil prices"),
        ("Oil \ud83d\ude00", "Oil 😀"),
        ("Oil \0prices\x1b", "Oil prices"),
    ],
)
def test_a_damaged_label_is_cleaned_and_the_import_goes_on(tmp_path: Path, dirty: str, clean: str) -> None:
    merged = merge(tmp_path, f"layer,feature,label,f1_score\n1,0,{dirty},0.5\n1,1,Erträge,0.6\n")
    save_labels(merged.table, tmp_path / "t.csv")
    again = load_labels(tmp_path / "t.csv", TARGET.n_latents)
    assert again.frame["label"].tolist() == [clean, "Erträge"]
    assert again.frame["f1"].tolist() == [0.5, 0.6]


def test_a_doubled_column_is_taken_where_its_cells_agree(tmp_path: Path) -> None:
    raw = "layer,feature,label,f1_score,label,note,note\n1,0,Oil,0.5,Oil,a,b\n1,1,Oil,0.5,Gas,a,a\n"
    merged = merge(tmp_path, raw)
    assert list(merged.table.frame.index) == [(1, 0)]
    assert "the column label stands there twice and says different things: 1\n  a.csv, line 3" in import_report(
        merged, TARGET, []
    )


@pytest.mark.parametrize("digits", ["1" * 30, "1" * 5000, "1_0", "٣", "1e0"])
def test_a_number_that_is_none_costs_its_row_alone(tmp_path: Path, digits: str) -> None:
    row = f"1,{digits},Oil,0.5\n{digits},1,Oil,0.5\n1,2,Oil,{digits}5\n1,3,Gas,0.{'3' * 5000}\n"
    merged = merge(tmp_path, f"layer,feature,label,f1_score\n{row}")
    assert list(merged.table.frame.index) == [(1, 3)]
    assert merged.tallies[0].rejected.total() == 3


def test_cells_beyond_the_header_cost_their_row(tmp_path: Path) -> None:
    merged = merge(tmp_path, "layer,feature,label,f1_score\n1,0,Oil, gas,0.5\n1,1,Coal,0.5\n")
    assert merged.table.frame["label"].tolist() == ["Coal"]
    assert "a row must have 4 cells: 1\n  a.csv, line 2, found '5 cells'" in import_report(merged, TARGET, [])


def test_a_thousands_separator_is_no_decimal_comma(tmp_path: Path) -> None:
    header = "layer,feature,llm_label,domain_activation,general_activation,specialization\n"
    merged = merge(tmp_path, header + '1,0,Oil,"1,234",0,"1,234"\n1,1,Gas,"1,5",0,"1,5"\n')
    assert merged.table.frame["finance_mean"].tolist() == [1.5]


def test_a_file_named_after_another_layer_is_refused_with_both(tmp_path: Path) -> None:
    assert len(merge(tmp_path, PLAIN.replace("3,1", "1,1"), "features_layer1.csv").table.frame) == 2
    with pytest.raises(TrackerError, match=r"line 3 is about layer 3, but the file is named after layer 1"):
        merge(tmp_path, PLAIN, "features_layer1.csv")


def test_rows_that_name_another_model_are_refused(tmp_path: Path) -> None:
    raw = "layer,feature,label,f1_score,model\n1,0,Oil,0.5,gpt2\n"
    with pytest.raises(TrackerError, match="of model gpt2, but the model of bundle tiny is owner/tiny"):
        merge(tmp_path, raw, target=TARGET._replace(models=("owner/tiny",)))
    assert len(merge(tmp_path, raw, target=TARGET._replace(models=("owner/tiny", "gpt2"))).table.frame) == 1


def test_a_line_without_end_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    with pytest.raises(TrackerError, match=r"line 2: longer than 4,000,000 characters"):
        merge(tmp_path, "layer,feature,label,f1_score\n1,0," + "x" * 4_000_001)


@pytest.mark.parametrize("index", ["1,000", "1.000", "1.000 "])
def test_an_index_that_may_be_a_thousand_is_no_one(tmp_path: Path, index: str) -> None:
    with pytest.raises(TrackerError, match="layer and feature must be whole numbers"):
        merge(tmp_path, f'layer,feature,label,f1_score\n1,"{index}",Oil,0.5\n')


@pytest.mark.parametrize(
    ("column", "cell", "other"),
    [
        ("hook_name", "blocks.1.hook_resid_pre", "layer 0's"),
        ("hookpoint", "layers.3", "layer 3's"),
        ("hook", "blocks.1.hook_mlp_out", "no layer's"),
        ("source", "1-res-jb", "layer 0's"),
        ("sae_id", "tiny/3-gemmascope-res-16k", "layer 3's"),
        ("neuronpedia_id", "gpt2-small/1-att-kk", "no layer's"),
        ("hook_name", "blocks.1.hook_resid_post", ""),
        ("hook_name", "blocks.2.hook_resid_pre", ""),
        ("source", "1-gemmascope-res-16k", ""),
        ("source", "10-K", ""),
        ("source", "7", ""),
        ("source", "", ""),
    ],
)
def test_a_row_whose_hook_or_source_is_of_another_layer_is_refused(
    tmp_path: Path, column: str, cell: str, other: str
) -> None:
    raw = f"layer,feature,label,f1_score,{column}\n1,0,Oil,0.5,{cell}\n"
    if other:
        with pytest.raises(TrackerError, match=rf"line 2: layer says 1, and {column} says .*{other}"):
            merge(tmp_path, raw)
    else:
        assert len(merge(tmp_path, raw).table.frame) == 1
