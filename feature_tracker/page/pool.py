"""The trackers of this process: opened once each, in the background, and shared by all sessions."""

from __future__ import annotations

import contextlib
import gc
import threading
import time
from collections.abc import Generator
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
    """The loading of one bundle: its progress, then its outcome.

    Attributes:
        stage: what is being done now.
        share: how much of the stage is done, 0 to 1.
        outcome: the tracker, or the error that loading ended with.
        evicted: another bundle takes this one's place; a load under way ends at its next report.
    """

    stage: str = "Loading the model"
    share: float = 0.0
    outcome: Future[Tracker] = field(default_factory=Future)
    evicted: bool = False

    def report(self, stage: str, share: float) -> None:
        """The `Progress` of the loading thread.

        Raises:
            TrackerError: the bundle was evicted.
        """
        if self.evicted:
            raise evicted_error()
        self.stage, self.share = stage, min(max(share, 0.0), 1.0)

    @property
    def failed(self) -> bool:
        """Whether loading ended with an error."""
        return self.outcome.done() and self.outcome.exception() is not None


def evicted_error() -> TrackerError:
    """Error for a session whose model was evicted."""
    return TrackerError("This model was unloaded to make room for another bundle. Press Analyze to load it again.")


@dataclass
class TrackerPool:
    """Trackers by bundle.

    The built-in model is small and stays. Of all other bundles only one is kept, because two rarely fit into memory. An
    evicted bundle counts as failed, so that only an analysis loads it again, not every rerun of the page.
    """

    loadings: dict[Bundle, Loading] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)
    one_at_a_time: threading.Lock = field(default_factory=threading.Lock)

    def loading(self, bundle: Bundle, *, retry: bool = False) -> Loading:
        """The bundle's loading; started here if there is none.

        Args:
            retry: start again if it failed.
        """
        with self.lock:
            earlier = self.loadings.get(bundle)
            if earlier is not None and not (retry and earlier.failed):
                return earlier
            self._evict_others(bundle)
            loading = self.loadings[bundle] = Loading()
            threading.Thread(target=self._load, args=(bundle, loading), name="load-tracker", daemon=True).start()
            return loading

    def exchange(self, old: Tracker, new: Tracker) -> None:
        """Give all sessions a tracker in place of another of the same bundle, from their next run on."""
        with self.lock:
            for bundle, loading in self.loadings.items():
                if loading.outcome.done() and not loading.failed and loading.outcome.result() is old:
                    self.loadings[bundle] = Loading()
                    self.loadings[bundle].outcome.set_result(new)

    def _evict_others(self, bundle: Bundle) -> None:
        if isinstance(bundle.model, WheelSource):
            return
        for other, loading in self.loadings.items():
            if not isinstance(other.model, WheelSource) and not loading.failed:
                loading.evicted = True
                self.loadings[other] = Loading(evicted=True)
                self.loadings[other].outcome.set_exception(evicted_error())

    def _load(self, bundle: Bundle, loading: Loading) -> None:
        try:
            with self.one_at_a_time:  # frees an evicted model before the next one asks for memory
                gc.collect()
                loading.outcome.set_result(Tracker.open(bundle, progress=loading.report))
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
            loading.outcome.set_exception(error)


@st.cache_resource(show_spinner=False)
def tracker_pool() -> TrackerPool:
    """The one pool that all sessions share."""
    return TrackerPool()


def wait_for_tracker(bundle: Bundle, progress: Progress, *, retry: bool) -> Tracker:
    """Wait until the bundle is loaded, and report progress meanwhile.

    Args:
        retry: load again if loading failed before.

    Raises:
        TrackerError: loading failed.
    """
    loading = tracker_pool().loading(bundle, retry=retry)
    while not loading.outcome.done():
        progress(loading.stage, loading.share)
        time.sleep(_POLL_SECONDS)
    return loading.outcome.result()


def show_loading(bundle: Bundle) -> None:
    """Show a progress bar while the bundle is loading."""
    if not tracker_pool().loading(bundle).outcome.done():
        _loading_bar(bundle)


@st.fragment(run_every=0.5)
def _loading_bar(bundle: Bundle) -> None:
    loading = tracker_pool().loading(bundle)
    if loading.outcome.done():
        st.rerun()  # draws the page without this bar, so the fragment stops repeating
    st.progress(loading.share, f"{loading.stage} …")


@contextlib.contextmanager
def progress_bar() -> Generator[Progress]:
    """A progress bar that appears with the first report and disappears at the end."""
    place = st.empty()

    def report(stage: str, share: float) -> None:
        place.progress(min(max(share, 0.0), 1.0), stage)

    try:
        yield report
    finally:
        place.empty()
