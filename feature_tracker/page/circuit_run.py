"""A circuit in this browser session: tracing it, verifying it edge by edge, what is kept of it."""

from __future__ import annotations

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
from feature_tracker.page.engine import evicted_error
from feature_tracker.page.ranking import rank_under
from feature_tracker.page.state import Scene, Settings
from feature_tracker.progress import Progress
from feature_tracker.tracing.recording import Recording, part_of
from feature_tracker.tracing.trace import Trace
from feature_tracker.tracker import Tracker

if TYPE_CHECKING:  # NetworkX belongs to circuits/; a graph is data here
    import networkx as nx

PART_TOKENS = 2048
"""Longest part of a text that one circuit is traced over: more would take minutes and hundreds of megabytes."""


@dataclass(frozen=True)
class Question:
    """What a circuit is traced for.

    Attributes:
        first_window: of the part of the text.
        settings: the sidebar's; a circuit is of all layers, whichever are shown.
        words: the positions that rank the features, None for all.
    """

    first_window: int
    settings: Settings
    words: tuple[int, ...] | None


@dataclass(eq=False)
class SessionCircuit:
    """The circuit that a browser session shows. Changed in place, because a click may end a run after any step.

    A recording can run the model, and so holds it in memory. Sessions hold recordings only weakly: `_RECORDINGS` keeps
    them alive for as long as their tracker is, so that no session keeps an evicted model in memory.

    Attributes:
        page_trace: the trace of the whole text on the page.
        question: what was asked.
        weak_recording: the part of the text, recorded.
        ranked: the circuit's features, rows of `rank_features`.
        correlations: of those features over the part.
        circuit: the links, with the effects known so far.
        waiting: sources yet to be taken out.
        n_asked: sources of this round, those already taken out among them.
    """

    page_trace: Trace
    question: Question
    weak_recording: ref[Recording]
    ranked: pd.DataFrame
    correlations: Correlations
    circuit: Circuit
    waiting: list[Feature] = field(default_factory=list)
    n_asked: int = 0

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

    def ask(self, most: int | None) -> None:
        """Queue the sources of the strongest edges; of all edges where `most` is `None`."""
        self.waiting = unverified_sources(self.circuit, most)
        self.n_asked = len(self.waiting)

    def stop(self) -> None:
        """Empty the queue; effects already measured stay."""
        self.waiting = []


_RECORDINGS: WeakKeyDictionary[Tracker, WeakKeyDictionary[SessionCircuit, Recording]] = WeakKeyDictionary()


def part_starts(trace: Trace) -> list[int]:
    """First window of each part of a text."""
    return list(range(0, len(trace.tokens.window_starts), _part_windows(trace)))


def _part_windows(trace: Trace) -> int:
    return max(1, PART_TOKENS // (trace.tokens.window - 1))


def question_of(scene: Scene, first_window: int) -> Question:
    """What would be traced under the present settings."""
    words = None if scene.chosen_positions is None else tuple(scene.chosen_positions.tolist())
    # What is unusual carries little of what the model computes; what fires strongly does.
    return Question(first_window, replace(scene.settings, layers=(), by="activation"), words)


def session_circuit(scene: Scene) -> SessionCircuit | None:
    """The last circuit that was traced of the text on the page."""
    circuit = st.session_state.get(state.CIRCUIT)
    return circuit if circuit is not None and circuit.page_trace is scene.analysis.trace else None


def trace(scene: Scene, question: Question, progress: Progress) -> None:
    """Record a part of the text, trace the circuit of its features, and keep it in the session."""
    tracker, whole = scene.tracker, scene.analysis.trace
    progress("Getting ready", 0.0)
    tokens = part_of(whole.tokens, question.first_window, _part_windows(whole))
    recording = tracker.record(tokens, progress=progress)
    start = whole.tokens.window_starts[question.first_window]
    positions = _within(question.words, start, tokens.n_tokens)
    ranked = rank_under(question.settings, tracker, recording.trace, tracker.bundle.layers, positions)
    traced = tracker.circuit(recording, ranked=ranked, threshold=question.settings.threshold, progress=progress)
    circuit = SessionCircuit(whole, question, ref(recording), ranked, traced.correlations, traced.circuit)
    _RECORDINGS.setdefault(tracker, WeakKeyDictionary())[circuit] = recording
    st.session_state[state.CIRCUIT] = circuit


def verify_with_progress(session: SessionCircuit) -> None:
    """Take out the sources that wait, one after the other, until all are done or the reader stops it.

    Whenever the bar moves, Streamlit attends to clicks: *Stop*, or any other control, ends the run there, and what is
    known by then stays. In a fragment it would not: a click within one waits for the run to end.
    """
    with st.container(horizontal=True, vertical_alignment="center"):
        bar = st.progress(0.0, "Taking features out")
        st.button("Stop", key="circuit_stop", icon=":material/stop:", on_click=session.stop)
    try:
        verified = verify(session.recording, session.circuit, session.waiting)
        while session.waiting:
            done = session.n_asked - len(session.waiting)
            bar.progress(done / session.n_asked, f"Taking features out: {done} of {session.n_asked}")
            session.circuit = next(verified)
            unverified = set(unverified_sources(session.circuit))
            session.waiting = [source for source in session.waiting if source in unverified]
    except Exception:
        session.stop()  # else every run of the page would try it again
        raise
    st.rerun()  # draws the circuit with what is known now


def _within(words: Sequence[int] | None, start: int, n_tokens: int) -> np.ndarray | None:
    """The chosen words that lie in a part of the text, counted from its start; None where there is none."""
    chosen = np.array([word - start for word in words or () if start <= word < start + n_tokens], dtype=np.int64)
    return chosen if len(chosen) else None
