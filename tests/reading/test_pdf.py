from __future__ import annotations

import time

import pytest

from feature_tracker.errors import TrackerError
from feature_tracker.reading import pdf as module
from feature_tracker.reading.pdf import join_hyphenated, read_pdf
from tests.reading.making import make_pdf

SCAN = b"q 10 0 0 10 0 0 cm 0 0 m 5 5 l S Q"


def test_pages_are_read_in_order() -> None:
    document = read_pdf(make_pdf(["Net sales rose 5.4%\nto $1,234 million.", "Margin (5) widened."]))
    assert document.text == "Net sales rose 5.4%\nto $1,234 million.\nMargin (5) widened."
    assert document.notes == ()


@pytest.mark.parametrize(
    ("pages", "note"),
    [
        ("t-", "Page 2 holds no text; it is probably a scan."),
        ("tt-ttt-", "Pages 3 and 7 hold no text; they are probably scans."),
        ("---t-", "Pages 1-3 and 5 hold no text; they are probably scans."),
        ("--t", "Pages 1-2 hold no text; they are probably scans."),
        ("-t" * 11, "Pages 1, 3, 5, 7, 9, 11, 13, 15 and 3 more hold no text; they are probably scans."),
    ],
)
def test_pages_without_text_are_named(pages: str, note: str) -> None:
    document = read_pdf(make_pdf([SCAN if page == "-" else "Net sales" for page in pages]))
    assert document.notes == (note,)


def test_a_pdf_of_scans_is_refused_with_advice() -> None:
    with pytest.raises(TrackerError, match=r"probably scans.*text recognition \(OCR\)"):
        read_pdf(make_pdf([SCAN, SCAN]))


@pytest.mark.parametrize("algorithm", ["RC4-40", "RC4-128", "AES-128", "AES-256"])
def test_an_empty_password_is_tried(algorithm: str) -> None:
    raw = make_pdf(["Net sales"], password="", owner_password="secret", algorithm=algorithm)
    assert read_pdf(raw).text == "Net sales"


def test_a_pdf_with_a_password_is_refused_with_advice() -> None:
    with pytest.raises(TrackerError, match=r"protected by a password.*print it to a new PDF"):
        read_pdf(make_pdf(["Net sales"], password="secret"))


@pytest.mark.parametrize("cut", [0.05, 0.3, 0.6])
def test_a_damaged_pdf_is_refused_with_advice(cut: float) -> None:
    raw = make_pdf(["Net sales rose."] * 3)
    with pytest.raises(TrackerError, match="may be damaged"):
        read_pdf(raw[: int(cut * len(raw))])


def test_a_damaged_page_is_left_out_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = module.PdfReader.pages.fget
    assert whole is not None

    class Pages(list):
        def __getitem__(self, number):
            if number == 1:
                raise KeyError("/Contents")
            return super().__getitem__(number)

    monkeypatch.setattr(module.PdfReader, "pages", property(lambda reader: Pages(whole(reader))))
    document = read_pdf(make_pdf(["One", "Two", "Three"]))
    assert document.text == "One\nThree"
    assert document.notes == ("Page 2 is damaged and was left out.",)


def test_two_thousand_pages_are_refused_at_once() -> None:
    raw = make_pdf(["Net sales rose."] * 2000)
    start = time.perf_counter()
    with pytest.raises(TrackerError, match=r"has 2,000 pages; at most 1,000"):
        read_pdf(raw)
    assert time.perf_counter() - start < 10


def test_a_pdf_that_takes_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_SECONDS", -1)
    with pytest.raises(TrackerError, match=r"takes too long to read: 0 of 3 pages"):
        read_pdf(make_pdf(["Net sales"] * 3))


def test_a_pdf_with_too_much_text_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("feature_tracker.reading.document.MAX_CHARACTERS", 20)
    with pytest.raises(TrackerError, match="more than 20 characters"):
        read_pdf(make_pdf(["Net sales rose."] * 3))


@pytest.mark.parametrize(
    ("text", "joined"),
    [
        ("inter-\nest rates rose", "interest\nrates rose"),
        ("inter\u00ad\nest rates", "interest\nrates"),
        ("inter\u2010\nest, rates", "interest,\nrates"),
        ("at year-\nend. The year-end", "at year-end.\nThe year-end"),
        ("long-\nterm debt, a long debt of a term", "long-term\ndebt, a long debt of a term"),
        ("in-\ncome. The income came in", "income.\nThe income came in"),
        ("a state-of-the-\nart plant", "a state-of-the-art\nplant"),
        ("non-\nGAAP income", "non-GAAP\nincome"),
        ("US-\nbased makers", "US-based\nmakers"),
        ("Form 10-\nK for 2023-\n2024", "Form 10-K\nfor 2023-2024"),
        ("finan-\ncial\nposition", "financial\nposition"),
        ("Margin -\nrose", "Margin -\nrose"),
        ("Sales --\nrose", "Sales --\nrose"),
        ("ends in inter-", "ends in inter-"),
        ("ends in inter-\nest", "ends in interest"),
        ("inter-\n\nest", "inter-\n\nest"),
    ],
)
def test_words_that_a_line_end_divides_are_joined(text: str, joined: str) -> None:
    assert join_hyphenated(text) == joined


def test_ligatures_are_spelled_out() -> None:
    to_unicode = b"/CIDInit /ProcSet findresource begin begincmap 1 beginbfchar <66> <FB01> endbfchar endcmap end"
    assert read_pdf(make_pdf(["pro f t"], to_unicode=to_unicode)).text == "pro fi t"
