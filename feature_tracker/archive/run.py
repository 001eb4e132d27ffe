"""Run documents into an archive on this machine."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from feature_tracker.archive import parts
from feature_tracker.archive.archive import Archive
from feature_tracker.archive.inputs import Inputs, Item
from feature_tracker.archive.parts import Part, packed, read_entry
from feature_tracker.archive.schema import Manifest
from feature_tracker.archive.store import Store
from feature_tracker.archive.summary import summarize
from feature_tracker.archive.tables import run_part
from feature_tracker.corpus.origin import Origin, fingerprint
from feature_tracker.progress import Progress, silent
from feature_tracker.tracing.run import Batch

if TYPE_CHECKING:
    from feature_tracker.tracker import Tracker


@dataclass
class RunReport:
    """What a run did.

    Attributes:
        n_documents: that it read.
        n_before: documents that were there before.
        n_tokens: of those that it read, BOS left out.
        n_positions: that it computed, BOS and padding included.
        n_bytes: that the parts take, with those that were there before.
        seconds: that it took.
        unread: how many documents could not be read, by reason.
    """

    n_documents: int = 0
    n_before: int = 0
    n_tokens: int = 0
    n_positions: int = 0
    n_bytes: int = 0
    seconds: float = 0.0
    unread: Counter[str] = field(default_factory=Counter)


def run_corpus(tracker: Tracker, inputs: Inputs, folder: Path, *, progress: Progress = silent) -> RunReport:
    """Run all documents of the inputs that the archive doesn't have yet, and write them to it.

    A run that was killed is gone on with by the same call. Documents that came since are added in new parts.

    Args:
        folder: of the archive; it is made where it isn't there.
        progress: is told tokens a second and the time that is left.

    Raises:
        TrackerError: the folder is of something else, or can't be written; see `Store.open` and `Store.commit`.
    """
    report, clock = RunReport(), _Clock(inputs.size, progress)
    with Store.open(folder, manifest_of(tracker)) as store, ThreadPoolExecutor(1) as writer:
        report.n_before = store.n_documents
        items = clock.reading(pending_items(clock.listing(inputs.items()), store))
        written: Future[None] | None = None  # one part is written while the next is run
        for part in pending_parts(items, tracker, store):
            clock.begin(part)
            tables = run_part(part, tracker.language_model, tracker.saes, on_batch=clock.ran)
            if written is not None:
                written.result()
            written = writer.submit(store.commit, part, tables)
            _count(part, tables.n_positions, report)
        if written is not None:
            written.result()
        finish(store, progress)
        report.n_bytes = sum(part.n_bytes for part in store.parts)
    report.seconds = time.monotonic() - clock.started
    return report


def manifest_of(tracker: Tracker) -> Manifest:
    """What an archive is made with that a tracker runs."""
    language_model, bundle = tracker.language_model, tracker.bundle
    return Manifest(
        bundle=bundle.name,
        fingerprint=fingerprint(tracker.saes),
        model=str(Origin.from_bundle(bundle, language_model.d_model).model),
        dtype=str(language_model.model.dtype).removeprefix("torch."),
        window=bundle.window,
        n_latents={layer: sae.n_latents for layer, sae in sorted(tracker.saes.items())},
    )


def pending_items(items: Iterable[Item], store: Store) -> Iterator[Item]:
    """Those of the items that an archive lacks, each once."""
    sources = store.sources()
    return (item for item in items if sources.add(item.source))


def pending_parts(items: Iterable[Item], tracker: Tracker, store: Store) -> Iterator[Part]:
    """Items that an archive lacks, read, and put into parts that follow those that it has."""
    tokenizer, window = tracker.language_model.tokenizer, tracker.bundle.window
    entries = (read_entry(item, tokenizer, window) for item in items)
    return packed(
        entries,
        store.names(),
        number=len(store.parts),
        first_document=store.n_documents,
        first_token=store.n_tokens,
        most=parts.PART_CHARACTERS,
    )


def finish(store: Store, progress: Progress = silent) -> None:
    """Write the tables over all documents, where parts were added since they were written."""
    if not store.summary_is_current:
        progress("Summing up", 1.0)
        store.write_summary(summarize(Archive.open(store.folder)))


def _count(part: Part, n_positions: int, report: RunReport) -> None:
    report.n_documents += len(part.documents)
    report.n_tokens += part.n_tokens
    report.n_positions += n_positions
    report.unread.update(entry.reason for entry in part.unread)


class _Clock:
    """Tells progress: tokens a second, and the time that is left, by the bytes that are left.

    Args:
        size: bytes of all inputs.
        progress: is told.
    """

    def __init__(self, size: float, progress: Progress) -> None:
        self._size, self._progress = max(size, 1.0), progress
        self.started = time.monotonic()
        self._listed = self._pending = 0.0  # bytes of the items that were listed, and of those that the archive lacks
        self._part = (0.0, 0.0)  # bytes pending before the part that runs, and up to its end
        self._part_tokens = self._part_done = self._n_tokens = 0

    def listing(self, items: Iterable[Item]) -> Iterator[Item]:
        """The items of all inputs, counted."""
        for item in items:
            self._listed += item.size
            yield item

    def reading(self, items: Iterable[Item]) -> Iterator[Item]:
        """Those that the archive lacks, counted."""
        for item in items:
            yield item
            self._pending += item.size

    def begin(self, part: Part) -> None:
        """Begin a part, whose items have all been counted."""
        self._part = self._part[1], self._pending
        self._part_tokens, self._part_done = part.n_tokens, 0

    def ran(self, batch: Batch) -> None:
        """Tell progress after a batch."""
        self._n_tokens += batch.n_tokens
        self._part_done += batch.n_tokens
        before, after = self._part
        unrun = (after - before) * (1 - self._part_done / self._part_tokens)
        left = max(self._size - self._listed, 0.0) + unrun
        seconds = time.monotonic() - self.started
        told = duration(seconds * left / max(after - unrun, 1.0))
        self._progress(f"{self._n_tokens / seconds:,.0f} tokens/s, {told} left", 1 - left / self._size)


def duration(seconds: float) -> str:
    """How long something takes, in the unit that tells it best."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
