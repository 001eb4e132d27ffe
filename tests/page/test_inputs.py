"""The text box and what fills it."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from tests.page.driving import TEXT, analyze, errors
from tests.reading.making import make_docx, make_pdf, paragraph
from tests.support import SENTENCES


def upload(page: AppTest, name: str, raw: bytes) -> AppTest:
    return page.file_uploader(key="file").set_value((name, raw, "application/octet-stream")).run()


def captions(page: AppTest) -> str:
    return "\n".join(caption.value for caption in page.caption).replace("\\", "")


def tag_buttons(page: AppTest) -> list:
    return [button for button in page.button if button.label == "Remove the tags"]


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("q.txt", b"\xef\xbb\xbfNet sales\r\nrose"),
        ("q.md", b"Net sales\rrose"),
        ("q.html", b"<p>Net sales<br>rose</p>"),
        ("q.htm", b"<p>Net sales<br>rose</p>"),
        ("q.pdf", make_pdf(["Net sales\nrose"])),
        ("q.docx", make_docx("<w:p><w:r><w:t>Net sales</w:t><w:br/><w:t>rose</w:t></w:r></w:p>")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_uploaded_file_fills_the_box(page: AppTest, name: str, raw: bytes) -> None:
    upload(page, name, raw)
    assert page.text_area(key="text").value == "Net sales\nrose"
    assert not errors(page)


@pytest.mark.parametrize(
    ("name", "raw", "message"),
    [
        ("q.txt", b" \n", "holds no text"),
        ("q.pdf", make_pdf([b"0 0 m 5 5 l S"]), "text recognition"),
        ("q.pdf", make_pdf(["x"], password="secret"), "protected by a password"),
        ("q.docx", b"Net sales", "named like a Word document"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_and_the_box_unchanged(
    page: AppTest, name: str, raw: bytes, message: str
) -> None:
    page.text_area(key="text").set_value("my own words").run()
    upload(page, name, raw)
    assert message in errors(page)[0]
    assert "The box is unchanged" in errors(page)[0]
    assert page.text_area(key="text").value == "my own words"
    page.button(key="analyze").click().run()
    assert not errors(page)
    assert page.text_area(key="text").value == "my own words"


def test_how_a_file_was_read_stands_under_the_box_until_the_text_changes(page: AppTest) -> None:
    upload(page, "q.txt", "Erträge und Löhne".encode("cp1252"))
    assert page.text_area(key="text").value == "Erträge und Löhne"
    assert "was read as Windows-1252" in captions(page)
    page.button(key="analyze").click().run()
    assert "was read as Windows-1252" in captions(page)
    page.text_area(key="text").set_value(SENTENCES).run()
    assert "Windows-1252" not in captions(page)


def test_notes_of_one_file_go_with_the_next(page: AppTest) -> None:
    upload(page, "q.pdf", make_pdf(["Net sales", b"0 0 m 5 5 l S"]))
    assert "Page 2 holds no text" in captions(page)
    upload(page, "q.docx", make_docx(paragraph("Net sales rose.")))
    assert "Page 2" not in captions(page)


def test_a_note_says_what_the_features_were_made_from(page: AppTest) -> None:
    said = "made from English finance and general text"
    assert said not in captions(page)  # an empty box
    page.text_area(key="text").set_value("rates").run()
    assert said in captions(page)
    page.text_area(key="text").set_value(SENTENCES).run()
    assert said not in captions(page)


def test_tags_are_removed_on_request(page: AppTest) -> None:
    page.text_area(key="text").set_value("a < b > c, <5%").run()
    assert not tag_buttons(page)
    page.text_area(key="text").set_value("<p>Net <b>sales</b> rose</p>").run()
    tag_buttons(page)[0].click().run()
    assert page.text_area(key="text").value == "Net sales rose"
    assert not tag_buttons(page)


def test_tags_can_be_removed_after_the_text_was_analyzed(page: AppTest) -> None:
    analyze(page, f"<b>{TEXT}</b>")
    tag_buttons(page)[0].click().run()
    assert page.text_area(key="text").value == TEXT
    assert not errors(page)
