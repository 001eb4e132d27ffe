"""A file that keeps sums over a corpus, so that an interrupted run goes on where it stopped."""

from __future__ import annotations

import json
import time
import zipfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from feature_tracker.corpus.origin import Origin
from feature_tracker.errors import TrackerError
from feature_tracker.files import replacing

_SECONDS = 60.0

Sums = Mapping[str, Mapping[str, np.ndarray]]
"""The arrays of each thing that is summed, by its name and theirs."""


class Saved(NamedTuple):
    """What a file keeps.

    Attributes:
        batches_done: of each part of the work, by name.
        sums: over these batches.
    """

    batches_done: dict[str, int]
    sums: Sums


class SumsCheckpoint:
    """Saves sums to a file once a minute.

    Args:
        path: the file; `None` saves nothing.
        origin: what the sums depend on. A file of another origin is refused.
        what: what is summed, in words for messages, such as "a measurement".
    """

    def __init__(self, path: Path | None, origin: Origin, what: str) -> None:
        self._path, self._origin, self._what = path, origin, what
        self._saved_at = time.monotonic()

    def load(self) -> Saved | None:
        """What was saved; `None` where there is no file.

        Raises:
            TrackerError: the file is damaged, or of something else.
        """
        if self._path is None or not self._path.exists():
            return None
        try:
            with self._path.open("rb") as file, np.load(file) as arrays:
                progress = json.loads(str(arrays["progress"]))
                origin, batches_done = Origin.from_record(progress["origin"]), dict(progress["batches_done"])
                sums: dict[str, dict[str, np.ndarray]] = {}
                for name in arrays.files:
                    part, separator, rest = name.partition("/")
                    if separator:
                        sums.setdefault(part, {})[rest] = arrays[name]
            if progress["what"] != self._what:
                raise self.damaged(f"it holds {progress['what']}")
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise self.damaged(error) from None
        differences = self._origin.differences(origin)
        if differences:
            raise self.of_something_else(differences)
        return Saved(batches_done, sums)

    def save(self, batches_done: Mapping[str, int], sums: Sums) -> None:
        """Replace the file, if there is to be one.

        Raises:
            TrackerError: it can't be written.
        """
        self._saved_at = time.monotonic()
        if self._path is None:
            return
        progress = {"what": self._what, "origin": asdict(self._origin), "batches_done": batches_done}
        arrays: dict[str, Any] = {f"{part}/{name}": array for part in sums for name, array in sums[part].items()}
        with replacing(self._path) as beside, beside.open("wb") as file:
            np.savez(file, progress=np.array(json.dumps(progress)), **arrays)

    @property
    def is_due(self) -> bool:
        """Whether the last save, or the beginning, is a minute ago."""
        return time.monotonic() - self._saved_at > _SECONDS

    def discard(self) -> None:
        """Remove the file."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def damaged(self, error: object) -> TrackerError:
        """Error for a file that doesn't hold what it should."""
        return TrackerError(
            f"{self._path} is not a checkpoint of {self._what}, or is damaged ({error}). Name another file, or delete "
            "this one and begin again."
        )

    def of_something_else(self, differences: str) -> TrackerError:
        """Error for a file of other options or another text."""
        return TrackerError(
            f"{self._path} holds {self._what} of something else: {differences}. Give the options it was begun with, "
            "name another file, or delete this one."
        )
