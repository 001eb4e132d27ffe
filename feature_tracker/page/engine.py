"""The opened bundles of this process: loaded once, in the background, and shared by all sessions."""

from __future__ import annotations

import gc
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import streamlit as st

from feature_tracker.bundles.bundle import Bundle, WheelSource
from feature_tracker.errors import TrackerError
from feature_tracker.tracker import Tracker

if TYPE_CHECKING:
    from feature_tracker.progress import Progress

_POLL_SECONDS = 0.1


@dataclass
class Loading:
    """A bundle that is being loaded or has been: how far it is, and the outcome.

    Attributes:
        given_up: another bundle takes its place; it ends at its next report.
    """

    what: str = "Loading the model"
    share: float = 0.0
    outcome: Future[Tracker] = field(default_factory=Future)
    given_up: bool = False

    def report(self, what: str, share: float) -> None:
        """The `Progress` of the loading thread.

        Raises:
            TrackerError: the load was given up.
        """
        if self.given_up:
            raise evicted_error()
        self.what, self.share = what, min(max(share, 0.0), 1.0)

    @property
    def failed(self) -> bool:
        """Whether loading ended with an error."""
        return self.outcome.done() and self.outcome.exception() is not None


def evicted_error() -> TrackerError:
    """Error for a session whose model was evicted."""
    return TrackerError("This model made room for another bundle that was chosen meanwhile. Press Analyze again.")


@dataclass
class EnginePool:
    """The trackers of this process, by bundle.

    The built-in model is small and stays. Of the others one is kept, because two rarely fit into memory. An evicted
    bundle counts as failed, so that only an analysis, not a rerun of the page, loads it again.
    """

    loadings: dict[Bundle, Loading] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)
    one_at_a_time: threading.Lock = field(default_factory=threading.Lock)

    def loading(self, bundle: Bundle, *, again: bool = False) -> Loading:
        """The bundle's load; it is started if there is none.

        Args:
            again: start anew if it failed.
        """
        with self.lock:
            known = self.loadings.get(bundle)
            if known is not None and not (again and known.failed):
                return known
            self._evict_others(bundle)
            loading = self.loadings[bundle] = Loading()
            threading.Thread(target=self._load, args=(bundle, loading), name="load-engine", daemon=True).start()
            return loading

    def _evict_others(self, bundle: Bundle) -> None:
        if isinstance(bundle.model, WheelSource):
            return
        for other, loading in self.loadings.items():
            if not isinstance(other.model, WheelSource) and not loading.failed:
                loading.given_up = True
                self.loadings[other] = Loading(given_up=True)
                self.loadings[other].outcome.set_exception(evicted_error())

    def _load(self, bundle: Bundle, loading: Loading) -> None:
        try:
            with self.one_at_a_time:  # an evicted model is gone before its successor asks for memory
                gc.collect()
                loading.outcome.set_result(Tracker.open(bundle, progress=loading.report))
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
            loading.outcome.set_exception(error)


@st.cache_resource(show_spinner=False)
def engine_pool() -> EnginePool:
    """The one pool of all sessions."""
    return EnginePool()


def wait_for_tracker(bundle: Bundle, progress: Progress, *, again: bool) -> Tracker:
    """The opened bundle; reports how far loading is until it is done.

    Args:
        again: load anew if loading failed before.

    Raises:
        TrackerError: loading failed.
    """
    loading = engine_pool().loading(bundle, again=again)
    while not loading.outcome.done():
        progress(loading.what, loading.share)
        time.sleep(_POLL_SECONDS)
    return loading.outcome.result()


def show_loading(bundle: Bundle) -> None:
    """Show how far loading is, until it is done."""
    if not engine_pool().loading(bundle).outcome.done():
        _loading_bar(bundle)


@st.fragment(run_every=0.5)
def _loading_bar(bundle: Bundle) -> None:
    loading = engine_pool().loading(bundle)
    if loading.outcome.done():
        st.rerun()  # draws the page without this bar, which ends its repetition
    st.progress(loading.share, f"{loading.what} …")
