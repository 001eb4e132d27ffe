from __future__ import annotations

import io
import tracemalloc
import zipfile

import pytest

from feature_tracker.errors import TrackerError
from feature_tracker.reading import docx as module
from feature_tracker.reading.docx import read_docx
from tests.reading.making import make_docx, paragraph, table

DELETED = "<w:del><w:r><w:delText>gone</w:delText><w:t>gone</w:t></w:r></w:del>"
INSERTED = "<w:ins><w:r><w:t>new</w:t></w:r></w:ins>"


def test_paragraphs_and_tables_are_read_in_order() -> None:
    body = paragraph("Net sales rose.") + table([["Net sales", "$", "1,234"], ["Loss", "(5", ")"]]) + paragraph("End.")
    document = read_docx(make_docx(body))
    assert document.text == "Net sales rose.\n\nNet sales\t$1,234\nLoss\t(5)\n\nEnd."
    assert document.notes == ()


@pytest.mark.parametrize(
    ("runs", "text"),
    [
        ("<w:r><w:t>Net</w:t></w:r><w:r><w:t xml:space='preserve'> sales </w:t></w:r><w:r><w:t>rose</w:t></w:r>",
         "Net sales rose"),
        ("<w:r><w:t>re</w:t></w:r><w:r><w:t>fi</w:t></w:r><w:r><w:t>nance</w:t></w:r>", "refinance"),
        ("<w:r><w:tab/><w:t>a</w:t><w:tab/><w:t>b</w:t><w:br/><w:t>c</w:t></w:r>", "a\tb\nc"),
        ("<w:r><w:t>a</w:t><w:br w:type='page'/><w:t>b</w:t></w:r>", "a\n\nb"),
        ("<w:r><w:t>year</w:t><w:noBreakHyphen/><w:t>end</w:t></w:r>", "year-end"),
        ("<w:hyperlink><w:r><w:t>link</w:t></w:r></w:hyperlink>", "link"),
        ("<w:sdt><w:sdtPr><w:t>no</w:t></w:sdtPr><w:sdtContent><w:r><w:t>field</w:t></w:r></w:sdtContent></w:sdt>",
         "field"),
        ("<w:r><w:instrText>PAGE</w:instrText></w:r><w:r><w:t>5</w:t></w:r>", "5"),
        ("<w:pPr><w:tabs><w:tab/></w:tabs></w:pPr><w:r><w:rPr><w:b/></w:rPr><w:t>a</w:t></w:r>", "a"),
        ("<w:r><w:t>AT&amp;T &lt;5%</w:t></w:r>", "AT&T <5%"),
        ("<w:r><mc:AlternateContent><mc:Choice><w:txbxContent><w:p><w:r><w:t>box</w:t></w:r></w:p></w:txbxContent>"
         "</mc:Choice><mc:Fallback><w:t>box</w:t></mc:Fallback></mc:AlternateContent></w:r><w:r><w:t>a</w:t></w:r>",
         "box\n\na"),
    ],
)  # fmt: skip
def test_runs_of_a_paragraph_are_read_as_word_shows_them(runs: str, text: str) -> None:
    assert read_docx(make_docx(f"<w:p>{runs}</w:p>")).text == text


def test_tracked_changes_are_read_as_accepted() -> None:
    moved = DELETED.replace("w:del>", "w:moveFrom>")
    document = read_docx(make_docx(f"<w:p>{DELETED}{INSERTED}{moved}</w:p>"))
    assert document.text == "new"
    assert document.notes == ("Left out: text that is marked as deleted.",)


@pytest.mark.parametrize(("value", "shown"), [("", False), ("w:val='1'", False), ("w:val='0'", True)])
def test_hidden_text_is_left_out(value: str, shown: bool) -> None:
    hidden = f"<w:p><w:r><w:rPr><w:vanish {value}/></w:rPr><w:t>hidden</w:t><w:tab/></w:r><w:r><w:t>a</w:t></w:r></w:p>"
    document = read_docx(make_docx(hidden))
    assert document.text == ("hidden\ta" if shown else "a")
    assert document.notes == (() if shown else ("Left out: hidden text.",))


def test_footnotes_stand_at_the_end_and_headers_and_comments_are_left_out() -> None:
    separator = f"<w:footnote w:type='separator'>{paragraph('-')}</w:footnote>"
    notes = f"{separator}<w:footnote>{paragraph('As adjusted.')}</w:footnote>"
    parts = {"header1": paragraph("Confidential"), "comments": paragraph("Why?"), "endnotes": paragraph("Unaudited.")}
    document = read_docx(make_docx(paragraph("Sales rose."), footnotes=notes, **parts))
    assert document.text == "Sales rose.\n\nAs adjusted.\n\nUnaudited."
    assert document.notes == ("Left out: headers and footers, comments.", "Footnotes and endnotes stand at the end.")


def test_tables_in_tables_and_rows_of_one_cell_keep_their_lines() -> None:
    inner = table([["a", "1"], ["b", "2"]])
    body = f"<w:tbl><w:tr><w:tc>{paragraph('Left')}{inner}</w:tc><w:tc>{paragraph('Right')}</w:tc></w:tr></w:tbl>"
    assert read_docx(make_docx(body)).text == "Left\n\na\t1\nb\t2\nRight"


@pytest.mark.parametrize(
    ("unit", "message"),
    [
        ("<w:p/>", "larger than 4 MB once it is unpacked"),
        (paragraph("a word of some length"), "more than 1,000,000 characters"),
        ("a ", "larger than 4 MB once it is unpacked"),
    ],
)
def test_a_document_that_unpacks_without_end_is_refused_within_little_memory(
    unit: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MAX_XML", 4_000_000)
    monkeypatch.setattr("feature_tracker.reading.document.MAX_CHARACTERS", 1_000_000)
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("word/document.xml", "w") as part:
        part.write(b"<root xmlns:w='w'>")
        block = unit.encode() * (1_000_000 // len(unit))
        for _ in range(200):
            part.write(block)
    tracemalloc.start()
    with pytest.raises(TrackerError, match=message):
        read_docx(written.getvalue())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6


def test_entities_are_refused() -> None:
    laughs = "".join(f'<!ENTITY e{n + 1} "{f"&e{n};" * 10}">' for n in range(9))
    xml = f'<!DOCTYPE x [<!ENTITY e0 "ha">{laughs}]><x xmlns:w="w"><w:p><w:r><w:t>&e9;</w:t></w:r></w:p></x>'
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        archive.writestr("word/document.xml", xml)
    with pytest.raises(TrackerError, match="may be damaged"):
        read_docx(written.getvalue())


def test_an_archive_of_countless_files_is_refused() -> None:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        archive.writestr("word/document.xml", "<x/>")
        for number in range(40_000):
            archive.writestr(str(number), "")
    with pytest.raises(TrackerError, match="may be damaged"):
        read_docx(written.getvalue())


def test_an_encrypted_part_is_refused() -> None:
    raw = bytearray(make_docx(paragraph("x")))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = raw.find(signature)
        while place >= 0:
            raw[place + offset] |= 1
            place = raw.find(signature, place + 4)
    with pytest.raises(TrackerError, match="may be damaged"):
        read_docx(bytes(raw))
