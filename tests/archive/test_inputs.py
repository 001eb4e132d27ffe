"""What a run is given: kinds of files, metadata, and what can't be read."""

from __future__ import annotations

import datetime as dt
import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_tracker.archive.inputs import Inputs, Item, read_text
from feature_tracker.archive.metadata import NamePattern, SideTable, metadata_of
from feature_tracker.archive.parts import Names
from feature_tracker.errors import TrackerError
from feature_tracker.reading import MAX_BYTES
from tests.reading.making import make_pdf

ROWS = [
    {"text": "Sales rose.", "name": "Acme", "date": "2024-05-31", "group": "retail"},
    {"text": "Sales fell.", "name": "Bolt", "date": "2024-06-30", "group": "metals"},
]


def items(*paths: Path, **options: Any) -> list[Item]:
    return list(Inputs(paths=paths, **options).items())


def outcomes(listed: list[Item]) -> list[str]:
    """Each document's text, or why it can't be read."""
    texts = []
    for item in listed:
        try:
            texts.append(read_text(item).text)
        except TrackerError as error:
            texts.append(str(error))
    return texts


def write_rows(folder: Path, kind: str, rows: list[dict[str, Any]]) -> Path:
    path = folder / f"rows.{kind}"
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    if kind == "jsonl":
        path.write_text(lines)
    elif kind == "jsonl.gz":
        path.write_bytes(gzip.compress(lines.encode()))
    elif kind == "csv":
        cells = [list(rows[0]), *(list(row.values()) for row in rows)]
        path.write_text("".join(",".join(f'"{cell}"' for cell in line) + "\n" for line in cells))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    return path


KINDS = ["jsonl", "jsonl.gz", "csv", "parquet"]


@pytest.mark.parametrize("kind", KINDS)
def test_each_row_is_a_document_with_its_columns(tmp_path: Path, kind: str) -> None:
    listed = items(write_rows(tmp_path, kind, ROWS))
    assert outcomes(listed) == ["Sales rose.", "Sales fell."]
    assert [item.metadata[:3] for item in listed] == [
        ("Acme", dt.date(2024, 5, 31), "retail"), ("Bolt", dt.date(2024, 6, 30), "metals"),
    ]  # fmt: skip
    assert len({item.source for item in listed}) == 2
    assert sum(item.size for item in listed) == pytest.approx(Inputs(paths=(tmp_path,)).size, rel=0.5)


@pytest.mark.parametrize("kind", KINDS)
def test_columns_of_other_names_are_named(tmp_path: Path, kind: str) -> None:
    rows = [{"Body Text": "Sales rose.", "ticker": "ACME", "filed": "2024", "sector": "retail"}]
    path = write_rows(tmp_path, kind, rows)
    named = {"text_column": "Body Text", "name_column": "ticker", "date_column": "filed", "group_column": "sector"}
    (item,) = items(path, **named)
    assert item.text == "Sales rose." and item.metadata[:3] == ("ACME", dt.date(2024, 1, 1), "retail")
    for inputs in (Inputs(paths=(path,)), Inputs(paths=(path,), **named | {"date_column": "day"})):
        with pytest.raises(TrackerError, match=r"no column (text|day); its columns are Body Text, ticker.*Name one"):
            inputs.check()


def test_files_of_all_kinds_are_documents_in_the_order_of_their_names(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "page.html").write_text("<html><body><p>Rates fell.</p></body></html>")
    (tmp_path / "b" / "report.pdf").write_bytes(make_pdf(["Margins widened in the quarter."]))
    (tmp_path / "a.txt").write_text("Rates rose.")
    (tmp_path / "c.md").write_text("# Outlook")
    (tmp_path / ".hidden.txt").write_text("no")
    (tmp_path / "~$open.docx").write_text("no")
    write_rows(tmp_path, "csv", ROWS)
    listed = items(tmp_path)
    assert [item.metadata.name for item in listed] == [
        "a.txt", "b/page.html", "b/report.pdf", "c.md", "Acme", "Bolt",
    ]  # fmt: skip
    assert outcomes(listed)[:2] == ["Rates rose.", "Rates fell."]
    assert listed == items(tmp_path)


