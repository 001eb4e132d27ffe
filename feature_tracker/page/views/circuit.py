"""View: which features feed which, estimated from gradients and verified by taking features out."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from feature_tracker.charts.measure import activation_text
from feature_tracker.charts.network import CIRCUIT_LEGEND, plot_circuit
from feature_tracker.charts.theme import shorten, stated
from feature_tracker.circuits.graph import circuit_paths, path_in_words
from feature_tracker.circuits.paths import Path
from feature_tracker.feature import Feature
from feature_tracker.page import circuit_run, state
from feature_tracker.page.circuit_files import show_downloads
from feature_tracker.page.circuit_run import CircuitRequest, SessionCircuit
from feature_tracker.page.clicks import show_feature_chart
from feature_tracker.page.errors import plain
from feature_tracker.page.state import Scene
from feature_tracker.page.tables import show_table
from feature_tracker.tracing.rank import Aggregation

if TYPE_CHECKING:  # only circuits/ works with NetworkX; here a graph is data
    import networkx as nx

_N_PATHS = 5
_HALF_WIDTH = 512  # fits twice side by side on a laptop's screen
AMOUNT = "circuit_amount"
_AMOUNTS = {"10": 10, "30": 30, "100": 100, "all": None}


def show(scene: Scene) -> None:
    """Draw the view."""
    st.markdown(
        "See which features of one layer feed which features of the next. An **attribution** is estimated from the "
        "model's gradients. An **effect** is measured: a feature is taken out, the model runs on, and the loss of the "
        "deeper feature is recorded. **Only an effect is a cause.**"
    )
    request = circuit_run.circuit_request(scene, _first_window(scene))
    session = circuit_run.session_circuit(scene)
    bar_place = st.empty()
    with st.container(horizontal=True, vertical_alignment="bottom"):
        pressed = st.button(
            "Trace the circuit" if session is None else "Trace again",
            type="primary" if session is None else "secondary",
            icon=":material/account_tree:",
            key="circuit_trace",
            help="Runs the model forward and backward on this text, which takes a few seconds per hundred words.",
        )
        controls = st.container(horizontal=True, vertical_alignment="bottom", width="content")
    if pressed:
        st.session_state[state.PENDING_CIRCUIT] = True
    if state.PENDING_CIRCUIT in st.session_state:
        with state.clear_when_finished(state.PENDING_CIRCUIT):
            _trace(scene, request, bar_place)
        st.rerun()  # updates the button above
    if session is None:
        return
    if session.request != request:
        st.info("This circuit was traced under other settings. Trace again to use the current ones.")
    with controls:
        _show_controls(session, scene)
    progress_place = st.container()
    _show_circuit(session, scene)
    if session.queue:
        with progress_place:
            circuit_run.verify_with_progress(session)


def _trace(scene: Scene, request: CircuitRequest, place: DeltaGenerator) -> None:
    drawn = place.container(horizontal=True, vertical_alignment="center")
    bar = drawn.progress(0.0, "Getting ready")
    drawn.button(
        "Stop",
        key="circuit_trace_stop",
        icon=":material/stop:",
        on_click=lambda: st.session_state.pop(state.PENDING_CIRCUIT, None),
    )

    def report(stage: str, share: float) -> None:
        bar.progress(min(max(share, 0.0), 1.0), stage)

    try:
        circuit_run.trace(scene, request, report)
    finally:
        place.empty()


def _first_window(scene: Scene) -> int:
    """First window of the part of the text to trace; the reader chooses where there are several parts."""
    trace = scene.analysis.trace
    first_windows = circuit_run.part_starts(trace)
    if len(first_windows) == 1:
        return 0
    starts = [trace.tokens.window_starts[window] for window in first_windows]
    ends = [*starts[1:], trace.n_tokens]

    def part_name(part: int) -> str:
        begin, end = trace.tokens.offsets[starts[part], 0], trace.tokens.offsets[ends[part] - 1, 1]
        excerpt = shorten(trace.tokens.text[begin : min(end, begin + 60)], 50)
        return f"Tokens {starts[part] + 1:,} to {ends[part]:,}: {excerpt}"

    chosen_part = st.selectbox(
        "Part of the text",
        range(len(starts)),
        format_func=part_name,
        key="circuit_part",
        help="A long text is traced one part at a time.",
    )
    return first_windows[chosen_part or 0]


def _show_controls(session: SessionCircuit, scene: Scene) -> None:
    st.session_state.setdefault(AMOUNT, "30")
    amount = st.selectbox(
        "Strongest links to verify",
        list(_AMOUNTS),
        key=AMOUNT,
        width=180,
        help="A link is verified by taking its shallower feature out of the model. That takes a moment and measures "
        "the feature's effect on all deeper ones, so more links than these become verified.",
    )
    st.button(
        "Verify",
        icon=":material/science:",
        key="circuit_verify",
        on_click=_verify_clicked,
        disabled=bool(session.queue) or not session.circuit.edges["effect"].isna().any(),
        help="Measures all links." if amount == "all" else f"Measures the {amount} strongest links not verified yet.",
    )
    show_downloads(session, scene)


def _verify_clicked() -> None:
    session = circuit_run.stored_circuit()
    if session is not None:
        session.enqueue(_AMOUNTS[st.session_state[AMOUNT]])


def _show_circuit(session: SessionCircuit, scene: Scene) -> None:
    graph = session.graph()
    st.markdown(counts_in_words(session))
    st.caption(
        f"{CIRCUIT_LEGEND} Click a node for its details. The circuit holds the features of all layers that fire most "
        "strongly, whatever the page ranks by. It covers one part of a long text, and is traced in float32 if the "
        "model is small enough."
    )
    show_feature_chart(
        plot_circuit(
            graph,
            colours=scene.colours,
            selected=scene.feature,
            aggregation=session.request.settings.aggregation,
        ),
        key="circuit",
        name="circuit",
        alt="Circuit of features, one column per layer",
    )
    # Side by side where there is room, else one below the other.
    with st.container(horizontal=True, gap="medium"):
        with st.container(width=_HALF_WIDTH):
            _show_paths(graph)
        with st.container(width=_HALF_WIDTH):
            _show_details(graph, scene.feature, session.request.settings.aggregation)


def counts_in_words(session: SessionCircuit) -> str:
    """How complete the circuit is, how much of it is verified, and how often estimates had the right sign."""
    edges = session.circuit.edges
    share, error = session.circuit.completeness()
    sentences = []
    if not math.isnan(share):
        sentences.append(
            f"These features supply **{share:.0%}** of what feeds the circuit; **{error:.0%}** comes from what the "
            "SAEs miss, the rest from features that are not shown."
        )
    verified = edges["effect"].notna()
    sentences.append(f"**{verified.sum():,} of {len(edges):,} links** are verified.")
    both = edges[verified & edges["attribution"].notna()]
    if len(both):
        same_sign = int((np.sign(both["effect"]) == np.sign(both["attribution"])).sum())
        sentences.append(f"Estimate and effect have the same sign in {same_sign:,} of {len(both):,}.")
    return " ".join(sentences)


def _show_paths(graph: nx.DiGraph[Any]) -> None:
    st.markdown("**Strongest paths**")
    paths = circuit_paths(graph, _N_PATHS)
    if not paths:
        st.caption("No path through these features leads from the first layer to the last.")
        return
    st.markdown("\n".join(f"1. {path_line(path, graph)}" for path in paths))


def path_line(path: Path, graph: nx.DiGraph[Any]) -> str:
    """A path as markdown: its features, its sign and share, and how much of it is verified."""
    edges = [graph.edges[edge] for edge in zip(path.nodes, path.nodes[1:], strict=False)]
    n_verified = sum("effect" in edge for edge in edges)
    checked = "verified" if n_verified == len(edges) else f"{n_verified} of {len(edges)} links verified"
    direction = "raises" if path.sign > 0 else "lowers"
    words = plain(path_in_words(path, graph))
    return f"{words} :gray[({direction} the last feature; {path.strength:.2%} of its input; {checked})]"


def _show_details(graph: nx.DiGraph[Any], feature: Feature, aggregation: Aggregation) -> None:
    if feature not in graph:
        st.markdown("**Details of a feature**")
        st.caption("Click a node of the circuit to see what feeds it and what it feeds.")
        return
    row = graph.nodes[feature]
    st.markdown(f"**{plain(str(row['label']))}** :gray[{feature}]")
    peak = plain(shorten(str(row["peak_word"]), 40))
    st.caption(
        f"{activation_text(row['activation'], aggregation)}, strongest on “{peak}”. Label {stated(row, 'f1')}. "
        f"{stated(row, 'specialization_index')}. {stated(row, 'density')}. "
        f"{row['influence']:.1%} of the input of the last layer's features passes through it."
    )
    _show_edges("What feeds it", graph, [(source, data) for source, _, data in graph.in_edges(feature, data=True)])
    _show_edges("What it feeds", graph, [(target, data) for _, target, data in graph.out_edges(feature, data=True)])


def _show_edges(title: str, graph: nx.DiGraph[Any], edges: list[tuple[object, dict[str, float]]]) -> None:
    if not edges:
        return
    table = edge_table(graph, edges)
    st.markdown(title)
    show_table(
        table,
        key=f"circuit_{title}",
        placeholder="",
        height=240 if len(table) > 6 else "auto",
        column_config={
            "Label": st.column_config.TextColumn(width="medium"),
            "Effect": st.column_config.NumberColumn(
                format="%+.3g",
                help="What the deeper feature lost, measured and summed over the text. Empty: not verified.",
            ),
            "Attribution": st.column_config.NumberColumn(
                format="%+.3g", help="The estimated effect, in the same unit."
            ),
            "Share": st.column_config.NumberColumn(
                format="percent", help="Share of everything that feeds the deeper feature."
            ),
            "r": st.column_config.NumberColumn(format="%+.2f", help="Correlation over the tokens."),
        },
    )


def edge_table(graph: nx.DiGraph[Any], edges: list[tuple[object, dict[str, float]]]) -> pd.DataFrame:
    """Edges by descending share, each with the node at its other end."""
    rows = [
        {
            "Feature": str(node),
            "Label": str(graph.nodes[node]["label"]),
            "Effect": data.get("effect", math.nan),
            "Attribution": data.get("attribution", math.nan),
            "Share": data.get("share", math.nan),
            "r": data.get("r", math.nan),
        }
        for node, data in edges
    ]
    return pd.DataFrame(rows).sort_values("Share", ascending=False, ignore_index=True)
