"""The queue for the model with threads alone: turns, places, and jobs that end before their time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from feature_tracker.errors import TrackerError
from feature_tracker.model.forward_queue import ForwardQueue, Job


class _TabClosed(BaseException):  # as Streamlit ends a run
    pass


def start(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def finish(*threads: threading.Thread) -> None:
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads)


class Reader:
    """A job of `n_turns` in a thread of its own, which writes each of its turns down."""

    def __init__(self, queue: ForwardQueue, name: str, n_turns: int, turns: list[str]) -> None:
        self.waits = threading.Event()
        self.told: list[tuple[str, float]] = []
        self.closed = False
        self._queue, self._name, self._n_turns, self._turns = queue, name, n_turns, turns
        self.thread = start(self._read)

    def _report(self, stage: str, share: float) -> None:
        if self.closed:
            raise _TabClosed
        self.told.append((stage, share))
        self.waits.set()

    def _read(self) -> None:
        try:
            with self._queue.job(self._name, self._n_turns, self._report) as job:
                for _ in range(self._n_turns):
                    with job.turn():
                        self._turns.append(self._name)
        except _TabClosed:
            self._turns.append(f"{self._name} closed")


def readers(queue: ForwardQueue, turns: list[str], *wanted: tuple[str, int]) -> list[Reader]:
    """Readers that all wait while another job has the model, in this order."""
    started = []
    for name, n_turns in wanted:
        reader = Reader(queue, name, n_turns, turns)
        assert reader.waits.wait(20)
        started.append(reader)
    return started


def test_jobs_have_their_turns_one_after_the_other() -> None:
    queue, turns = ForwardQueue(), []
    with queue.job("first", 1) as job, job.turn():
        waiting = readers(queue, turns, ("long", 4), ("short", 1), ("middle", 2))
    finish(*(reader.thread for reader in waiting))
    assert sorted(turns[:3]) == ["long", "middle", "short"], "nobody has a second turn before all have had one"
    assert turns.index("short") < 3
    assert turns[-2:] == ["long", "long"]


def test_never_do_two_run_at_once() -> None:
    queue, running, most = ForwardQueue(), [0], [0]

    def read() -> None:
        with queue.job("text", 50) as job:
            for _ in range(50):
                with job.turn():
                    running[0] += 1
                    most[0] = max(most[0], running[0])
                    running[0] -= 1

    finish(*[start(read) for _ in range(8)])
    assert most == [1]


def test_the_waiting_are_told_their_place_and_the_time_left() -> None:
    queue, turns = ForwardQueue(), []
    with queue.job("first", 3) as job:
        with job.turn():
            pass  # from here on, the queue knows how long a turn takes
        with job.turn():
            long, short = readers(queue, turns, ("long", 4), ("short", 1))
    finish(long.thread, short.thread)
    assert long.told[0][0].startswith("long · place 2 of 2, about ")
    assert short.told[0][0].startswith("short · place 1 of 3, about ")
    assert short.told[0][0].endswith(" s left")


def test_time_left_counts_the_turns_of_others_that_come_before_the_last_own_one() -> None:
    queue = ForwardQueue()
    with ExitStack() as jobs:
        long, short = (jobs.enter_context(queue.job(name, n)) for name, n in (("long", 10), ("short", 3)))
        queue.end_turn(long, 2.0)
        queue.end_turn(short, 1.0)
        assert queue.standing(short) == (1, 2, 2 * 1.0 + 2 * 2.0)
        assert queue.standing(long) == (2, 2, 9 * 2.0 + 2 * 1.0)


def test_a_job_alone_is_told_nothing_of_others_and_ends_whole() -> None:
    told: list[tuple[str, float]] = []
    with ForwardQueue().job("text", 2, lambda stage, share: told.append((stage, share))) as job:
        for _ in range(2):
            with job.turn():
                pass
    assert told == [("text", 0.0), ("text", 0.5), ("text", 1.0)]


def test_a_closed_tab_gives_its_place_up_while_it_waits() -> None:
    queue, turns = ForwardQueue(), []
    with queue.job("first", 2) as job:
        with job.turn():
            closed, other = readers(queue, turns, ("closed", 3), ("other", 1))
            closed.closed = True
            closed.thread.join(2)  # it is asked for a report twice a second
            assert not closed.thread.is_alive()
        finish(other.thread)
    assert turns == ["closed closed", "other"]


def test_a_forward_that_fails_frees_the_model() -> None:
    queue = ForwardQueue()

    def fail(job: Job) -> None:
        with job.turn():
            raise TrackerError("It failed.")

    with pytest.raises(TrackerError), queue.job("fails", 1) as job:
        fail(job)
    with queue.job("next", 1) as job, job.turn():
        assert queue.standing(job).n_jobs == 1
