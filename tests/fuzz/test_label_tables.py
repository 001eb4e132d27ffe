"""Label tables with any cells in any shape: read right, or refused in a sentence within two seconds."""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from feature_tracker.errors import TrackerError
from feature_tracker.labels.columns import COLUMNS, KEYS, columns_of
from feature_tracker.labels.csv_files import guarded, load_labels, save_labels, to_csv, unguard
from tests.fuzz import CASES

N_LATENTS = {1: 6, 3: 6}
FUZZ = settings(
    max_examples=CASES, deadline=2000, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
ANY = st.text(st.characters(codec=None, exclude_categories=[]), max_size=12)
DIRT = st.sampled_from(
    [
        "", "nan", "inf", "-1", "0", "1", "3", "0.5", "1e400", "9" * 30, "9" * 5000, "1_0", "0x1", "TRUE", "'", '"',
        '""', "=1+1", "'=1+1", "\t=1", "＝1", "a\nb", "a\rb", "\0", "\ud800", ",", ";", "-", "unlabelled", "٣", "1,5",
        " 1",
    ]
)  # fmt: skip
CELLS = st.one_of(DIRT, st.integers(-2, 10).map(str), st.floats(width=32).map(str), ANY)
HEADERS = st.permutations([column.name for column in COLUMNS])


@st.composite
def tables(draw: st.DrawFn) -> bytes:
    """A table with the right columns and mostly wrong cells, then perhaps cut, doubled or written in another way."""
    names = draw(st.one_of(st.just([*KEYS, *columns_of([])]), HEADERS, st.lists(ANY, max_size=4)))
    if draw(st.integers(0, 5)) == 0:
        names = [*names, draw(st.sampled_from([*names, "label"]))]
    rows = []
    for number in range(draw(st.integers(0, 5))):
        sound = {"layer": "1", "feature": str(number), "label": f"label {number}"}
        cells = [sound.get(name, "") for name in names]
        for place in draw(st.lists(st.integers(0, len(names)), max_size=4)):
            cells[place : place + 1] = [draw(CELLS)]  # at the end: one cell more than the header has
        rows.append(cells)
    quoted = draw(st.booleans())
    delimiter, end = draw(st.sampled_from([",", ",", ",", ";", "\t"])), draw(st.sampled_from(["\n", "\r\n", "\r"]))
    lines = [delimiter.join(f'"{c}"' if quoted else c for c in cells) for cells in [names, *rows]]
    raw = end.join(lines).encode(draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"])), "surrogatepass")
    return raw[: draw(st.one_of(st.none(), st.integers(0, len(raw))))]


@FUZZ
@given(raw=st.one_of(tables(), st.binary(max_size=200)))
def test_a_table_of_any_cells_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed.csv"
    path.write_bytes(raw)
    try:
        table = load_labels(path, N_LATENTS)
    except TrackerError:
        return
    save_labels(table, path)
    again = load_labels(path, N_LATENTS)
    assert list(again.frame.index) == list(table.frame.index)
    assert again.marks.tolist() == table.marks.tolist()


@FUZZ
@given(cells=st.lists(st.one_of(DIRT, ANY, st.tuples(DIRT, ANY, DIRT).map("".join)), min_size=1, max_size=5))
def test_no_text_reaches_a_spreadsheet_as_a_formula(cells: list[str]) -> None:
    table = pd.DataFrame({"label": pd.Series(cells, dtype=object), "f1": -0.5})
    safe = guarded(table)["label"]
    for sign in "=+-@＝＋－＠":
        assert not safe.str.strip("\ufeff\u200b ").str.match(rf"[{sign}]\s*\S").any()
    assert guarded(pd.DataFrame({"label": unguard(safe)}))["label"].tolist() == safe.tolist()
    to_csv(table).decode("utf-8-sig")


def test_a_large_table_of_one_cell_is_read_within_bounds(tmp_path: Path) -> None:
    frame = pd.read_csv(io.StringIO("layer,feature,label\n1,0,x\n"))
    path = tmp_path / "t.csv"
    frame.reindex(columns=[*KEYS, *columns_of([])]).assign(label="\n" * 200_000 + "=" * 200_000).to_csv(
        path, index=False
    )
    assert len(load_labels(path, N_LATENTS).frame) == 1
