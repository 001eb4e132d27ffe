"""Model, SAEs and labels, loaded once in the background and shared by all sessions."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import streamlit as st

from bundles.bundle import Bundle, load_bundle

if TYPE_CHECKING:
    from labels.table import LabelTable
    from model.load import LanguageModel
    from model.progress import Progress
    from sae.topk import Sae

_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Engine:
    """All that analyzing a text needs.

    Attributes:
        bundle: what belongs together.
        language_model: shared by all sessions; tracing keeps their requests apart.
        saes: by layer.
        labels: the bundle's label table.
    """

    bundle: Bundle
    language_model: LanguageModel
    saes: dict[int, Sae]
    labels: LabelTable


@dataclass
class Loading:
    """A load under way or done: where it stands, and its outcome."""

    what: str = "Loading the model"
    share: float = 0.0
    outcome: Future[Engine] = field(default_factory=Future)

    def report(self, what: str, share: float) -> None:
        """Take a `Progress` call from the loading thread."""
        self.what, self.share = what, min(max(share, 0.0), 1.0)

    @property
    def failed(self) -> bool:
        """It has ended with an error."""
        return self.outcome.done() and self.outcome.exception() is not None


def load_engine(bundle: Bundle, progress: Progress) -> Engine:
    """Load model, SAEs and labels of a bundle; the first time fetches the model."""
    # Torch and transformers take seconds to import: here they are imported in the loading thread, after the page's
    # inputs are on the screen.
    from labels.table import load_labels  # noqa: PLC0415
    from model.load import load_model  # noqa: PLC0415
    from sae.files import load_saes  # noqa: PLC0415

    language_model = load_model(bundle, progress)
    saes = load_saes(bundle.sae_folder, bundle.layers, d_model=language_model.d_model)
    n_latents = next(iter(saes.values())).n_latents
    labels = load_labels(bundle.labels, layers=bundle.layers, n_latents=n_latents)
    return Engine(bundle, language_model, saes, labels)


@st.cache_resource(show_spinner=False)
def start_loading() -> Loading:
    """Begin to load the built-in bundle, once for all sessions, and return at once."""
    loading = Loading()

    def load() -> None:
        try:
            loading.outcome.set_result(load_engine(load_bundle(), loading.report))
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits, in that thread
            loading.outcome.set_exception(error)

    threading.Thread(target=load, name="load-engine", daemon=True).start()
    return loading


def wait_for_engine(progress: Progress) -> Engine:
    """The loaded bundle; reports where loading stands while it lasts.

    Raises:
        TrackerError: loading failed; the next call tries again.
    """
    if start_loading().failed:
        start_loading.clear()
    loading = start_loading()
    while not loading.outcome.done():
        progress(loading.what, loading.share)
        time.sleep(_POLL_SECONDS)
    return loading.outcome.result()


def show_loading() -> None:
    """Show where loading stands, for as long as it lasts."""
    if not start_loading().outcome.done():
        _loading_bar()


@st.fragment(run_every=0.5)
def _loading_bar() -> None:
    loading = start_loading()
    if loading.outcome.done():
        st.rerun()  # draws the page without this bar and so ends its repetition
    st.progress(loading.share, f"{loading.what} …")
