"""Steered texts in a session: written while the reader watches, and what was asked about them since."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from feature_tracker.page import state
from feature_tracker.page.errors import plain
from feature_tracker.page.pool import progress_bar
from feature_tracker.steering.generate import Continuation, Sampling, SideBySide
from feature_tracker.steering.recipe import Recipe
from feature_tracker.tracing.trace import Trace
from feature_tracker.tracker import Tracker

TITLES = ("Unsteered", "Steered")


@dataclass(frozen=True)
class SteerRequest:
    """What is steered, and how.

    Attributes:
        prompt: as the reader wrote it.
    """

    prompt: str
    recipe: Recipe
    sampling: Sampling


@dataclass
class SessionSteering:
    """Two continuations in a session, and what was computed of them.

    Attributes:
        request: what they were written by.
        written: so far.
        is_whole: whether writing wasn't stopped.
        perplexities: of the unsteered and the steered one; `None` until they are asked for.
        sweeps: by the words that were followed.
        replies: by title, the trace of prompt and continuation, and the continuation's positions.
    """

    request: SteerRequest
    written: SideBySide = field(default_factory=SideBySide)
    is_whole: bool = False
    perplexities: tuple[float, float] | None = None
    sweeps: dict[tuple[str, ...], pd.DataFrame] = field(default_factory=dict)
    replies: dict[str, tuple[Trace, np.ndarray]] = field(default_factory=dict)

    def measured(self, tracker: Tracker) -> tuple[float, float]:
        """The perplexities under the unsteered model."""
        if self.perplexities is None:
            unsteered, steered = (tracker.perplexity(self.request.prompt, one) for one in self.written)
            self.perplexities = unsteered, steered
        return self.perplexities

    def sweep(self, tracker: Tracker, words: tuple[str, ...]) -> pd.DataFrame:
        """See `Tracker.sweep`."""
        if words not in self.sweeps:
            self.sweeps[words] = tracker.sweep(self.request.prompt, self.request.recipe, words)
        return self.sweeps[words]


def write(tracker: Tracker, request: SteerRequest, place: DeltaGenerator) -> None:
    """Write both continuations into the session and into a place of the page, a token at a time.

    A click on Stop or on any other control, or a closed tab, ends Streamlit's run at the next token. What was written
    until then stays in the session.
    """
    with progress_bar() as report:
        report("Getting ready", 0.0)
        steps = tracker.steer(request.prompt, request.recipe, request.sampling)
    session = st.session_state[state.STEERING] = SessionSteering(request)
    with contextlib.closing(steps), place.container():
        st.button("Stop", key="steer_stop", icon=":material/stop:")
        boxes = [column.empty() for column in st.columns(2, gap="medium")]
        for session.written in steps:
            for box, title, continuation in zip(boxes, TITLES, session.written, strict=True):
                box.markdown(f"**{title}**\n\n{shown_text(request.prompt, continuation)}")
    session.is_whole = True
    place.empty()


def shown_text(prompt: str, continuation: Continuation) -> str:
    """A prompt and its continuation as Markdown, the continuation marked."""
    lines = [f":blue[{plain(line)}]" if line.strip() else "" for line in continuation.text.split("\n")]
    return plain(prompt.rstrip(" ")).replace("\n", "  \n") + "  \n".join(lines)
