"""Run documents into an archive on Ray Data: on this machine's cores, or on a cluster with a shared folder.

One task reads the documents, in order, and cuts them into the same parts as `archive.run` does. Actors that hold the
model run the parts and write their files to the archive, whole or not at all. The driver admits the parts in order, so
all that passes through it is a record of each. Where a worker dies, Ray starts another and has the part run again: the
same part makes the same files.

A cluster's machines must see inputs, bundle and archive under the same paths.
"""

from __future__ import annotations

import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd
import ray
import torch
from ray.data import ActorPoolStrategy, DataContext, Dataset, Datasource, ReadTask
from ray.data.block import BlockMetadata
from ray.exceptions import GetTimeoutError
from transformers import PreTrainedTokenizerBase

from feature_tracker.archive import parts
from feature_tracker.archive.inputs import Inputs, Item
from feature_tracker.archive.parts import Keys, Names, Part, packed, read_entry
from feature_tracker.archive.ray_cluster import Cluster, Size, connected, size_of, telling_ray_errors
from feature_tracker.archive.run import RunReport, duration, finish, manifest_of
from feature_tracker.archive.schema import Manifest
from feature_tracker.archive.store import Committed, Store, write_part
from feature_tracker.archive.tables import run_part
from feature_tracker.errors import TrackerError
from feature_tracker.progress import Progress, silent

if TYPE_CHECKING:
    from feature_tracker.tracker import Tracker

OpenTracker = Callable[[], "Tracker"]
"""Opens the bundle, on any machine: `functools.partial(Tracker.open, bundle)`."""

_STARTS_WITHIN = 20 * 60  # seconds for a worker to start, with a machine that the cluster may have to begin first
_STUCK_AFTER = 30 * 60  # seconds without a part: Ray Data tries a part that kills its workers again without an end


class _Opened(NamedTuple):
    """What the driver has to know of a bundle, as a worker opened it."""

    manifest: Manifest
    tokenizer: PreTrainedTokenizerBase
    window: int


class _Start(NamedTuple):
    """Where reading begins: what an archive has, and the number that comes next."""

    inputs: Inputs
    opened: _Opened
    sources: Keys
    names: Names
    number: int
    first_document: int
    first_token: int
    part_characters: int


class _Read(NamedTuple):
    """A part to run.

    Attributes:
        part: or what went wrong.
        listed: bytes of all items up to its end.
        pending: bytes of those that the archive lacks.
    """

    part: Part | TrackerError
    listed: float
    pending: float


class _Written(NamedTuple):
    """A part whose files are written."""

    number: int
    committed: Committed
    n_positions: int
    unread: Counter[str]
    listed: float
    pending: float


def run_on_ray(
    open_tracker: OpenTracker, inputs: Inputs, folder: Path, cluster: Cluster, *, progress: Progress = silent
) -> RunReport:
    """Run all documents that the archive doesn't have yet, as `archive.run.run_corpus` does, with the same result.

    Workers open the bundle. This process does so, too, for a moment, where they are on this machine without GPUs.

    Args:
        folder: of the archive; all machines of the cluster see it.

    Raises:
        TrackerError: no cluster answers; it lacks what a worker needs; a part kills its worker again and again; what
            `run_corpus` raises.
    """
    started, report, folder = time.monotonic(), RunReport(), folder.absolute()
    # Workers have other working directories.
    left_out = inputs.leave_out and inputs.leave_out.absolute()
    inputs = replace(inputs, paths=tuple(path.absolute() for path in inputs.paths), leave_out=left_out)
    with connected(cluster.address, progress), telling_ray_errors():
        size = size_of(cluster)
        progress("Looking for the model", 0.0)
        # On this machine, opening it here takes a second, and a worker's start five. A GPU is left to the workers.
        opened = _open_on_a_worker(open_tracker, size) if cluster.address or size.gpus else _open(open_tracker)
        if isinstance(opened, TrackerError):
            raise opened
        with Store.open(folder, opened.manifest) as store:
            report.n_before = store.n_documents
            total = max(inputs.size, 1.0)
            reading = _Reading(inputs, opened, store)
            for written in _run(reading, open_tracker, folder, opened.manifest, size):
                _admit(store, written)
                _count(written, report)
                seconds, left = time.monotonic() - started, max(total - written.listed, 0.0)
                told = duration(seconds * left / max(written.pending, 1.0))
                progress(f"{report.n_tokens / seconds:,.0f} tokens/s, {told} left", 1 - left / total)
            finish(store, progress)
            report.n_bytes = sum(part.n_bytes for part in store.parts)
    report.seconds = time.monotonic() - started
    return report


def _admit(store: Store, written: _Written) -> None:
    if (written.number, written.committed.first_document) != (len(store.parts), store.n_documents):
        raise TrackerError(
            "The documents changed while they were read. Leave them as they are, and run the same command again: it "
            "goes on where it was."
        )
    store.admit(written.number, written.committed)


def _count(written: _Written, report: RunReport) -> None:
    report.n_documents += written.committed.n_documents
    report.n_tokens += written.committed.n_tokens
    report.n_positions += written.n_positions
    report.unread += written.unread


