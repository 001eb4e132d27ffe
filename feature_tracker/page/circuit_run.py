"""The circuit of a browser session: what was asked, and what has been measured of the answer."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary, ref

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from feature_tracker.circuits.circuit import Circuit
from feature_tracker.circuits.question import Question
from feature_tracker.circuits.traced import TracedCircuit
from feature_tracker.labels.table import LabelTable
from feature_tracker.page import state
from feature_tracker.page.pool import evicted_error, progress_bar
from feature_tracker.page.state import Scene
from feature_tracker.progress import Progress
from feature_tracker.tracing.recording import Recording
from feature_tracker.tracing.trace import Trace
from feature_tracker.tracker import Tracker


@dataclass(eq=False)
class SessionCircuit:
    """The circuit that a browser session shows. It changes in place, because a click may end a run after any step.

    A recording can run the model, so it keeps the model in memory. A session refers to its recording only weakly:
    `_RECORDINGS` keeps the recording alive as long as both its tracker and this object are, so no session keeps an
    evicted model in memory.

    Attributes:
        page_trace: the trace of the text on the page.
        weak_recording: of the text.
        labels: that name its features.
        question: what is asked; `None` for the whole text.
        circuit: what was measured so far; `None` before anything was.
        node: number of the node that was clicked.
        inside: tables that were asked for, by what they are of.
    """

    page_trace: Trace
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
            _keep(session, scene.tracker, scene.tracker.record(session.page_trace.tokens, progress=report))
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


def trace(scene: Scene, question: Question | None, report: Progress) -> None:
    """Record the text, trace the circuit, and store it in the session after each node that was measured.

    Whatever ends this early, what was measured until then stays.
    """
    tracker, earlier = scene.tracker, session_circuit(scene)
    recording = earlier.recording if earlier else tracker.record(scene.analysis.trace.tokens, progress=report)
    session = SessionCircuit(scene.analysis.trace, ref(recording), tracker.labels, question)
    with contextlib.closing(tracker.trace_circuit(recording, question, progress=report)) as steps:
        for traced in steps:
            if session.circuit is None:
                _keep(session, tracker, recording)
                st.session_state.pop(state.CIRCUIT, None)  # else Streamlit keeps the replaced one until the next run
                st.session_state[state.CIRCUIT] = session
            session.circuit = traced.circuit
