"""Small PDFs and Word documents, made in memory."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence

from pypdf import PdfWriter
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

_WORD = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
_COMPATIBILITY = 'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"'


def make_pdf(
    pages: Sequence[str | bytes],
    *,
    password: str | None = None,
    owner_password: str | None = None,
    algorithm: str = "AES-256",
    to_unicode: bytes | None = None,
) -> bytes:
    """A PDF with a page for each text; a page of bytes has these as its content stream.

    Args:
        to_unicode: what the font's codes stand for, as a CMap.
    """
    writer = PdfWriter()
    for page in pages:
        content = page if isinstance(page, bytes) else _content(page)
        leaf = writer.add_blank_page(612, 792)
        font = _dictionary(Type="/Font", Subtype="/Type1", BaseFont="/Helvetica", Encoding="/WinAnsiEncoding")
        if to_unicode is not None:
            font[NameObject("/ToUnicode")] = writer._add_object(_stream(to_unicode))
        leaf[NameObject("/Resources")] = _dictionary(Font=_dictionary(F1=font))
        leaf[NameObject("/Contents")] = writer._add_object(_stream(content).flate_encode())
    if password is not None:
        writer.encrypt(password, owner_password, algorithm=algorithm)
    written = io.BytesIO()
    writer.write(written)
    return written.getvalue()


def _dictionary(**entries: str | DictionaryObject) -> DictionaryObject:
    values = {key: NameObject(value) if isinstance(value, str) else value for key, value in entries.items()}
    return DictionaryObject({NameObject(f"/{key}"): value for key, value in values.items()})


def _stream(data: bytes) -> DecodedStreamObject:
    stream = DecodedStreamObject()
    stream.set_data(data)
    return stream


def _content(text: str) -> bytes:
    lines = text.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)").splitlines()
    shown = " T* ".join(f"({line}) Tj" for line in lines)
    return f"BT /F1 9 Tf 11 TL 50 750 Td {shown} ET".encode("cp1252")


def make_docx(body: str, **parts: str) -> bytes:
    """A Word document of XML in the namespaces `w` and `mc`.

    Args:
        parts: further parts by name, such as `footnotes`, as the content of their root.
    """
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        for name, content in {"document": f"<w:body>{body}</w:body>", **parts}.items():
            archive.writestr(f"word/{name}.xml", f"<w:root {_WORD} {_COMPATIBILITY}>{content}</w:root>")
    return written.getvalue()


def paragraph(text: str) -> str:
    """A paragraph of a Word document."""
    return f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>"


def table(rows: Sequence[Sequence[str]]) -> str:
    """A table of a Word document, with a paragraph in each cell."""
    cells = ("".join(f"<w:tc>{paragraph(cell)}</w:tc>" for cell in row) for row in rows)
    return "<w:tbl><w:tblPr/>" + "".join(f"<w:tr>{row}</w:tr>" for row in cells) + "</w:tbl>"
