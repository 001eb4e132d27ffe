"""Everything that follows from the columns' records: files, checks, ranking, the page and the README."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from feature_tracker.bundles.bundle import Bundle
from feature_tracker.errors import TrackerError
from feature_tracker.labels.columns import (
    COLUMNS,
    KEYS,
    REQUIRED,
    SHOWN,
    Column,
    columns_table,
    names,
)
from feature_tracker.labels.csv_files import load_labels, save_labels
from feature_tracker.labels.table import LabelTable
from feature_tracker.page.tables import column_settings
from feature_tracker.page.views.features import page_columns, table_of
from feature_tracker.tracing.rank import rank_features
from feature_tracker.tracing.trace import Trace

README = Path(__file__).resolve().parent.parent.parent / "labels" / "README.md"
N_LATENTS = {1: 4, 3: 4}


def each(*columns: Column) -> pytest.MarkDecorator:
    """Run a test once for each of these columns."""
    return pytest.mark.parametrize("column", columns, ids=names(columns))


def sound_cell(column: Column) -> Any:
    """A cell that the record allows: its upper limit, the last of its values, or any text or number."""
    if column.is_number:
        return column.high if math.isfinite(column.high) else 3
    return column.values[-1] if column.values else f"some {column.name}"


def frame_of(features: list[tuple[int, int]]) -> pd.DataFrame:
    """Rows with all columns, as a table file has them."""
    cells = {column.name: sound_cell(column) for column in COLUMNS if column.name not in KEYS}
    return pd.DataFrame([dict(zip(KEYS, feature, strict=True)) | cells for feature in features])


def write(path: Path, frame: pd.DataFrame) -> Path:
    frame.to_csv(path, index=False)
    return path


def broken_cells(column: Column) -> list[Any]:
    """Cells that the record forbids, one for each of its rules."""
    if column.kind == "text":
        return ["", " "] if column.filled else []
    if column.kind == "choice":
        return ["something else"]
    beyond = [limit for limit in (column.low - 1, column.high + 1) if math.isfinite(limit)]
    return ["many", math.inf, *beyond, *([0.5] if column.kind == "count" else [])]


BROKEN = [(column, cell) for column in COLUMNS for cell in broken_cells(column)]


@pytest.mark.parametrize(("column", "cell"), BROKEN, ids=[f"{column.name}-{cell}" for column, cell in BROKEN])
def test_a_cell_that_breaks_its_columns_record_is_refused_with_line_and_column(
    column: Column, cell: Any, tmp_path: Path
) -> None:
    frame = frame_of([(1, 0), (1, 1), (3, 0)])
    frame[column.name] = frame[column.name].astype(object)
    frame.loc[1, column.name] = cell
    with pytest.raises(TrackerError, match=rf"line 3: {column.name} must .*, found .*\. Correct that line"):
        load_labels(write(tmp_path / "t.csv", frame), N_LATENTS)


def test_every_column_with_a_limit_has_a_cell_that_breaks_it() -> None:
    assert {column.name for column, _ in BROKEN} == {
        column.name for column in COLUMNS if column.kind != "text" or column.filled
    }


@each(*(column for column in COLUMNS if column.is_number and column.name not in KEYS))
def test_a_number_may_lie_at_either_limit_and_be_unknown(column: Column, tmp_path: Path) -> None:
    for cell in (column.low, column.high, math.nan):
        if not math.isinf(cell):
            path = write(tmp_path / "t.csv", frame_of([(1, 0)]).assign(**{column.name: cell}))
            assert (
                load_labels(path, N_LATENTS)
                .frame[column.name]
                .equals(pd.Series([cell], index=pd.MultiIndex.from_tuples([(1, 0)], names=KEYS), name=column.name))
            )


@each(*COLUMNS)
def test_a_table_needs_the_columns_of_every_table_and_no_other(column: Column, tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", frame_of([(1, 0)]).drop(columns=column.name))
    if column.tables == "every table":
        with pytest.raises(TrackerError, match=f"column {column.name} is missing"):
            load_labels(path, N_LATENTS)
    else:
        assert column.name not in load_labels(path, N_LATENTS).frame


def test_a_table_with_every_column_comes_back(tmp_path: Path) -> None:
    frame = frame_of([(1, 0), (3, 2)]).set_index(KEYS)
    save_labels(LabelTable(frame), tmp_path / "t.csv")
    again = load_labels(tmp_path / "t.csv", N_LATENTS).frame
    assert [*KEYS, *again.columns] == names(COLUMNS)
    pd.testing.assert_frame_equal(again, frame, check_dtype=False)


@each(*(column for column in COLUMNS if column.kind == "text"))
def test_a_formula_in_a_text_stays_text(column: Column, tmp_path: Path) -> None:
    formula = "=HYPERLINK(1)"
    frame = frame_of([(1, 0)]).assign(**{column.name: formula}).set_index(KEYS)
    save_labels(LabelTable(frame), tmp_path / "t.csv")
    assert f"'{formula}" in (tmp_path / "t.csv").read_text()
    assert load_labels(tmp_path / "t.csv", N_LATENTS).frame[column.name].tolist() == [formula]


def test_scores_of_an_imported_table_keep_all_digits(tmp_path: Path) -> None:
    scores = [c.name for c in COLUMNS if c.group == "score" and c.kind == "number"]
    assert "f1" in scores and "accuracy" in scores
    frame = frame_of([(1, 0)]).assign(**dict.fromkeys(scores, 1 / 3), density=1 / 3).set_index(KEYS)
    save_labels(LabelTable(frame), tmp_path / "t.csv")
    again = load_labels(tmp_path / "t.csv", N_LATENTS).frame
    assert (again[scores] == 1 / 3).all(axis=None)
    assert again["density"].item() == 0.333333
    save_labels(LabelTable(frame[REQUIRED]), tmp_path / "t.csv")
    assert load_labels(tmp_path / "t.csv", N_LATENTS).frame["f1"].item() == 0.333333


@pytest.fixture
def ranked(tiny_trace: Trace, tiny_bundle: Bundle) -> pd.DataFrame:
    """Ranked features; those with an odd index have no row in the table."""
    frame = frame_of([(layer, latent) for layer in tiny_bundle.layers for latent in range(0, 40, 2)])
    table = LabelTable(frame.assign(mark="", specialization_source="measured", f1_always_yes=0.6).set_index(KEYS))
    return rank_features(tiny_trace, table, layers=tiny_bundle.layers, top=None, hide_always_on=False)


@each(*SHOWN)
def test_what_the_page_shows_is_ranked_titled_and_explained(column: Column, ranked: pd.DataFrame) -> None:
    columns = page_columns("max")
    shown = table_of(ranked, columns)[column.title]
    np.testing.assert_array_equal(shown, ranked[column.name])
    assert column_settings(columns)[column.title].get("help") == column.help
    if column.name in KEYS:
        return
    has_row = ranked["feature"] % 2 == 0
    assert has_row.any() and (~has_row).any()
    expected = {"mark": "", "f1_always_yes": 0.6}.get(column.name, sound_cell(column))
    assert (ranked.loc[has_row, column.name] == expected).all()
    without = ranked.loc[~has_row, column.name]
    assert without.isna().all() if column.is_number else (without == column.missing).all()


def test_specialization_that_a_table_cannot_vouch_for_is_hidden_and_nothing_else() -> None:
    frame = frame_of([(1, 0)]).assign(specialization_source="reported-unverified").set_index(KEYS)
    row = LabelTable(frame).describe(frame.index).iloc[0]
    hidden = {name for name in row.index if pd.isna(row[name])}
    assert hidden == {"specialization", "specialization_index"}


def test_the_readme_describes_every_column_by_its_record() -> None:
    assert columns_table() in README.read_text(encoding="utf-8"), f"Put this into {README}:\n{columns_table()}"
    for column in COLUMNS:
        assert f"| `{column.name}` |" in columns_table()
        assert f"| {column.help} |" in columns_table()


def test_no_cell_of_the_readme_is_too_long_to_read() -> None:
    rows = [line for line in README.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    assert max(len(cell.strip()) for row in rows for cell in row.split("|")) <= 120
