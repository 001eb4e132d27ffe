"""Write an archive: part by part, each there as a whole or not at all, and go on after the last one that is there."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from feature_tracker.archive.parts import Keys, Names, Part
from feature_tracker.archive.schema import Manifest
from feature_tracker.archive.summary import Summary
from feature_tracker.archive.tables import PartTables
from feature_tracker.errors import TrackerError
from feature_tracker.files import read_json, replacing, require_writable

_COMMITTED = "parts/{:05}.json"
_COMPRESSION: dict[str, Any] = {"compression": "zstd", "compression_level": 3}
_DELTA, _SPLIT = "DELTA_BINARY_PACKED", "BYTE_STREAM_SPLIT"
_ENCODINGS: dict[str, dict[str, str]] = {
    "documents": {},
    "tokens": dict.fromkeys(("document", "token", "token_id", "start", "end"), _DELTA),
    "features": {
        **dict.fromkeys(("document", "feature", "peak"), _DELTA),
        **dict.fromkeys(("max", "mean", "root_mean", "share"), _SPLIT),
    },
    "unread": {},
    "activations": {**dict.fromkeys(("document", "token", "feature"), _DELTA), "activation": _SPLIT},
}
# Of the bytes of a half-precision activation no two are alike often, but some are frequent. Brotli sees that from its
# level 4 on, at 30 ns an activation; zstd, which looks for repeated bytes, takes an eighth more room.
_BROTLI: dict[str, Any] = {"compression": "brotli", "compression_level": 4}
_SUMMARIES = Summary._fields
_N_PARTS = b"n_parts"
TableName = Literal["documents", "tokens", "features", "unread"]


@dataclass(frozen=True)
class Committed:
    """What a part's JSON file says.

    Attributes:
        first_document: number of its first document.
        n_documents: that were read.
        n_unread: that could not be read.
        n_tokens: BOS left out.
        n_bytes: of its files.
    """

    first_document: int
    n_documents: int
    n_unread: int
    n_tokens: int
    n_bytes: int


class Store:
    """An archive that is being written, by one process at a time.

    Attributes:
        folder: where it lies.
        parts: that are there, in order.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.parts: list[Committed] = []

    @classmethod
    @contextmanager
    def open(cls, folder: Path, manifest: Manifest) -> Generator[Store]:
        """Begin an archive, or go on in one: what a run that was killed left unfinished is removed.

        Raises:
            TrackerError: the folder can't be written, holds something else, an archive that was made with something
                else or is damaged, or another run is writing there.
        """
        recorded = recorded_manifest(folder)
        if recorded is not None:
            _require_same(folder, recorded, manifest)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(folder / ".lock", timeout=0):
                if recorded is None:
                    manifest.save(folder)
                store = cls(folder)
                store._go_on()
                yield store
        except Timeout:
            raise TrackerError(f"Another run is writing to {folder}. Wait until it is done.") from None

    @property
    def n_documents(self) -> int:
        """Documents in all parts."""
        return sum(part.n_documents for part in self.parts)

    @property
    def n_tokens(self) -> int:
        """Tokens of all parts, BOS left out."""
        return sum(part.n_tokens for part in self.parts)

    def sources(self) -> Keys:
        """The sources of all documents that were read, or found unreadable."""
        return Keys(source for table in ("documents", "unread") for source in self._column(table, "source"))

    def names(self) -> Names:
        """The names of all documents that were read."""
        return Names(self._column("documents", "name"))

    def commit(self, part: Part, tables: PartTables) -> None:
        """Write a part. It is there once this returns.

        Raises:
            TrackerError: the disk is full, or can't be written.
        """
        self.admit(part.number, write_part(self.folder, part, tables))

    def admit(self, number: int, committed: Committed) -> None:
        """Say that a part is there, whose files were written. Parts are admitted in order.

        Raises:
            TrackerError: the disk is full, or can't be written.
        """
        with _safe_so_far(), replacing(self.folder / _COMMITTED.format(number)) as beside:
            beside.write_text(json.dumps(asdict(committed)), encoding="utf-8")
        self.parts.append(committed)

    @property
    def summary_is_current(self) -> bool:
        """Whether the tables over all documents are there, and over all parts."""
        paths = [self.folder / f"{name}.parquet" for name in _SUMMARIES]
        return all(path.exists() and _n_parts_of(path) == len(self.parts) for path in paths)

    def write_summary(self, summary: Summary) -> None:
        """Write the tables over all documents.

        Raises:
            TrackerError: they can't be written.
        """
        for name, table in zip(_SUMMARIES, summary, strict=True):
            marked = table.replace_schema_metadata({_N_PARTS: str(len(self.parts))})
            with replacing(self.folder / f"{name}.parquet") as beside:
                pq.write_table(marked, beside, **_COMPRESSION)

    def _column(self, name: TableName, column: str) -> Iterator[str]:
        for number in range(len(self.parts)):
            with pq.ParquetFile(_path(self.folder, name, number)) as file:
                for batch in file.iter_batches(columns=[column]):
                    yield from batch.column(0).to_pylist()

    def _go_on(self) -> None:
        """Find the parts that are there, and remove what is left of others."""
        found = sorted(self.folder.glob("parts/[0-9]*.json"), key=lambda path: int(path.stem))
        if [int(path.stem) for path in found] != list(range(len(found))):
            raise TrackerError(
                f"{self.folder} is damaged: of its parts some are missing. Copy it again, or run the documents again "
                "into a new folder."
            )
        try:
            self.parts = [Committed(**read_json(path)) for path in found]
        except TypeError as error:
            raise TrackerError(f"{self.folder}/parts is damaged ({error}). Copy the archive again.") from None
        for path in self.folder.rglob("part-[0-9]*.parquet"):
            if int(path.stem.removeprefix("part-")) >= len(found):
                path.unlink()
        for path in self.folder.rglob(".new-*"):
            path.unlink()


