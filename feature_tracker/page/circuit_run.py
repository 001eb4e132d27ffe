"""A circuit in this browser session: tracing it, verifying it edge by edge, what is kept of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from weakref import ref

import numpy as np
import pandas as pd
import streamlit as st

from feature_tracker.circuits.circuit import Circuit, trace_circuit, unverified_sources, verify
from feature_tracker.circuits.correlation import Correlations, correlate
from feature_tracker.circuits.graph import circuit_graph
from feature_tracker.feature import Feature
from feature_tracker.model.load import LanguageModel, load_model
from feature_tracker.model.next_token import NextToken, next_token
from feature_tracker.page import state
from feature_tracker.page.engine import Engine, evicted_error
from feature_tracker.page.ranking import rank_under
from feature_tracker.page.state import Scene, Settings
from feature_tracker.progress import Progress
from feature_tracker.tracing.recording import Recording, part_of, record
from feature_tracker.tracing.rows import features_of
from feature_tracker.tracing.trace import Trace

if TYPE_CHECKING:  # NetworkX belongs to circuits/; a graph is data here
    import networkx as nx

PART_TOKENS = 2048
"""Longest part of a text that one circuit is traced over: more would take minutes and hundreds of megabytes."""

_MOST_COPIED = 500_000_000  # parameters of a model that is kept in float32, too: 2 GB


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
class TracedCircuit:
    """A circuit and what it was made from. It is changed in place, because a click may end a run after any step.

    A recording can run the model on, and so holds it. The engine keeps the recording: no session may hold a model in
    memory that made room for another.

    Attributes:
        page_trace: the trace of the whole text on the page.
        question: what was asked.
        kept_recording: the part of the text, run in float32 where the model is small enough.
        ranked: the circuit's features, rows of `rank_features`.
        correlations: of those features over the part.
        expected: what the model expects after the part.
        found: the circuit, with the effects known so far.
        waiting: sources yet to be taken out.
        n_asked: sources of this round, those done among them.
    """

    page_trace: Trace
    question: Question
    kept_recording: ref[Recording]
    ranked: pd.DataFrame
    correlations: Correlations
    expected: NextToken
    found: Circuit
    waiting: list[Feature] = field(default_factory=list)
    n_asked: int = 0

    @property
    def recording(self) -> Recording:
        """See `kept_recording`.

        Raises:
            TrackerError: the model has made room for another.
        """
        recording = self.kept_recording()
        if recording is None:
            raise evicted_error()
        return recording

    def graph(self) -> nx.DiGraph[Any]:
        """The circuit as a graph."""
        return circuit_graph(self.ranked, self.found)

    def ask(self, most: int | None) -> None:
        """Begin to verify the strongest edges."""
        self.waiting = unverified_sources(self.found, most)
        self.n_asked = len(self.waiting)

    def stop(self) -> None:
        """Verify no more; what is known stays."""
        self.waiting = []


def part_starts(trace: Trace) -> list[int]:
    """First window of each part of a text."""
    return list(range(0, len(trace.tokens.window_starts), _part_windows(trace)))


def _part_windows(trace: Trace) -> int:
    return max(1, PART_TOKENS // (trace.tokens.window - 1))


def question_of(scene: Scene, first_window: int) -> Question:
    """What would be traced under the present settings."""
    words = None if scene.words is None else tuple(scene.words.tolist())
    # What is unusual carries little of what the model computes; what fires strongly does.
    return Question(first_window, replace(scene.settings, layers=(), by="activation"), words)


def kept_circuit(scene: Scene) -> TracedCircuit | None:
    """The last circuit of the text on the page."""
    kept = st.session_state.get(state.CIRCUIT)
    return kept if kept is not None and kept.page_trace is scene.analysis.trace else None


def trace(scene: Scene, question: Question, progress: Progress) -> None:
    """Run a part of the text, attribute its features, and keep the circuit."""
    engine, whole = scene.engine, scene.analysis.trace
    progress("Getting ready", 0.0)
    language_model = _exact(engine)
    tokens = part_of(whole.tokens, question.first_window, _part_windows(whole))
    recording = record(tokens, language_model, engine.saes, progress)
    start = whole.tokens.window_starts[question.first_window]
    words = _within(question.words, start, tokens.n_tokens)
    ranked = rank_under(question.settings, recording.trace, engine.labels, engine.bundle.layers, words)
    features = features_of(ranked)
    correlations = correlate(recording.trace, features)
    threshold = question.settings.threshold
    found = trace_circuit(recording, features, correlations, threshold=threshold, progress=progress)
    expected = next_token(language_model, tokens)
    traced = TracedCircuit(whole, question, ref(recording), ranked, correlations, expected, found)
    engine.recordings[traced] = recording
    st.session_state[state.CIRCUIT] = traced


def verify_with_progress(kept: TracedCircuit) -> None:
    """Take out the sources that wait, one after the other, until all are done or the reader stops it.

    Whenever the bar moves, Streamlit attends to clicks: *Stop*, or any other control, ends the run there, and what is
    known by then stays. In a fragment it would not: a click within one waits for the run to end.
    """
    with st.container(horizontal=True, vertical_alignment="center"):
        bar = st.progress(0.0, "Taking features out")
        st.button("Stop", key="circuit_stop", icon=":material/stop:", on_click=kept.stop)
    try:
        verified = verify(kept.recording, kept.found, kept.waiting)
        while kept.waiting:
            done = kept.n_asked - len(kept.waiting)
            bar.progress(done / kept.n_asked, f"Taking features out: {done} of {kept.n_asked}")
            kept.found = next(verified)
            unverified = set(unverified_sources(kept.found))
            kept.waiting = [source for source in kept.waiting if source in unverified]
    except Exception:
        kept.stop()  # else every run of the page would try it again
        raise
    st.rerun()  # draws the circuit with what is known now


def _within(words: Sequence[int] | None, start: int, n_tokens: int) -> np.ndarray | None:
    """The chosen words that lie in a part of the text, counted from its start; None where there is none."""
    chosen = np.array([word - start for word in words or () if start <= word < start + n_tokens], dtype=np.int64)
    return chosen if len(chosen) else None


def _exact(engine: Engine) -> LanguageModel:
    """The model in float32 where it is small, else as it is: bfloat16 rounds small effects away."""
    model = engine.language_model.model
    if model.dtype.itemsize >= 4 or model.device.type != "cpu" or model.num_parameters() > _MOST_COPIED:
        return engine.language_model
    return _in_float32(repr(engine.bundle), engine)


@st.cache_resource(show_spinner=False, max_entries=1)
def _in_float32(bundle: str, _engine: Engine) -> LanguageModel:
    """A second copy of the model, loaded by the first who traces a circuit, for all sessions.

    Args:
        bundle: what the copy is kept under; Streamlit looks at no argument that begins with an underscore.
    """
    return load_model(_engine.bundle, dtype="float32")
