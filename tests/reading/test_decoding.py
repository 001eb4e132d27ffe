from __future__ import annotations

import pytest

from feature_tracker.errors import TrackerError
from feature_tracker.reading import read_document
from feature_tracker.reading.decoding import decode

ENGLISH = "The company’s “net sales” rose 5% – to £12 million. "
GERMAN = "Die Erträge stiegen um 5 Prozent, die Löhne fielen. "
RUSSIAN = "Выручка выросла на 5% в третьем квартале. "
CHINESE = "本季度净销售额增长百分之五，营业利润为十二亿元。"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("text", ["", "Net sales", ENGLISH, RUSSIAN, CHINESE, "😀"])
def test_utf8_is_read_with_or_without_a_mark_and_without_a_note(text: str, encoding: str) -> None:
    assert decode(text.encode(encoding)) == (text, ())


@pytest.mark.parametrize("mark", ["\ufeff", ""])
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf16_is_read_with_or_without_a_mark(mark: str, encoding: str) -> None:
    text, notes = decode((mark + ENGLISH).encode(encoding))
    assert text == ENGLISH
    assert notes[0].startswith("The file is not UTF-8 and was read as UTF-16.")


@pytest.mark.parametrize("mark", ["\ufeff", ""])
@pytest.mark.parametrize("encoding", ["utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("text", [ENGLISH, RUSSIAN, CHINESE, "up 😀", "5"])
def test_utf32_is_read_with_or_without_a_mark(text: str, encoding: str, mark: str) -> None:
    decoded, notes = decode((mark + text).encode(encoding))
    assert decoded == text
    assert "read as UTF-32." in notes[0]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize(
    "text", [GERMAN, RUSSIAN, "Τα έσοδα αυξήθηκαν κατά 5%.", "ארבעה אחוזים של הכנסות", "ارتفعت الإيرادات بنسبة"]
)
def test_utf16_of_any_alphabet_is_read_without_a_mark(text: str, encoding: str) -> None:
    assert decode(text.encode(encoding)).text == text


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize(
    "text", ["5％増加し、営業利益は12億円でした。", "Выручка", "📈 up 📉", "A株", ENGLISH + CHINESE]
)
@pytest.mark.parametrize("missing", [0, 1])
def test_other_utf16_without_a_mark_is_read_or_refused(text: str, encoding: str, missing: int) -> None:
    raw = text.encode(encoding)
    try:
        document = read_document("a.txt", raw[: len(raw) - missing])
    except TrackerError:
        return
    assert document.text.startswith(text[: -1 - missing])


@pytest.mark.parametrize(
    "raw", [b"Net\0 sales rose 5%.", b"a" * 40 + b"\0", b"Net sales\0rose by 5% this year\0", b"\0Net sales rose."]
)
def test_a_stray_nul_makes_no_utf16(raw: bytes) -> None:
    assert read_document("a.txt", raw).text == raw.replace(b"\0", b"").decode()
    assert decode(raw).notes == (f"NUL characters, which were left out: {raw.count(0)}.",)


@pytest.mark.parametrize("text", ["Erträge", "café", ENGLISH, ENGLISH * 1000, GERMAN, GERMAN * 1000])
def test_western_text_that_is_not_utf8_is_windows_1252(text: str) -> None:
    decoded, notes = decode(text.encode("cp1252"))
    assert decoded == text
    assert "read as Windows-1252." in notes[0]
    assert "save the file as UTF-8" in notes[0]


@pytest.mark.parametrize(
    ("text", "encoding", "name"),
    [(RUSSIAN, "cp1251", "CP1251"), (RUSSIAN, "koi8-r", "KOI8-R"), (CHINESE, "gb18030", "GB18030")],
)
def test_other_alphabets_are_recognized(text: str, encoding: str, name: str) -> None:
    decoded, notes = decode((text * 5).encode(encoding))
    assert decoded == text * 5
    assert f"read as {name}." in notes[0]


def test_utf8_with_a_fault_stays_utf8() -> None:
    raw = (ENGLISH * 10).encode() + "é".encode()[:1]
    decoded, notes = decode(raw)
    assert decoded == ENGLISH * 10 + "\ufffd"
    assert notes == ("Damaged characters, which stand as “\ufffd”: 1.",)


def test_bytes_of_no_encoding_are_refused() -> None:
    with pytest.raises(TrackerError, match="Save it as “Text, UTF-8”"):
        decode(bytes(range(256)) * 20)


@pytest.mark.parametrize(
    "head",
    ['<meta charset="windows-1251">', "<meta content='text/html; charset=Windows-1251'>", "<?xml encoding='cp1251'?>"],
)
def test_a_web_page_is_read_in_the_encoding_that_it_names(head: str) -> None:
    short = "<html>" + head + "<p>Да"  # too short to be recognized
    assert read_document("q.html", short.encode("cp1251")).text == "Да"


@pytest.mark.parametrize("declared", ["iso-8859-1", "us-ascii", "punycode", "no-such-thing", "utf-16"])
def test_what_a_web_page_names_wrongly_is_not_believed(declared: str) -> None:
    raw = f'<html><meta charset="{declared}"><p>{ENGLISH}'.encode("cp1252")
    assert read_document("q.html", raw).text == ENGLISH.strip()
    assert read_document("q.html", raw.decode("cp1252").encode()).text == ENGLISH.strip()
