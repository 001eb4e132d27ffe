from __future__ import annotations

import gzip
import io
import logging
import subprocess
import sys
import traceback
import zipfile

import pytest

from feature_tracker.errors import TrackerError
from feature_tracker.reading import MAX_BYTES, ReadDocument, read_document
from feature_tracker.reading.document import MAX_CHARACTERS
from tests.reading.making import make_docx, make_pdf, paragraph
from tests.support import ROOT

SECRET = "Zebrafish quarterly"
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


def archive(*names: str) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as file:
        for name in names:
            file.writestr(name, SECRET)
    return written.getvalue()


def error_of(name: str, raw: bytes) -> TrackerError | None:
    try:
        read_document(name, raw)
    except TrackerError as error:
        return error
    return None


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("q.txt", b"Net sales rose."),
        ("q.md", b"Net sales rose."),
        ("Q.TXT", b"Net sales rose."),
        ("q.html", b"<p>Net sales rose.</p>"),
        ("q.HTM", b"<p>Net sales rose.</p>"),
        ("q.pdf", make_pdf(["Net sales rose."])),
        ("q.docx", make_docx(paragraph("Net sales rose."))),
        ("no suffix", b"Net sales rose."),
        ("figures.csv", b"Net sales rose."),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_kind_of_file_is_read(name: str, raw: bytes) -> None:
    assert read_document(name, raw) == ReadDocument("Net sales rose.")


def test_plain_text_and_markdown_stay_as_they_are_but_for_line_ends() -> None:
    raw = b"# Results\r\n\r\n\r\n- **Net sales**  rose\r  - margin < 5%\x0cNext page"
    expected = "# Results\n\n\n- **Net sales**  rose\n  - margin < 5%\nNext page"
    assert read_document("q.md", raw) == ReadDocument(expected)


def test_invisible_signs_and_controls_are_left_out_and_nul_is_counted() -> None:
    document = read_document("q.txt", "Net\u00a0sales ro\u00adse\x07 by\u200b 5\0\0%".encode() + b" and so on" * 10)
    assert document.text.startswith("Net sales rose by 5% and")
    assert document.notes == ("NUL characters, which were left out: 2.",)


@pytest.mark.parametrize("name", ["q.txt", "q.html", "q.docx", "q"])
def test_a_pdf_is_read_whatever_its_name(name: str) -> None:
    document = read_document(name, b"\n " + make_pdf(["Net sales rose."]))
    assert document.text == "Net sales rose."
    named = ("The file is a PDF, whatever its name says, and was read as one.",)
    assert document.notes == (named if "." in name else ())


@pytest.mark.parametrize(
    "raw", [b"\xef\xbb\xbf <!DOCTYPE html><p>x &amp; y", b"<HTML><p>x &amp; y", b"<?xml version='1.0'?><html>x &amp; y"]
)
def test_a_web_page_is_read_whatever_its_name(raw: bytes) -> None:
    document = read_document("q.pdf", raw)
    assert document == ReadDocument("x & y", ("The file is a web page, whatever its name says, and was read as one.",))


def test_a_word_document_is_read_whatever_its_name() -> None:
    document = read_document("q.txt", make_docx(paragraph("x")))
    assert document == ReadDocument("x", ("The file is a Word document, whatever its name says, and was read as one.",))


@pytest.mark.parametrize(
    ("name", "raw", "message"),
    [
        ("q.txt", b"", "holds no text: it is empty"),
        ("q.txt", b" \n\t", "holds no text: it is empty"),
        ("q.txt", "\ufeff \u200b".encode(), "holds no text"),
        ("q.html", b"<html><script>x</script></html>", "holds no text"),
        ("q.docx", make_docx(""), "holds no text"),
        ("q.pdf", SECRET.encode(), "named like a PDF and doesn't begin like one"),
        ("q.docx", SECRET.encode(), "named like a Word document and doesn't begin like one"),
        ("q.docx", archive("a.txt"), "a ZIP archive and no Word document"),
        ("q.txt", archive("a.txt"), "a ZIP archive and no Word document"),
        ("q.docx", archive("xl/workbook.xml"), "an Excel workbook"),
        ("q.docx", archive("ppt/presentation.xml"), "a PowerPoint presentation"),
        ("q.docx", archive("mimetype", "content.xml"), "an OpenDocument file"),
        ("q.docx", archive("mimetype", "META-INF/container.xml"), "an e-book"),
        ("q.docx", OLE + bytes(600), "format from before 2007"),
        ("q.docx", OLE + bytes(600) + "EncryptedPackage".encode("utf-16-le"), "protected by a password"),
        ("q.txt", rb"{\rtf1 " + SECRET.encode(), "an RTF document"),
        ("q.txt", gzip.compress(SECRET.encode(), mtime=0), "a compressed file"),
        ("q.pdf", b"\x89PNG\r\n\x1a\n" + bytes(600), "an image"),
        ("q.txt", b"\x7fELF" + bytes(600), "data that is no text"),
        ("q.txt", bytes(range(256)) * 20, "no text in UTF-8 or any other encoding"),
    ],
)
def test_what_is_no_text_is_refused_in_a_sentence(name: str, raw: bytes, message: str) -> None:
    with pytest.raises(TrackerError, match=message) as refused:
        read_document(name, raw)
    assert SECRET not in str(refused.value)
    assert str(refused.value).endswith(".")


def test_a_file_above_the_limit_is_refused() -> None:
    with pytest.raises(TrackerError, match="larger than 50 MB"):
        read_document("q.txt", bytes(MAX_BYTES + 1))


@pytest.mark.parametrize("tag", ["", "<html>"])
def test_more_text_than_the_limit_is_refused(tag: str) -> None:
    with pytest.raises(TrackerError, match="more than 5,000,000 characters of text"):
        read_document("q.txt", tag.encode() + b"word " * (MAX_CHARACTERS // 5 + 1))


def test_the_uploaders_limit_is_that_of_the_reader() -> None:
    assert f"maxUploadSize = {MAX_BYTES // 1_000_000}\n" in (ROOT / ".streamlit" / "config.toml").read_text("utf-8")


@pytest.mark.parametrize("name", ["q.txt", "q.html", "q.pdf", "q.docx"])
def test_nothing_of_a_damaged_file_is_logged_or_in_an_error(name: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    whole = {
        "q.txt": SECRET.encode("utf-16"),
        "q.html": f"<html><p>{SECRET}".encode() + b"\xe9\x81",
        "q.pdf": make_pdf([SECRET] * 3),
        "q.docx": make_docx(paragraph(SECRET)),
    }[name]
    for cut in range(8, len(whole), max(1, len(whole) // 60)):
        for raw in (whole[:cut], whole[:cut] + b"\0Zebrafish<\xff" + whole[cut + 10 :]):
            refused = error_of(name, raw)
            assert refused is None or "Zebrafish" not in "".join(traceback.format_exception(refused))
    assert "Zebrafish" not in caplog.text


def test_importing_the_reader_brings_none_of_its_libraries() -> None:
    program = (
        "import sys, feature_tracker.reading;"
        "sys.exit(', '.join({'lxml', 'pypdf', 'charset_normalizer', 'numpy', 'zipfile'} & sys.modules.keys()) or 0)"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0
