from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from feature_tracker.cli.text import text_or_file
from feature_tracker.errors import TrackerError
from feature_tracker.reading import MAX_BYTES
from tests.reading.making import make_docx, make_pdf, paragraph
from tests.support import ROOT


def test_a_text_is_itself_and_a_file_is_read() -> None:
    assert text_or_file("Rates rose.") == "Rates rose."
    assert text_or_file("Rates rose. " * 1000) == "Rates rose. " * 1000


@pytest.mark.parametrize(
    "text", ["nofile.txt", "q3.PDF", "q3.docx", "q3.md", "q3.htm", "q3.html", "reports/q3", "C:\\\\q3.txt"]
)
def test_a_path_without_a_file_is_no_text(text: str) -> None:
    with pytest.raises(TrackerError, match="looks like a file's path, but there is no such file"):
        text_or_file(text)


@pytest.mark.parametrize("text", ["Rates", "5.4%", "nofile.txt ", "Profit and/or loss.", "See q3.txt"])
def test_a_text_that_only_resembles_a_path_is_itself(text: str) -> None:
    assert text_or_file(text) == text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_file_is_read_without_the_mark_it_may_begin_with(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.txt").write_text("Erträge stiegen.", encoding=encoding)
    assert text_or_file(str(tmp_path / "a.txt")) == "Erträge stiegen."


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("q3.html", b"<p>Rates rose.</p>"),
        ("q3.pdf", make_pdf(["Rates rose."])),
        ("q3.docx", make_docx(paragraph("Rates rose."))),
        ("q3", b"Rates rose."),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_documents_are_read(tmp_path: Path, name: str, raw: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / name).write_bytes(raw)
    assert text_or_file(str(tmp_path / name)) == "Rates rose."
    assert capsys.readouterr() == ("", "")


def test_how_a_file_was_read_goes_to_standard_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.txt").write_bytes("Erträge".encode("latin-1"))
    assert text_or_file(str(tmp_path / "a.txt")) == "Erträge"
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "was read as Windows-1252" in captured.err


@pytest.mark.parametrize(("raw", "message"), [(b"", "holds no text"), (bytes(MAX_BYTES + 9), "larger than 50 MB")])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, raw: bytes, message: str) -> None:
    (tmp_path / "a.txt").write_bytes(raw)
    with pytest.raises(TrackerError, match=rf"a\.txt: This file.*{message}"):
        text_or_file(str(tmp_path / "a.txt"))


def test_an_argument_that_is_not_utf8_is_read_in_the_encoding_that_it_looks_like(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert text_or_file(os.fsdecode("Die Erträge stiegen.".encode("latin-1"))) == "Die Erträge stiegen."
    assert "not in UTF-8; its encoding was guessed" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["a\ud800b", "\ud83d\ude00"])
def test_other_halves_of_characters_stay_for_the_tokenizer_to_refuse(text: str) -> None:
    assert text_or_file(text) == text


def test_a_file_whose_name_is_not_utf8_is_read(tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(tmp_path / "caf") + b"\xe9.txt")
    Path(path).write_text("Rates rose.")
    assert text_or_file(path) == "Rates rose."
    with pytest.raises(TrackerError, match="there is no such file"):
        text_or_file(path.removesuffix(".txt") + "s.txt")


@pytest.mark.parametrize("argument", [b"q\xe9.txt", b"\xff\xfe\xfd"])
def test_a_command_survives_bytes_that_are_not_utf8(argument: bytes) -> None:
    command = [sys.executable, "-m", "feature_tracker", "trace", argument, "--bundle", b"caf\xe9.toml"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith(b"Error: No bundle")
    assert b"Traceback" not in ended.stderr


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_a_file_in_wide_characters_without_a_mark_is_read(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.txt").write_bytes("Net sales rose 5%.".encode(encoding))
    assert text_or_file(str(tmp_path / "a.txt")) == "Net sales rose 5%."
