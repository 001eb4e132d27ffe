"""Where the shipped data lies, reading JSON and lines of bounded size, and writing a file whole or not at all."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import tempfile
import uuid
import zlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from feature_tracker.errors import TrackerError

_PACKAGE = Path(__file__).resolve().parent
LARGEST_JSON = 24 * 2**20
"""Bytes of JSON that are parsed: as Python objects they take up to thirty times as much memory."""
_LONGEST_LINE = 2**26  # characters; a document of a corpus is one line


def data_root() -> Path:
    """The folder that holds the shipped `sae/` and `labels/`: the checkout, or an installed package's `data/`."""
    packaged = _PACKAGE / "data"
    return packaged if packaged.is_dir() else _PACKAGE.parent


def read_json(path: Path, limit: int = LARGEST_JSON) -> Any:
    """Read a JSON file in UTF-8, UTF-16 or UTF-32, with or without a byte order mark.

    Args:
        limit: bytes that the file may have; a larger one is refused before it is parsed.

    Raises:
        TrackerError: the file can't be read, is too large, is no JSON, or is nested too deeply.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(limit + 1)
    except OSError as error:
        raise TrackerError(f"{path} can't be read ({error.strerror or error}).") from None
    if len(raw) > limit:
        raise TrackerError(f"{path} has more than {limit:,} bytes, so it is not the JSON that was expected here.")
    try:
        return parse_json(raw)
    except ValueError as error:
        raise TrackerError(f"{path} is no JSON in UTF-8 ({error}). It may be cut short: copy it again.") from None


def parse_json(text: str | bytes) -> Any:
    """Parse JSON. Whole numbers of hundreds of digits become floats, which Python would refuse.

    Raises:
        ValueError: the text is no JSON, or is nested deeper than Python can parse.
    """
    try:
        try:
            return json.loads(text)
        except json.JSONDecodeError:
            raise
        except ValueError:  # from int(), or bytes that are no text
            return json.loads(text, parse_int=lambda digits: int(digits) if len(digits) < 300 else float(digits))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (number from 1, text) for every line of a UTF-8 file that isn't blank; a `.gz` file is unpacked on the way.

    Raises:
        TrackerError: the file can't be read, is not UTF-8, is cut short, or has a line of more than 2^26 characters.
    """
    number = 0
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8-sig") as lines:
            while text := lines.readline(_LONGEST_LINE + 1):
                number += 1
                if len(text) > _LONGEST_LINE:
                    raise TrackerError(f"{path}, line {number}: longer than {_LONGEST_LINE:,} characters.")
                if "\0" in text:
                    raise TrackerError(
                        f"{path}, line {number}: it holds a NUL character, as UTF-16 does. Save the file as UTF-8."
                    )
                if text.strip():
                    yield number, text
    except (UnicodeDecodeError, EOFError, zlib.error, gzip.BadGzipFile):
        raise TrackerError(
            f"{path}, after line {number}: not text in UTF-8, or a .gz file that is cut short. Save it as UTF-8, or "
            "copy or download it again."
        ) from None
    except OSError as error:
        raise TrackerError(f"{path} can't be read ({error}).") from None


@contextmanager
def replacing(path: Path, *, folder: bool = False) -> Generator[Path]:
    """Write a file or folder whole or not at all.

    The block writes to the path that it is given, which lies beside `path` and has the same ending. When the block
    ends, what it wrote is flushed to disk and renamed to `path`. When the block raises, what it wrote is removed and
    `path` stays as it was. A killed process leaves `path` as it was, and a hidden file beside it.

    No system call swaps two folders portably: the old folder is moved aside before the new one takes its name, so a
    reader finds no folder for a moment, but never half of one.

    Args:
        path: its parent folders are made. Where it is a link, what the link points to is replaced.
        folder: replace a folder with everything in it; the block is given an empty folder.

    Raises:
        TrackerError: the file system refuses to write.
    """
    target = Path(os.path.realpath(path))
    # Unique, so that two writers don't write to one file. A prefix, because some writers go by the ending.
    token = uuid.uuid4().hex[:8]
    beside, aside = (target.with_name(f".{state}-{token}-{target.name}") for state in ("new", "old"))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if folder:
            beside.mkdir()
        yield beside
        for written in (*beside.rglob("*"), beside):
            _flush(written)
        if folder and target.is_dir():
            _swap_folders(beside, target, aside)
        else:
            beside.replace(target)
        _flush(target.parent)
    except OSError as error:
        raise TrackerError(f"{path} can't be written ({error.strerror or error}).") from None
    finally:
        if folder:
            shutil.rmtree(beside, ignore_errors=True)
        else:
            with suppress(OSError):
                beside.unlink()


def require_writable(folder: Path) -> None:
    """Refuse a folder that can't be written, or made, before hours of work end there.

    Raises:
        TrackerError: the file system refuses to write there.
    """
    folder = folder.absolute()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise TrackerError(f"The folder {folder} can't be written ({error.strerror or error}).") from None


def _swap_folders(new: Path, target: Path, aside: Path) -> None:
    target.rename(aside)
    try:
        new.rename(target)
    except BaseException:
        aside.rename(target)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _flush(path: Path) -> None:
    """Wait until a file's contents, or a folder's list of names, are on disk."""
    if os.name == "nt" and path.is_dir():  # Windows opens no folders
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
