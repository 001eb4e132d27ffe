"""The circuit of a browser session: traced on request, then verified edge by edge."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, ref

import numpy as np
import pandas as pd
import streamlit as st

from feature_tracker.circuits.circuit import Circuit, unverified_sources, verify
from feature_tracker.circuits.correlation import Correlations
from feature_tracker.circuits.graph import circuit_graph
from feature_tracker.circuits.traced import TracedCircuit
from feature_tracker.feature import Feature
from feature_tracker.page import state
from feature_tracker.page.pool import evicted_error
from feature_tracker.page.state import Scene, Settings
from feature_tracker.progress import Progress
from feature_tracker.tracing.recording import Recording, part_of
from feature_tracker.tracing.trace import Trace
from feature_tracker.tracker import Tracker

if TYPE_CHECKING:  # only circuits/ works with NetworkX; here a graph is data
    import networkx as nx

PART_TOKENS = 2048
"""Tokens in the longest part of a text that one circuit covers: more would take minutes and hundreds of megabytes."""


@dataclass(frozen=True)
class CircuitRequest:
    """What a circuit is traced from.

    Attributes:
        first_window: of the part of the text.
        settings: the sidebar's, but with all layers, and ranked by activation.
        positions: tokens of the whole text that rank the features; `None` for all.
    """

    first_window: int
    settings: Settings
    positions: tuple[int, ...] | None


@dataclass(eq=False)
class SessionCircuit:
    """The circuit that a browser session shows. It changes in place, because a click may end a run after any step.

    A recording can run the model, so it keeps the model in memory. A session refers to its recording only weakly:
    `_RECORDINGS` keeps the recording alive as long as both its tracker and this object are, so no session keeps an
    evicted model in memory.

    Attributes:
        page_trace: the trace of the whole text on the page.
        request: what the circuit was traced from.
        weak_recording: of the part of the text.
        ranked: the circuit's features, rows of `rank_features`.
        correlations: of those features over the part.
        circuit: the edges, with the effects measured so far.
        queue: sources whose effects are still to be measured.
        n_queued: sources in this round, including those already measured.
    """

    page_trace: Trace
    request: CircuitRequest
    weak_recording: ref[Recording]
    ranked: pd.DataFrame
    correlations: Correlations
    circuit: Circuit
    queue: list[Feature] = field(default_factory=list)
    n_queued: int = 0

    @property
    def recording(self) -> Recording:
        """The part of the text, recorded in float32 if the model is small enough.

        Raises:
            TrackerError: the model was evicted.
        """
        recording = self.weak_recording()
        if recording is None:
            raise evicted_error()
        return recording

    def traced(self) -> TracedCircuit:
        """The circuit with all that it was traced from.

        Raises:
            TrackerError: the model was evicted.
        """
        return TracedCircuit(self.recording, self.ranked, self.correlations, self.circuit)

    def graph(self) -> nx.DiGraph[Any]:
        """The circuit as a graph."""
        return circuit_graph(self.ranked, self.circuit)

    def enqueue(self, most: int | None) -> None:
        """Queue the sources of the `most` strongest unverified edges, or of all where `most` is `None`."""
        self.queue = unverified_sources(self.circuit, most)
        self.n_queued = len(self.queue)

    def stop(self) -> None:
        """Empty the queue; effects already measured stay."""
        self.queue = []


_RECORDINGS: WeakKeyDictionary[Tracker, WeakKeyDictionary[SessionCircuit, Recording]] = WeakKeyDictionary()


def part_starts(trace: Trace) -> list[int]:
    """First window of each part of a text."""
    return list(range(0, len(trace.tokens.window_starts), _part_windows(trace)))


def _part_windows(trace: Trace) -> int:
    return max(1, PART_TOKENS // (trace.tokens.window - 1))


def circuit_request(scene: Scene, first_window: int) -> CircuitRequest:
    """What a circuit would be traced from under the current settings."""
    positions = None if scene.chosen_positions is None else tuple(scene.chosen_positions.tolist())
    # Features that fire strongly carry most of what the model computes; rare ones carry little.
    settings = replace(scene.settings, layers=scene.tracker.bundle.layers, by="activation")
    return CircuitRequest(first_window, settings, positions)


def session_circuit(scene: Scene) -> SessionCircuit | None:
    """The circuit that was last traced for the text on the page."""
    session = stored_circuit()
    return session if session is not None and session.page_trace is scene.analysis.trace else None


def stored_circuit() -> SessionCircuit | None:
    """The circuit that this session stores.

    Callbacks of buttons ask for it here. Streamlit keeps every callback until the session ends, and one that refers to
    a circuit would keep that circuit's recording in memory.
    """
    return st.session_state.get(state.CIRCUIT)


def trace(scene: Scene, request: CircuitRequest, progress: Progress) -> None:
    """Record a part of the text, trace the circuit of its features, and store it in the session."""
    tracker, whole = scene.tracker, scene.analysis.trace
    progress("Getting ready", 0.0)
    tokens = part_of(whole.tokens, request.first_window, _part_windows(whole))
    recording = tracker.record(tokens, progress=progress)
    start = whole.tokens.window_starts[request.first_window]
    positions = _positions_in_part(request.positions, start, tokens.n_tokens)
    ranked = request.settings.rank(tracker, recording.trace, positions)
    traced = tracker.circuit(recording, ranked=ranked, threshold=request.settings.threshold, progress=progress)
    circuit = SessionCircuit(whole, request, ref(recording), ranked, traced.correlations, traced.circuit)
    _RECORDINGS.setdefault(tracker, WeakKeyDictionary())[circuit] = recording
    st.session_state.pop(state.CIRCUIT, None)  # else Streamlit keeps the replaced circuit until the next run
    st.session_state[state.CIRCUIT] = circuit


def verify_with_progress(session: SessionCircuit) -> None:
    """Measure the effects of the queued sources, one after the other, until all are done or the reader stops it.

    Streamlit handles clicks whenever the bar moves: *Stop*, or any other control, ends the run there, and the effects
    measured so far stay. This is no fragment, because a click inside a fragment waits for its run to end.
    """
    with st.container(horizontal=True, vertical_alignment="center"):
        bar = st.progress(0.0, "Taking features out")
        st.button("Stop", key="circuit_stop", icon=":material/stop:", on_click=_stop_clicked)

    def report(stage: str, _share: float) -> None:
        n_measured = session.n_queued - len(session.queue)
        bar.progress(n_measured / session.n_queued, f"{stage} · {n_measured} of {session.n_queued} done")

    try:
        with contextlib.closing(verify(session.recording, session.circuit, session.queue, report)) as steps:
            for circuit in steps:
                session.circuit = circuit
                unverified = set(unverified_sources(circuit))
                session.queue = [source for source in session.queue if source in unverified]
                if not session.queue:  # all are done, or *Stop* emptied it
                    break
    except Exception:
        session.stop()  # otherwise every run of the page would try again
        raise
    st.rerun()  # draws the circuit with the new effects


def _stop_clicked() -> None:
    session = stored_circuit()
    if session is not None:
        session.stop()


def _positions_in_part(positions: Sequence[int] | None, start: int, n_tokens: int) -> np.ndarray | None:
    """The chosen positions in a part of the text, counted from the part's start; `None` where there are none."""
    inside = [position - start for position in positions or () if start <= position < start + n_tokens]
    return np.array(inside, dtype=np.int64) if inside else None
