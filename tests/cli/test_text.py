from __future__ import annotations

from pathlib import Path

import pytest

from feature_tracker.cli.text import text_or_file
from feature_tracker.errors import TrackerError


def test_a_text_is_itself_and_a_file_is_read() -> None:
    assert text_or_file("Rates rose.") == "Rates rose."
    assert text_or_file("Rates rose. " * 1000) == "Rates rose. " * 1000


@pytest.mark.parametrize("text", ["nofile.txt", "reports/q3", "C:\\\\q3.txt"])
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


def test_a_file_in_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("Erträge".encode("latin-1"))
    with pytest.raises(TrackerError, match="is not UTF-8 text"):
        text_or_file(str(tmp_path / "a.txt"))
