"""Model, SAEs and labels, loaded once in the background and shared by all sessions."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import streamlit as st

from feature_tracker.bundles.bundle import Bundle, WheelSource
from feature_tracker.errors import TrackerError

if TYPE_CHECKING:
    from feature_tracker.labels.table import LabelTable
    from feature_tracker.model.load import LanguageModel
    from feature_tracker.page.circuit_run import TracedCircuit
    from feature_tracker.progress import Progress
    from feature_tracker.sae.topk import Sae
    from feature_tracker.tracing.recording import Recording

_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Engine:
    """All that analyzing a text needs.

    Attributes:
        bundle: what belongs together.
        language_model: shared by all sessions; tracing keeps their requests apart.
        saes: by layer.
        labels: the bundle's label table.
        typical_words: of every word family that the labels speak of, by its name.
        recordings: of the circuits that sessions keep; they go with the circuit or with the engine.
    """

    bundle: Bundle
    language_model: LanguageModel
    saes: dict[int, Sae]
    labels: LabelTable
    typical_words: Mapping[str, Sequence[str]] = field(default_factory=dict)
    recordings: WeakKeyDictionary[TracedCircuit, Recording] = field(default_factory=WeakKeyDictionary)


@dataclass
class Loading:
    """A load under way or done: where it stands, and its outcome.

    Attributes:
        given_up: another bundle takes its place; it ends at its next report.
    """

    what: str = "Loading the model"
    share: float = 0.0
    outcome: Future[Engine] = field(default_factory=Future)
    given_up: bool = False

    def report(self, what: str, share: float) -> None:
        """Take a `Progress` call from the loading thread.

        Raises:
            TrackerError: the load was given up.
        """
        if self.given_up:
            raise evicted_error()
        self.what, self.share = what, min(max(share, 0.0), 1.0)

    @property
    def failed(self) -> bool:
        """It has ended with an error."""
        return self.outcome.done() and self.outcome.exception() is not None


def evicted_error() -> TrackerError:
    """What whoever asks for an engine is told after another took its place."""
    return TrackerError("This model made room for another bundle that was chosen meanwhile. Press Analyze again.")


@dataclass
class EnginePool:
    """The engines of this process, by bundle.

    The built-in model is small and stays; of the others one is kept, for two of them rarely fit. A bundle that made
    room counts as failed, so that only an analysis, not a glance at the page, takes the place back.
    """

    loadings: dict[Bundle, Loading] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)
    one_at_a_time: threading.Lock = field(default_factory=threading.Lock)

    def loading(self, bundle: Bundle, *, again: bool = False) -> Loading:
        """The bundle's load, begun where there is none.

        Args:
            again: begin anew where it failed.
        """
        with self.lock:
            known = self.loadings.get(bundle)
            if known is not None and not (again and known.failed):
                return known
            self._make_room(bundle)
            loading = self.loadings[bundle] = Loading()
            threading.Thread(target=self._load, args=(bundle, loading), name="load-engine", daemon=True).start()
            return loading

    def _make_room(self, bundle: Bundle) -> None:
        if isinstance(bundle.model, WheelSource):
            return
        for other, loading in self.loadings.items():
            if not isinstance(other.model, WheelSource) and not loading.failed:
                loading.given_up = True
                self.loadings[other] = Loading(given_up=True)
                self.loadings[other].outcome.set_exception(evicted_error())

    def _load(self, bundle: Bundle, loading: Loading) -> None:
        try:
            with self.one_at_a_time:  # what was given up is gone before its successor asks for memory
                gc.collect()
                loading.outcome.set_result(load_engine(bundle, loading.report))
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits, in that thread
            loading.outcome.set_exception(error)


@st.cache_resource(show_spinner=False)
def engine_pool() -> EnginePool:
    """The one pool of all sessions."""
    return EnginePool()


def load_engine(bundle: Bundle, progress: Progress) -> Engine:
    """Load model, SAEs and labels of a bundle; the first time fetches the model."""
    # Torch and transformers take seconds to import: here they are imported in the loading thread, after the page's
    # inputs are on the screen.
    from feature_tracker.rule_labels.lexicon import lexicon_path, load_typical_words  # noqa: PLC0415
    from feature_tracker.tracker import load_parts  # noqa: PLC0415

    parts = load_parts(bundle, progress)
    typical_words = load_typical_words(lexicon_path(bundle.labels))
    return Engine(parts.bundle, parts.language_model, parts.saes, parts.labels, typical_words)


def wait_for_engine(bundle: Bundle, progress: Progress, *, again: bool) -> Engine:
    """The loaded bundle; reports where loading stands while it lasts.

    Args:
        again: load anew where loading failed before.

    Raises:
        TrackerError: loading failed.
    """
    loading = engine_pool().loading(bundle, again=again)
    while not loading.outcome.done():
        progress(loading.what, loading.share)
        time.sleep(_POLL_SECONDS)
    return loading.outcome.result()


def show_loading(bundle: Bundle) -> None:
    """Show where loading stands, for as long as it lasts."""
    if not engine_pool().loading(bundle).outcome.done():
        _loading_bar(bundle)


@st.fragment(run_every=0.5)
def _loading_bar(bundle: Bundle) -> None:
    loading = engine_pool().loading(bundle)
    if loading.outcome.done():
        st.rerun()  # draws the page without this bar and so ends its repetition
    st.progress(loading.share, f"{loading.what} …")
