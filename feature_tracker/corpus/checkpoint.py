"""A file that keeps long sums over a corpus, so that an interrupted run goes on where it stopped."""

from __future__ import annotations

import json
import time
import zipfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from feature_tracker.corpus.origin import Origin
from feature_tracker.errors import TrackerError
from feature_tracker.files import replacing

_SECONDS = 60.0


class Checkpoint:
    """Saves sums once a minute.

    Args:
        path: the file; `None` to save nothing.
        origin: what the sums depend on. A file of another origin is refused.
        what: what is summed, in words for messages, such as "top words".
    """

    def __init__(self, path: Path | None, origin: Origin, what: str) -> None:
        self._path, self._origin, self._what = path, origin, what
        self._saved_at = time.monotonic()

    def load(self) -> tuple[dict[str, int], dict[str, np.ndarray]]:
        """What was saved: how many batches were done of each part of the work, and the sums; both empty for no file.

        Raises:
            TrackerError: the file is damaged, or of something else.
        """
        if self._path is None or not self._path.exists():
            return {}, {}
        try:
            with self._path.open("rb") as file, np.load(file) as arrays:
                progress = json.loads(str(arrays["progress"]))
                what, origin = str(progress["what"]), Origin.from_record(progress["origin"])
                batches_done = {str(part): int(n) for part, n in progress["batches_done"].items()}
                sums = {name: arrays[name] for name in arrays.files}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
            raise self.refusal(f"is damaged, or no checkpoint of {self._what} ({error})") from None
        differences = self._origin.differences(origin)
        if what != self._what:
            differences = f"expected {self._what}, found {what}"
        if differences:
            raise self.refusal(f"belongs to something else: {differences}")
        return batches_done, sums

    def save(self, batches_done: Mapping[str, int], sums: Mapping[str, np.ndarray]) -> None:
        """Replace the file.

        Raises:
            TrackerError: it can't be written.
        """
        if self._path is None:
            return
        progress = {"what": self._what, "origin": asdict(self._origin), "batches_done": dict(batches_done)}
        arrays: dict[str, Any] = {"progress": np.array(json.dumps(progress)), **sums}
        with replacing(self._path) as beside, beside.open("wb") as file:
            np.savez(file, **arrays)
        self._saved_at = time.monotonic()

    @property
    def is_due(self) -> bool:
        """Whether a minute has passed since the last save."""
        return self._path is not None and time.monotonic() - self._saved_at > _SECONDS

    def discard(self) -> None:
        """Remove the file."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def refusal(self, fault: str) -> TrackerError:
        """Error for a file that can't be gone on from."""
        return TrackerError(
            f"{self._path} {fault}. Give the options it was begun with, name another file, or delete this one and "
            "start again."
        )
