"""Read text files of one record a line, plain or compressed."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

from feature_tracker.errors import TrackerError

_PACKAGE = Path(__file__).resolve().parent


def data_root() -> Path:
    """Folder that holds the shipped `sae/` and `labels/`: the checkout's root, or the package's `data/` in a wheel."""
    packaged = _PACKAGE / "data"
    return packaged if packaged.is_dir() else _PACKAGE.parent


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """(number from 1, text) of every line of a UTF-8 file that isn't blank; a `.gz` file is unpacked on the way.

    Raises:
        TrackerError: the file can't be read, is not UTF-8 or is cut short.
    """
    number = 0
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8-sig") as lines:
            for number, text in enumerate(lines, start=1):
                if text.strip():
                    yield number, text
    except (UnicodeDecodeError, EOFError, zlib.error, gzip.BadGzipFile):
        raise TrackerError(
            f"{path}, after line {number}: not text in UTF-8, or a .gz file that is cut short. Save it as UTF-8, or "
            "copy or download it again."
        ) from None
    except OSError as error:
        raise TrackerError(f"{path} can't be read ({error}).") from None