class _Reading(Datasource):
    """Reads the documents that an archive lacks, in order, in one task, and cuts them into parts.

    The task may be run again from its start, where its machine was lost: it knows what the archive had when the run
    began, and doesn't look again.
    """

    def __init__(self, inputs: Inputs, opened: _Opened, store: Store) -> None:
        super().__init__()
        start = _Start(
            inputs,
            opened,
            store.sources(),
            store.names(),
            number=len(store.parts),
            first_document=store.n_documents,
            first_token=store.n_tokens,
            part_characters=parts.PART_CHARACTERS,
        )
        self._start = ray.put(start)  # too large to be sent with the task: sources are 60 MB for a million

    def get_read_tasks(
        self,
        parallelism: int,
        per_task_row_limit: int | None = None,
        data_context: DataContext | None = None,
    ) -> list[ReadTask]:
        """One task, a block a part."""
        return [ReadTask(self._blocks, BlockMetadata(None, None, None, None))]

    def estimate_inmemory_data_size(self) -> int | None:
        """Unknown."""
        return None

    def _blocks(self) -> Iterator[pd.DataFrame]:
        for read in self._parts():
            yield pd.DataFrame({"read": [read]})

    def _parts(self) -> Iterator[_Read]:
        start: _Start = ray.get(self._start)  # a copy for each attempt
        bytes_read = _BytesRead()
        entries = (
            read_entry(item, start.opened.tokenizer, start.opened.window)
            for item in bytes_read.of(start.inputs.items(), start.sources)
        )
        try:
            for part in packed(
                entries,
                start.names,
                number=start.number,
                first_document=start.first_document,
                first_token=start.first_token,
                most=start.part_characters,
            ):
                yield _Read(part, bytes_read.listed, bytes_read.pending)
        except TrackerError as error:
            yield _Read(error, bytes_read.listed, bytes_read.pending)


class _BytesRead:
    """Counts the bytes of items: of all, and of those that are new."""

    def __init__(self) -> None:
        self.listed = self.pending = 0.0

    def of(self, items: Iterable[Item], sources: Keys) -> Iterator[Item]:
        """The items that are new, counted."""
        for item in items:
            self.listed += item.size
            if sources.add(item.source):
                self.pending += item.size
                yield item


class _Worker:
    """An actor: holds the model, runs parts and writes their files."""

    def __init__(self, open_tracker: OpenTracker, folder: Path, manifest: Manifest, cpus: int) -> None:
        torch.set_num_threads(cpus)  # more threads than cores of its own would wait for each other
        self._folder = folder
        self._model_turn = threading.Lock()
        self._failure: TrackerError | None = None
        try:
            self._tracker = open_tracker()
            _require_same(self._tracker, manifest, folder)
        except TrackerError as error:
            self._failure = error  # raised here it would be one of Ray's errors, and tried again

    def __call__(self, batch: pd.DataFrame) -> pd.DataFrame:
        """Run one part: two calls come at once, so that one part is written while the next is run."""
        try:
            written = self._run(batch["read"].iloc[0])
        except TrackerError as error:
            written = error
        return pd.DataFrame({"written": [written]})

    def _run(self, read: _Read) -> _Written:
        if self._failure is not None:
            raise self._failure
        if isinstance(read.part, TrackerError):
            raise read.part
        with self._model_turn:
            tables = run_part(read.part, self._tracker.language_model, self._tracker.saes)
        committed = write_part(self._folder, read.part, tables)
        unread = Counter(entry.reason for entry in read.part.unread)
        return _Written(read.part.number, committed, tables.n_positions, unread, read.listed, read.pending)


def _require_same(tracker: Tracker, manifest: Manifest, folder: Path) -> None:
    if manifest_of(tracker) != manifest:
        raise TrackerError(
            "The workers would not compute the same: on one the bundle is another, or `auto` chooses another dtype "
            f"than {manifest.dtype}. Give all machines the same bundle, and name the dtype with --dtype."
        )
    if not (folder / "archive.json").exists():
        raise TrackerError(
            f"A worker doesn't see {folder}. Put inputs, bundle and archive where all machines see them."
        )


def _run(
    reading: _Reading, open_tracker: OpenTracker, folder: Path, manifest: Manifest, size: Size
) -> Iterator[_Written]:
    """Run all parts; they come in order."""
    context = DataContext.get_current().copy()
    context.execution_options.preserve_order = True
    context.target_max_block_size = 1  # a byte: blocks aren't put together, and each part goes out when it is read
    context.wait_for_min_actors_s = -1  # reading begins while workers start
    context.execution_no_progress_timeout_s = _STUCK_AFTER
    context.enable_progress_bars = context.print_on_execution_start = False
    with DataContext.current(context), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The minimum number of concurrent actors")  # of a job of few parts
        rows: Dataset = ray.data.read_datasource(reading, num_cpus=0, override_num_blocks=1).map_batches(
            _Worker,
            fn_constructor_args=(open_tracker, folder, manifest, size.cpus),
            batch_size=1,
            batch_format="pandas",
            compute=ActorPoolStrategy(
                min_size=size.fewest,
                max_size=size.most,
                max_concurrent_calls_per_actor=2,
                enable_true_multi_threading=True,
            ),
            num_cpus=size.cpus,
            num_gpus=size.gpus,
        )
        for row in rows.iter_rows():
            written = row["written"]
            if isinstance(written, TrackerError):
                raise written
            yield written


def _open_on_a_worker(open_tracker: OpenTracker, size: Size) -> _Opened | TrackerError:
    """Open a bundle where a worker would be: only there it is known what dtype `auto` is."""
    opening: Any = ray.remote(_open).options(num_cpus=size.cpus, num_gpus=size.gpus)
    try:
        return ray.get(opening.remote(open_tracker), timeout=_STARTS_WITHIN)
    except GetTimeoutError:
        raise TrackerError(
            f"In {_STARTS_WITHIN // 60} minutes the cluster had no machine with {size.cpus} cores and {size.gpus} GPUs "
            "for a worker. Look at `ray status`, or ask for less."
        ) from None


def _open(open_tracker: OpenTracker) -> _Opened | TrackerError:
    try:
        tracker = open_tracker()
    except TrackerError as error:
        return error
    return _Opened(manifest_of(tracker), tracker.language_model.tokenizer, tracker.bundle.window)