def test_a_pattern_reads_metadata_out_of_paths(tmp_path: Path) -> None:
    (tmp_path / "retail").mkdir()
    (tmp_path / "retail" / "acme_20240531.txt").write_text("a")
    (tmp_path / "other.txt").write_text("b")
    pattern = NamePattern(r"(?P<group>\w+)/(?P<name>[a-z]+)_(?P<date>\d{8})")
    other, acme = items(tmp_path, pattern=pattern)
    assert acme.metadata[:3] == ("acme", dt.date(2024, 5, 31), "retail")
    assert other.metadata[:3] == ("other.txt", None, None) and "doesn't match the pattern" in read_text(other).notes[0]


@pytest.mark.parametrize(
    ("expression", "said"), [("(", "no regular expression"), (r"\d+", "named groups none"), ("(?P<year>.)", "year")]
)
def test_a_pattern_without_meaning_is_refused(expression: str, said: str) -> None:
    with pytest.raises(TrackerError, match=said):
        NamePattern(expression)


@pytest.mark.parametrize("key", ["x/acme.txt", "acme.txt", "acme"])
def test_a_side_table_finds_a_document_by_path_file_name_or_stem(tmp_path: Path, key: str) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "acme.txt").write_text("a")
    (tmp_path / "x" / "bolt.txt").write_text("b")
    table = tmp_path / "about.csv"
    table.write_text(f"Name;Date;Group\n{key};31.05.2024;retail\n")
    acme, bolt = items(tmp_path, side_table=SideTable(table))
    assert acme.metadata[1:3] == (dt.date(2024, 5, 31), "retail")
    assert bolt.metadata[1:3] == (None, None) and "about.csv has no row for it." in read_text(bolt).notes


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("name,date\na,2024\na,2025\n", "line 3: a is there twice"),
        ("file,size\na,1\n", "expected name, and date or group"),
        ("name,date\n", "no rows"),
        ('name,date\n"a,2024\n', "can't be read as CSV"),
    ],
)
def test_a_side_table_that_says_nothing_certain_is_refused(tmp_path: Path, table: str, said: str) -> None:
    (tmp_path / "about.csv").write_text(table)
    with pytest.raises(TrackerError, match=said):
        SideTable(tmp_path / "about.csv")


@pytest.mark.parametrize(
    ("written", "day"),
    [
        ("2024-05-31", "2024-05-31"), ("2024-05-31T16:30:00Z", "2024-05-31"), ("20240531", "2024-05-31"),
        ("2024-05", "2024-05-01"), ("2024", "2024-01-01"), (2024, "2024-01-01"), ("May 31, 2024", "2024-05-31"),
        ("31.05.2024", "2024-05-31"), (dt.datetime(2024, 5, 31, 12), "2024-05-31"),
        (dt.date(2024, 5, 31), "2024-05-31"),
    ],
)  # fmt: skip
def test_dates_are_read_as_they_are_written(written: object, day: str) -> None:
    assert str(metadata_of({"date": written}).date) == day


@pytest.mark.parametrize("written", ["04/05/2024", "soon", "2024-13-01"])
def test_an_ambiguous_date_is_noted_and_not_guessed(written: str) -> None:
    metadata = metadata_of({"date": written})
    assert metadata.date is None and written in metadata.notes[0]


def test_documents_of_one_name_are_kept_apart_by_number() -> None:
    names = Names(["a"])
    assert [names.unique(name) for name in ("a", "b", "a", "a (2)", "b")] == [
        "a (2)",
        "b",
        "a (3)",
        "a (2) (2)",
        "b (2)",
    ]


def test_what_was_named_and_is_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "only-folders" / "inside").mkdir(parents=True)
    (tmp_path / "sheet.xlsx").write_bytes(b"PK")
    (tmp_path / "none.jsonl").write_text("")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and no more")
    for name, said in (
        ("absent", "no file or folder"),
        ("empty", "holds no file"),
        ("only-folders", "holds no file"),
        ("sheet.xlsx", "of no kind"),
        ("none.jsonl", "no rows"),
        ("broken.parquet", "damaged"),
    ):
        with pytest.raises(TrackerError, match=said) as raised:
            Inputs(paths=(tmp_path / name,)).check()
        assert name in str(raised.value)


