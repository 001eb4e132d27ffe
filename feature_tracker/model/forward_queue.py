"""Who may run a model next: one forward at a time, in turn between the jobs of this process.

Forwards side by side share the same processors, and together take longer than one after the other. A job is a text or a
circuit, which takes many short turns. A job that has had its turn goes to the end of the queue, so a short text waits
for one window of each longer text, not for all of it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from typing import NamedTuple

from feature_tracker.progress import Progress, silent

Turn = Callable[[], AbstractContextManager[None]]
"""Called as `with turn():` around one forward; waits until the model is free. `contextlib.nullcontext` never waits."""

_REPORT_SECONDS = 0.5
"""A waiting job reports this often. A report is where a job can be stopped, so a closed tab leaves about as soon."""

_SHORTEST_TOLD = 1.0  # seconds


class Standing(NamedTuple):
    """Where a job stands among all that share the model.

    Attributes:
        place: 1 for the job that will be done first.
        n_jobs: how many jobs there are, this one included.
        seconds: until this job is done; `None` before any turn has been timed.
    """

    place: int
    n_jobs: int
    seconds: float | None

    def __str__(self) -> str:
        if self.n_jobs == 1:
            return ""
        time_left = "" if self.seconds is None else f", about {max(self.seconds, _SHORTEST_TOLD):.0f} s left"
        return f" · place {self.place} of {self.n_jobs}{time_left}"


class ForwardQueue:
    """Lets one thread at a time run a model. Safe to use from any number of threads."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._jobs: list[Job] = []  # in the order of their next turns, but for the one that has its turn now
        self._busy = False
        self._turn_seconds: float | None = None  # of late, over all jobs

    @contextmanager
    def job(self, stage: str, n_turns: int, progress: Progress = silent) -> Generator[Job]:
        """Join the queue for as long as the block lasts; an exception in the block, too, gives the place up.

        Args:
            stage: what is being done, as the reader is told.
            n_turns: how many turns the job will take; an estimate will do.
            progress: told before each turn and while the job waits. An exception that it raises ends the job.
        """
        job = Job(self, stage, n_turns, progress)
        with self._changed:
            self._jobs.append(job)
        try:
            yield job
        finally:
            with self._changed:
                self._jobs.remove(job)
                self._changed.notify_all()
        progress(stage, 1.0)

    def take_turn(self, job: Job, timeout: float) -> bool:
        """Wait until the model is free and the job is next, and take it; False after `timeout` seconds in vain."""
        with self._changed:
            taken = self._changed.wait_for(lambda: not self._busy and self._next() is job, timeout)
            if taken:
                job.waits, self._busy = False, True
            return taken

    def end_turn(self, job: Job, seconds: float) -> None:
        """Free the model, and move the job to the end of the queue."""
        with self._changed:
            self._busy = False
            self._jobs.remove(job)
            self._jobs.append(job)
            job.n_done += 1
            job.seconds += seconds
            earlier = seconds if self._turn_seconds is None else self._turn_seconds
            self._turn_seconds = 0.8 * earlier + 0.2 * seconds
            self._changed.notify_all()

    def leave(self, job: Job) -> None:
        """Stop waiting for a turn."""
        with self._changed:
            job.waits = False
            self._changed.notify_all()

    def standing(self, job: Job) -> Standing:
        """Place and time left of a job, if every job goes on as it does now and none joins."""
        with self._changed:
            place = 1 + sum(other.n_left < job.n_left for other in self._jobs)
            place += sum(other.n_left == job.n_left for other in self._jobs[: self._jobs.index(job)])
            turns = [(min(other.n_left, job.n_left), other.turn_seconds) for other in self._jobs]
            usual = self._turn_seconds
            seconds = None if usual is None else sum(n * (own or usual) for n, own in turns)
            return Standing(place, len(self._jobs), seconds)

    def _next(self) -> Job | None:
        return next((job for job in self._jobs if job.waits), None)


class Job:
    """One text or circuit in a `ForwardQueue`, used by one thread.

    Attributes:
        n_done: turns that it has had.
        seconds: that its turns took together.
        waits: for a turn.
    """

    def __init__(self, queue: ForwardQueue, stage: str, n_turns: int, progress: Progress) -> None:
        self._queue, self._stage, self._n_turns, self._progress = queue, stage, max(1, n_turns), progress
        self.n_done, self.seconds, self.waits = 0, 0.0, False

    @property
    def n_left(self) -> int:
        """Turns still to take, at least one: a job that is listed isn't done."""
        return max(1, self._n_turns - self.n_done)

    @property
    def turn_seconds(self) -> float | None:
        """Seconds that a turn of this job takes; `None` before the first."""
        return self.seconds / self.n_done if self.n_done else None

    @contextmanager
    def turn(self) -> Generator[None]:
        """Run the block once the model is free and this job is next, and report progress until then."""
        self.waits = True  # also while it reports, or others would get ahead of it
        try:
            self._report()
            while not self._queue.take_turn(self, _REPORT_SECONDS):
                self._report()
        except BaseException:
            self._queue.leave(self)
            raise
        start = time.perf_counter()
        try:
            yield
        finally:
            self._queue.end_turn(self, time.perf_counter() - start)

    def _report(self) -> None:
        standing = self._queue.standing(self)
        self._progress(f"{self._stage}{standing}", min(1.0, self.n_done / self._n_turns))


FORWARDS = ForwardQueue()
"""The queue of this process, for all its models, because they share the processors."""
