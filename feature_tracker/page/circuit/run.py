"""The circuit of a browser session: what was asked, and what has been measured of the answer."""

from __future__ import annotations

import contextlib
import time
from bisect import bisect_right
from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from weakref import WeakKeyDictionary, ref

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from feature_tracker.circuits.circuit import Circuit
from feature_tracker.circuits.question import NextWord, Question, WhatFeeds
from feature_tracker.circuits.traced import TracedCircuit
from feature_tracker.labels.table import LabelTable
from feature_tracker.model.tokens import TokenizedText
from feature_tracker.page import state
from feature_tracker.page.pool import evicted_error, progress_bar
from feature_tracker.page.state import Scene
from feature_tracker.progress import Progress
from feature_tracker.tracing.recording import Recording, part_of
from feature_tracker.tracing.trace import Trace
from feature_tracker.tracker import Tracker

_REDRAW_SECONDS = 2.0


@dataclass(eq=False)
class SessionCircuit:
    """The circuit that a browser session shows. It changes in place, because a click may end a run after any step.

    A recording can run the model, so it keeps the model in memory. A session refers to its recording only weakly:
    `_RECORDINGS` keeps the recording alive as long as both its tracker and this object are, so no session keeps an
    evicted model in memory.

    Attributes:
        page_trace: the trace of the text on the page.
        window: number of the only window that was recorded, because the question is about one place; `None` for all.
        weak_recording: of the text, or of that window.
        labels: that name its features.
        question: what is asked, counted from the start of the recording; `None` for the whole text.
        circuit: what was measured so far; `None` before anything was.
        node: number of the node that was clicked.
        inside: tables that were asked for, by what they are of.
    """

    page_trace: Trace
    window: int | None
    weak_recording: ref[Recording]
    labels: LabelTable
    question: Question | None
    circuit: Circuit | None = None
    node: int | None = None
    inside: dict[tuple[str, int, int], pd.DataFrame] = field(default_factory=dict)

    @property
    def recording(self) -> Recording:
        """The text, recorded in float32 if the model is small enough.

        Raises:
            TrackerError: the model was evicted.
        """
        recording = self.weak_recording()
        if recording is None:
            raise evicted_error()
        return recording

    @property
    def is_whole(self) -> bool:
        """Whether everything was measured, so that nobody stopped it."""
        circuit = self.circuit
        return circuit is not None and circuit.n_unmeasured == 0

    def traced(self) -> TracedCircuit:
        """The circuit with all that it was traced from.

        Raises:
            TrackerError: the model was evicted, or nothing was measured.
        """
        if self.circuit is None:
            raise evicted_error()
        return TracedCircuit(self.recording, self.labels, self.circuit)


_RECORDINGS: WeakKeyDictionary[Tracker, WeakKeyDictionary[SessionCircuit, Recording]] = WeakKeyDictionary()


def session_circuit(scene: Scene) -> SessionCircuit | None:
    """The circuit that was last traced for the text on the page.

    A tracker with another label took the place of the one that recorded the text: the text is then recorded again.
    """
    session = stored_circuit()
    if session is None or session.page_trace is not scene.analysis.trace:
        return None
    if session.weak_recording() is None:
        with progress_bar() as report:
            _keep(session, scene.tracker, _record(scene.tracker, session.page_trace, session.window, report))
    session.labels = scene.tracker.labels
    return session


def _keep(session: SessionCircuit, tracker: Tracker, recording: Recording) -> None:
    session.weak_recording = ref(recording)
    _RECORDINGS.setdefault(tracker, WeakKeyDictionary())[session] = recording


def stored_circuit() -> SessionCircuit | None:
    """The circuit that this session stores.

    Callbacks of buttons ask for it here. Streamlit keeps every callback until the session ends, and one that refers to
    a circuit would keep that circuit's recording in memory.
    """
    return st.session_state.get(state.CIRCUIT)


@contextlib.contextmanager
def stoppable(place: DeltaGenerator) -> Generator[Progress]:
    """A progress bar with a *Stop* button in a place of the page, both gone at the end.

    Streamlit handles clicks whenever the bar moves: *Stop*, or any other control, ends the run there. This is no
    fragment, because a click inside a fragment waits for its run to end.
    """
    drawn = place.container(horizontal=True, vertical_alignment="center")
    bar = drawn.progress(0.0, "Getting ready")
    drawn.button("Stop", key="circuit_stop", icon=":material/stop:")

    def report(stage: str, share: float) -> None:
        bar.progress(min(max(share, 0.0), 1.0), stage)

    try:
        yield report
    finally:
        place.empty()


def trace(
    scene: Scene, question: Question | None, report: Progress, draw: Callable[[TracedCircuit, str], None]
) -> None:
    """Record what bears on a question, trace the circuit, and store it in the session after each node that is measured.

    Whatever ends this early, what was measured until then stays.

    Args:
        draw: draws what was measured so far, under a key of its own each time.
    """
    tracker, page_trace = scene.tracker, scene.analysis.trace
    window, question = _of_its_window(question, page_trace.tokens)
    earlier = session_circuit(scene)
    if earlier is not None and earlier.window == window:
        recording = earlier.recording
    else:
        recording = _record(tracker, page_trace, window, report)
    session = SessionCircuit(page_trace, window, ref(recording), tracker.labels, question)
    drawn_at = 0.0
    with contextlib.closing(tracker.trace_circuit(recording, question, progress=report)) as steps:
        for number, traced in enumerate(steps):
            if session.circuit is None:
                _keep(session, tracker, recording)
                st.session_state.pop(state.CIRCUIT, None)  # else Streamlit keeps the replaced one until the next run
                st.session_state[state.CIRCUIT] = session
            session.circuit = traced.circuit
            if time.monotonic() - drawn_at > _REDRAW_SECONDS:
                draw(traced, f"circuit_so_far_{number}")
                drawn_at = time.monotonic()


def _record(tracker: Tracker, trace: Trace, window: int | None, report: Progress) -> Recording:
    """The text of a trace, or one window of it, recorded."""
    tokens = trace.tokens
    return tracker.record(tokens if window is None else part_of(tokens, window, 1), progress=report)


def _of_its_window(question: Question | None, tokens: TokenizedText) -> tuple[int | None, Question | None]:
    """The window that a question about one place needs, with the question counted from there; `None` for all."""
    starts = tokens.window_starts
    if len(starts) > 1 and isinstance(question, NextWord):
        position = tokens.n_tokens - 1 if question.position is None else question.position
        window = bisect_right(starts, position) - 1
        return window, replace(question, position=position - starts[window])
    if len(starts) > 1 and isinstance(question, WhatFeeds) and question.positions:
        windows = {bisect_right(starts, position) - 1 for position in question.positions}
        if len(windows) == 1:
            (window,) = windows
            return window, replace(question, positions=tuple(at - starts[window] for at in question.positions))
    return None, question