def test_what_cannot_be_read_in_a_folder_is_listed_and_the_rest_goes_on(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(make_pdf([b""]))  # a page without text, as a scan
    (tmp_path / "b.parquet").write_bytes(b"PAR1 and no more")
    (tmp_path / "c.csv").write_text("ticker,price\nACME,3\nBOLT,4\n")
    (tmp_path / "d.xlsx").write_bytes(b"PK")
    (tmp_path / "e.txt").write_text("  \n")
    with (tmp_path / "f.txt").open("wb") as file:
        file.truncate(2_000_000_000)  # a hole: it takes no room
    (tmp_path / "g.jsonl").write_text('{"text": "Good."}\nno json\n[]\n{"title": "x"}\n{"text": 5}\n{"text": null}\n')
    (tmp_path / "h.jsonl.gz").write_bytes(gzip.compress(b'{"text": "Whole."}\n' * 5000)[:60])
    (tmp_path / "i.csv").write_text('text\nFine.\n"left open\n')
    (tmp_path / "j.txt").write_text("The last.")
    inputs = Inputs(paths=(tmp_path,))
    inputs.check()
    listed = list(inputs.items())
    told = dict(
        zip([item.source.removeprefix(f"{tmp_path.as_posix()}/") for item in listed], outcomes(listed), strict=True)
    )
    for source, said in {
        "a.pdf": "scan",
        "b.parquet": "damaged",
        "c.csv": "There is no column text; its columns are ticker, price.",
        "d.xlsx": "Files of this kind aren't read.",
        "e.txt": "holds no text",
        "f.txt": f"larger than {MAX_BYTES // 1_000_000} MB",
        "g.jsonl, line 1": "Good.",
        "g.jsonl, line 2": "no JSON",
        "g.jsonl, line 3": "no JSON object",
        "g.jsonl, line 4": "no column text",
        "g.jsonl, line 5": "type int",
        "g.jsonl, line 6": "no text",
        "h.jsonl.gz": "cut short",
        "i.csv, line 2": "Fine.",
        "i.csv": "Is a quote left open?",
        "j.txt": "The last.",
    }.items():
        assert said in told[source], source


def test_a_large_file_of_rows_is_not_held_in_memory(tmp_path: Path) -> None:
    import tracemalloc

    text = "Net sales rose. " * 2000
    for kind in ("jsonl", "csv", "parquet"):
        path = write_rows(tmp_path, kind, [{"text": text + str(number)} for number in range(1000)])  # 32 MB
        tracemalloc.start()
        n_read = sum(1 for _ in Inputs(paths=(path,)).items())
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert n_read == 1000 and peak < 6e6, kind


def test_the_archive_and_the_side_table_are_no_input(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "b.txt").write_text("b")
    (tmp_path / "about.csv").write_text("name,date\na,2024\n")
    listed = items(tmp_path, leave_out=tmp_path / "out", side_table=SideTable(tmp_path / "about.csv"))
    assert [item.metadata.name for item in listed] == ["a.txt"]


def test_a_folder_that_links_to_itself_ends(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    assert len(items(tmp_path)) == 1


def test_a_line_without_a_date_has_none_while_a_column_that_no_line_has_is_refused(tmp_path: Path) -> None:
    path = write_rows(tmp_path, "jsonl", [{"text": "a"}, {"text": "b", "filed": "2024-05-31"}])
    inputs = Inputs(paths=(path,), date_column="filed")
    inputs.check()
    assert [item.metadata.date for item in inputs.items()] == [None, dt.date(2024, 5, 31)]
    with pytest.raises(TrackerError, match=r"no column day.*--date-column"):
        Inputs(paths=(path,), date_column="day").check()


def test_a_folder_that_cannot_be_opened_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    (tmp_path / "closed").mkdir()
    (tmp_path / "open.txt").write_text("Rates rose.")
    scandir = os.scandir

    def refuse(path: Path) -> object:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert outcomes(items(tmp_path)) == ["The folder can't be opened.", "Rates rose."]


def test_names_of_files_in_other_encodings_are_kept(tmp_path: Path) -> None:
    import os

    with open(os.fsencode(tmp_path) + b"/caf\xe9.txt", "w") as file:  # noqa: PTH123 - as no str spells it
        file.write("Rates rose.")
    (item,) = items(tmp_path)
    assert item.metadata.name == "caf\\xe9.txt" and outcomes([item]) == ["Rates rose."]
