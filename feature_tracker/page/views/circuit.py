"""View: what feeds a feature, a next word or the whole text, measured by taking things out of the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from feature_tracker.charts.circuit import CIRCUIT_LEGEND, plot_circuit
from feature_tracker.charts.theme import layer_colours, shorten
from feature_tracker.circuits.answer import answer, faithfulness_in_words
from feature_tracker.circuits.traced import TracedCircuit
from feature_tracker.model.hooks import EMBEDDINGS
from feature_tracker.page.circuit.files import show_downloads
from feature_tracker.page.circuit.node import show_node
from feature_tracker.page.circuit.question import HALF_WIDTH, read_question
from feature_tracker.page.circuit.run import SessionCircuit, session_circuit, stoppable, stored_circuit, trace
from feature_tracker.page.clicks import show_chart, show_node_chart
from feature_tracker.page.errors import plain
from feature_tracker.page.state import Scene

_NODE = "circuit_node"


def show(scene: Scene) -> None:
    """Draw the view."""
    st.markdown(
        "Ask what a feature or a next word is made of. Every link is **measured**: the shallower end is taken out of "
        "the model, and the deeper end fires less, or more. A circuit passes through all SAE layers, whatever the "
        "sidebar shows."
    )
    question, ready = read_question(scene)
    session = session_circuit(scene)
    with st.container(horizontal=True, vertical_alignment="center"):
        pressed = st.button(
            "Trace", type="primary", icon=":material/account_tree:", key="circuit_trace", disabled=not ready,
            help="Runs the model some hundred times on this text: some seconds per hundred words.",
        )  # fmt: skip
        if session is not None and session.circuit is not None:
            show_downloads(session, scene)
    place = st.empty()  # drawn in every run, so that what is written there goes when the next run begins
    if pressed:
        with place.container():
            bar_place, figure = st.empty(), st.empty()
        with stoppable(bar_place) as report:
            trace(scene, question() if question else None, report, lambda traced, key: _draw(traced, key, figure))
        st.rerun()  # draws the downloads above
    if session is not None and session.circuit is not None:
        _show_circuit(session, scene)


def _show_circuit(session: SessionCircuit, scene: Scene) -> None:
    traced = session.traced()
    graph = traced.graph()
    st.markdown(f"**{plain(traced.question())}**")
    st.markdown(plain(answer(traced)))
    carried = faithfulness_in_words(traced)
    if carried:
        st.caption(plain(carried))
    if not session.is_whole:
        left = traced.circuit.n_unmeasured
        st.info(f"It was stopped with {left:,} nodes still to be taken out; they have no links. Trace again for all.")
    show_node_chart(
        plot_circuit(graph, colours=scene.colours, selected=session.node),
        key="circuit",
        name="circuit",
        alt="Circuit from the words of the text to what is asked about, one column per layer",
        choose=_choose_node,
    )
    st.caption(CIRCUIT_LEGEND)
    _choose_by_name(session, graph)
    if session.node in graph:
        show_node(session, graph, traced.circuit.nodes[session.node or 0])


def _draw(traced: TracedCircuit, key: str, place: DeltaGenerator) -> None:
    """What was measured so far, while the rest is being measured."""
    figure = plot_circuit(traced.graph(), colours=layer_colours(traced.recording.layers))
    with place:
        show_chart(figure, key=key, name="circuit", alt="The circuit, as far as it is measured")


def _choose_by_name(session: SessionCircuit, graph: Any) -> None:
    """A selector of all nodes, also those that are not drawn; a click in the figure moves it."""
    names = {node: _node_name(graph.nodes[node]) for node in sorted(graph, key=lambda n: -graph.nodes[n]["layer"])}
    st.session_state[_NODE] = session.node if session.node in names else None

    def choose() -> None:
        number = st.session_state[_NODE]
        if number is None or number in names:
            _choose_node(number)

    st.selectbox(
        "What is in a node",
        list(names),
        index=None,
        format_func=lambda number: names.get(number, str(number)),
        placeholder="Click a node of the figure, or choose one here",
        key=_NODE,
        on_change=choose,
        width=HALF_WIDTH,
    )


def _node_name(values: Mapping[str, Any]) -> str:
    place = "Words" if values["layer"] == EMBEDDINGS else f"Layer {values['layer']}"
    if values["kind"] == "logit":
        place = "Next word"
    return f"{place}: {shorten(str(values['label']), 60)}"


def _choose_node(number: int | None) -> None:
    session = stored_circuit()
    if session is not None:
        session.node = number
