from __future__ import annotations

import re

import pandas as pd
import pytest
import streamlit as st

from feature_tracker.labels.csv_files import guarded, to_csv
from feature_tracker.page.tables import show_table
from feature_tracker.page.views.features import page_columns, table_of
from feature_tracker.page.views.links import describe
from tests.support import ROOT, make_ranked, trace_of


def test_pairs_carry_both_labels_joined_by_layer_and_index() -> None:
    ranked = make_ranked((4, 10), 3)
    ranked = ranked.assign(label=[f"label {i}" for i in range(6)], reliable=True, feature=[0, 1, 2] * 2)
    links = pd.DataFrame(
        {
            "source_layer": [4],
            "source_feature": [1],
            "target_layer": [10],
            "target_feature": [1],
            "r": [0.9],
            "n_either": [12],
            "n_effective": [9.5],
            "p": [0.001],
            "q": [0.02],
        }
    )
    text = "Sales rose in every region while margins and cash fell less than in other quarters"
    fires = {(4, 1): {"margins": 1.0, "cash": 3.0}, (10, 1): {"margins": 2.0, "fell": 5.0}}
    row = describe(links, ranked, trace_of(text.split(" "), fires)).iloc[0]
    assert row["Where both fire"] == "… in every region while margins and cash fell …"
    assert (row["Label"], row["Deeper label"]) == ("label 1", "label 4")
    assert (row["Tokens"], row["Effective tokens"], row["q"]) == (12, 9.5, 0.02)


def test_the_table_says_how_rare_a_peak_is_to_two_digits() -> None:
    ranked = make_ranked((4,), 3).assign(rarity=[12_345.0, 2.0, float("nan")])
    table = table_of(ranked, page_columns("mean"))
    assert table["Peak: one passage in"].tolist() == pytest.approx([12_000, 2, float("nan")], nan_ok=True)
    assert table["Mean activation"].tolist() == ranked["activation"].tolist()
    assert table["Firing examples"].tolist() == [1000] * 3


FORMULAS = (
    "=HYPERLINK(1)", "+1+1", "-2+3", "@SUM(A1)", " =1", "= HYPERLINK(1)", "=\u00a0 1",
    "=\u00ad", "'=1", "\u200b=1", "\ufeff=1",
    "\u3000+1", "＝1+1", "＋1", "－1", "＠SUM(A1)", "﹦1", "- cmd", "=1+1+cmd|' /C calc'!A0",
)  # fmt: skip


@pytest.mark.parametrize("cell", FORMULAS)
def test_csv_holds_no_formula(cell: str) -> None:
    text = to_csv(pd.DataFrame({"label": [cell], "f1": [-0.5]})).decode("utf-8-sig")
    assert text.splitlines()[1] == f"'{cell},-0.5"


@pytest.mark.parametrize(
    ("cell", "safe"),
    [
        ("\t=1", "\t'=1"),
        ("\r=1", "' =1"),
        ("a;=1", "a;'=1"),
        ("a\n=1", "a\n'=1"),
        ("a\t= 1", "a\t'= 1"),
        ("\0=1", "'=1"),
    ],
)
def test_no_formula_begins_where_another_program_would_begin_a_cell(cell: str, safe: str) -> None:
    assert guarded(pd.DataFrame({"label": [cell]}))["label"].tolist() == [safe]


def test_a_text_that_no_file_can_hold_costs_its_characters_alone() -> None:
    frame = pd.DataFrame({"peak_word": pd.Series(["a\ud83db", "😀", None], dtype=object)})
    assert to_csv(frame).decode("utf-8-sig") == 'peak_word\nab\n😀\n""\n'


def test_the_tables_own_toolbar_saves_no_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[pd.DataFrame] = []
    monkeypatch.setattr(st, "dataframe", lambda table, **_: shown.append(table))
    show_table(pd.DataFrame({"Label": [*FORMULAS, "Oil"], "F1": 0.5, "Reliable": True}), key="table")
    assert shown[0]["Label"].tolist() == [*(f"'{cell}" for cell in FORMULAS), "Oil"]
    assert shown[0].dtypes.astype(str).tolist()[1:] == ["float64", "bool"]


def test_every_table_of_the_page_is_shown_guarded() -> None:
    for path in (ROOT / "feature_tracker" / "page").rglob("*.py"):
        unguarded = re.search(r"st\.(?:dataframe|data_editor|table)\(", path.read_text(encoding="utf-8"))
        assert not unguarded or path.name == "tables.py", path


def test_csv_keeps_other_text_as_it_is() -> None:
    frame = pd.DataFrame({"label": ['a, "b"\nc', "-", "😀 ריבית"]})
    assert to_csv(frame).decode("utf-8-sig") == 'label\n"a, ""b""\nc"\n-\n😀 ריבית\n'