def write_part(folder: Path, part: Part, tables: PartTables) -> Committed:
    """Write a part's files, each whole or not at all; they count once `Store.admit` has said so.

    Any process that sees the folder may do this, and do it again: the same part makes the same files.

    Raises:
        TrackerError: the disk is full, or can't be written.
    """
    with _safe_so_far():
        n_bytes = sum(_write(folder, name, part.number, table) for name, table in _named(tables))
    return Committed(part.first_document, len(part.documents), len(part.unread), part.n_tokens, n_bytes)


@contextmanager
def _safe_so_far() -> Generator[None]:
    try:
        yield
    except TrackerError as error:
        raise TrackerError(
            f"{error} What was written before is safe. Free some space on the disk, or mend what is wrong, and run "
            "the same command again: it goes on where it was."
        ) from None


def _write(folder: Path, name: str, number: int, table: pa.Table) -> int:
    kind = name.split("/")[0]
    encodings = _ENCODINGS[kind]
    plain: Any = [column for column in table.column_names if column not in encodings]
    compression = _BROTLI if kind == "activations" else _COMPRESSION
    path = _path(folder, name, number)
    with replacing(path) as beside:
        pq.write_table(table, beside, use_dictionary=plain, column_encoding=encodings, **compression)
    return path.stat().st_size


def _path(folder: Path, name: str, number: int) -> Path:
    return folder / name / f"part-{number:05}.parquet"


def _named(tables: PartTables) -> Iterator[tuple[str, pa.Table]]:
    yield "documents", tables.documents
    yield "tokens", tables.tokens
    yield "features", tables.features
    yield "unread", tables.unread
    for layer in tables.by_feature:
        yield f"activations/layer={layer}", tables.activations(layer)


def recorded_manifest(folder: Path) -> Manifest | None:
    """What the archive in a folder was made with; `None` where one can begin.

    Raises:
        TrackerError: the folder can't be written, holds something else, or an archive that is damaged or of another
            version.
    """
    require_writable(folder)
    if (folder / "archive.json").exists():
        return Manifest.load(folder)
    if folder.is_dir() and any(not path.name.startswith(".") for path in folder.iterdir()):
        raise TrackerError(f"{folder} holds other files and no archive. Name a new folder for the archive.")
    return None


def _require_same(folder: Path, recorded: Manifest, expected: Manifest) -> None:
    found = asdict(recorded)
    differences = "; ".join(
        f"{name} {found[name]}, not {value}" for name, value in asdict(expected).items() if found[name] != value
    )
    if differences:
        raise TrackerError(
            f"The archive {folder} was made with {differences}. Take the same bundle and settings, or name a new "
            "folder."
        )


def _n_parts_of(path: Path) -> int | None:
    """Over how many parts a table was made; `None` where it can't be told."""
    try:
        return int((pq.read_schema(path).metadata or {})[_N_PARTS])
    except (OSError, pa.ArrowInvalid, KeyError, ValueError):
        return None
