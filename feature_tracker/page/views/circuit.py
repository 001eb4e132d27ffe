"""Tab: what feeds what, estimated by gradients and verified by taking features out."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from feature_tracker.charts.measure import activation_text
from feature_tracker.charts.network import plot_circuit
from feature_tracker.charts.theme import shorten, stated
from feature_tracker.circuits.graph import circuit_paths, path_in_words
from feature_tracker.circuits.paths import Path
from feature_tracker.feature import Feature
from feature_tracker.page import circuit_run, state
from feature_tracker.page.circuit_files import show_downloads
from feature_tracker.page.circuit_run import Question, SessionCircuit
from feature_tracker.page.clicks import show_feature_chart
from feature_tracker.page.plain import plain
from feature_tracker.page.state import Scene
from feature_tracker.tracing.rank import Aggregation

if TYPE_CHECKING:  # NetworkX belongs to circuits/; a graph is data here
    import networkx as nx

_N_PATHS = 5
_HALF_WIDTH = 512  # two beside each other on a laptop's screen
_MOST_UNVERIFIED = 40  # more dashed lines hide the solid ones
AMOUNT = "circuit_amount"
_AMOUNTS = {"10": 10, "30": 30, "100": 100, "all": None}


def show(scene: Scene) -> None:
    """Draw the tab."""
    st.markdown(
        "How features of one layer feed features of the next. **Attribution** estimates it from the model's gradients. "
        "An **effect** is measured: the feature is taken out, the model runs on, and what the deeper feature loses is "
        "counted. **Only an effect is a cause.**"
    )
    question = circuit_run.question_of(scene, _first_window(scene))
    kept = circuit_run.session_circuit(scene)
    bar_place = st.container()
    with st.container(horizontal=True, vertical_alignment="bottom"):
        pressed = st.button(
            "Trace the circuit" if kept is None else "Trace again",
            type="primary" if kept is None else "secondary",
            icon=":material/account_tree:",
            key="circuit_trace",
            help="Runs the model forwards and back on this text; a few seconds for each hundred words.",
        )
        controls = st.container(horizontal=True, vertical_alignment="bottom", width="content")
    if pressed:
        st.session_state[state.CIRCUIT_ASKED] = True
    if state.CIRCUIT_ASKED in st.session_state:
        with state.asked_until_done(state.CIRCUIT_ASKED):
            _trace(scene, question, bar_place)
        st.rerun()  # the button above says now what it does next
    if kept is None:
        return
    if kept.question != question:
        st.info("This circuit was traced under other settings. Trace again to see it under the present ones.")
    with controls:
        _show_controls(kept, scene)
    progress_place = st.container()
    _show_circuit(kept, scene)
    if kept.waiting:
        with progress_place:
            circuit_run.verify_with_progress(kept)


def _trace(scene: Scene, question: Question, place: DeltaGenerator) -> None:
    bar = place.progress(0.0, "Getting ready")

    def report(what: str, share: float) -> None:
        bar.progress(min(max(share, 0.0), 1.0), what)

    try:
        circuit_run.trace(scene, question, report)
    finally:
        bar.empty()


def _first_window(scene: Scene) -> int:
    """First window of the part of the text to trace; a choice where there are several parts."""
    trace = scene.analysis.trace
    firsts = circuit_run.part_starts(trace)
    if len(firsts) == 1:
        return 0
    starts = [trace.tokens.window_starts[first] for first in firsts]
    ends = [*starts[1:], trace.n_tokens]

    def name(place: int) -> str:
        begin, end = trace.tokens.offsets[starts[place], 0], trace.tokens.offsets[ends[place] - 1, 1]
        excerpt = shorten(trace.tokens.text[begin : min(end, begin + 60)], 50)
        return f"Tokens {starts[place] + 1:,} to {ends[place]:,}: {excerpt}"

    chosen = st.selectbox(
        "Part of the text",
        range(len(starts)),
        format_func=name,
        key="circuit_part",
        help="The text is long, and a circuit is traced over one part of it at a time.",
    )
    return firsts[chosen or 0]


def _show_controls(kept: SessionCircuit, scene: Scene) -> None:
    st.session_state.setdefault(AMOUNT, "30")
    amount = st.selectbox(
        "Strongest links to verify",
        list(_AMOUNTS),
        key=AMOUNT,
        width=180,
        help="A link is verified by taking its shallower feature out of the model, which takes a moment and tells that "
        "feature's effect on all deeper ones: so many more links than these become verified with them.",
    )
    st.button(
        "Verify",
        icon=":material/science:",
        key="circuit_verify",
        on_click=lambda: kept.ask(_AMOUNTS[st.session_state[AMOUNT]]),
        disabled=bool(kept.waiting) or not kept.circuit.edges["effect"].isna().any(),
        help=f"The {amount} strongest links that are not verified yet." if amount != "all" else "All links.",
    )
    show_downloads(kept, scene)


def _show_circuit(kept: SessionCircuit, scene: Scene) -> None:
    graph = kept.graph()
    st.markdown(counts_in_words(kept))
    st.caption(
        "Blue: the deeper feature fires more because of the other; red: less. Solid: measured effect, the wider the "
        "more of what reaches the same feature; dashed: estimated only. Of the links that are not verified, the "
        f"{_MOST_UNVERIFIED} strongest and those of the chosen feature are drawn; one that skips a layer is drawn once "
        "it is verified. Click a node for its details. A circuit is of the features of all layers that "
        "fire most, however the page ranks them, in one part of a long text, and is traced in float32."
    )
    show_feature_chart(
        plot_circuit(
            graph,
            colours=scene.colours,
            selected=scene.feature,
            most_unverified=_MOST_UNVERIFIED,
            aggregation=kept.question.settings.aggregation,
        ),
        key="circuit",
        name="circuit",
        alt="Circuit of features, one column a layer",
    )
    # Side by side where there is room, below each other where there is none.
    with st.container(horizontal=True, gap="medium"):
        with st.container(width=_HALF_WIDTH):
            _show_paths(graph)
        with st.container(width=_HALF_WIDTH):
            _show_details(graph, scene.feature, kept.question.settings.aggregation)


def counts_in_words(kept: SessionCircuit) -> str:
    """How much of everything the circuit holds, how much is verified, and how far the estimates were right."""
    edges = kept.circuit.edges
    share, error = kept.circuit.completeness()
    sentences = []
    if not math.isnan(share):
        sentences.append(
            f"These features hold **{share:.0%}** of what feeds the circuit; **{error:.0%}** comes from what the SAEs "
            "leave out, the rest from features that are not shown."
        )
    verified = edges["effect"].notna()
    sentences.append(f"**{verified.sum():,} of {len(edges):,} links** are verified.")
    both = edges[verified & edges["attribution"].notna()]
    if len(both):
        right = int((np.sign(both["effect"]) == np.sign(both["attribution"])).sum())
        sentences.append(f"The estimate had the sign of the effect in {right:,} of {len(both):,}.")
    return " ".join(sentences)


def _show_paths(graph: nx.DiGraph[Any]) -> None:
    st.markdown("**Strongest paths**")
    paths = circuit_paths(graph, _N_PATHS)
    if not paths:
        st.caption("No path leads from the first layer to the last through the features shown.")
        return
    st.markdown("\n".join(f"1. {path_line(path, graph)}" for path in paths))


def path_line(path: Path, graph: nx.DiGraph[Any]) -> str:
    """A path in words, as markdown: its features, its sign and share, and how much of it is verified."""
    edges = [graph.edges[edge] for edge in zip(path.nodes, path.nodes[1:], strict=False)]
    n_verified = sum("effect" in edge for edge in edges)
    checked = "verified" if n_verified == len(edges) else f"{n_verified} of {len(edges)} links verified"
    direction = "raises" if path.sign > 0 else "lowers"
    words = plain(path_in_words(path, graph))
    return f"{words} :gray[({direction} the last; {path.strength:.2%} of its input; {checked})]"


def _show_details(graph: nx.DiGraph[Any], feature: Feature, aggregation: Aggregation) -> None:
    if feature not in graph:
        st.markdown("**Details of a feature**")
        st.caption("Click a node of the circuit to see what feeds it and what it feeds.")
        return
    row = graph.nodes[feature]
    st.markdown(f"**{plain(str(row['label']))}** :gray[{feature}]")
    peak = plain(shorten(str(row["peak_word"]), 40))
    st.caption(
        f"{activation_text(row['activation'], aggregation)}, most on “{peak}”. Label {stated(row, 'f1')}. "
        f"{stated(row, 'specialization_index')}. {stated(row, 'density')}. "
        f"{row['influence']:.1%} of what the last layer's features get runs through it."
    )
    _show_edges("What feeds it", graph, [(source, data) for source, _, data in graph.in_edges(feature, data=True)])
    _show_edges("What it feeds", graph, [(target, data) for _, target, data in graph.out_edges(feature, data=True)])


def _show_edges(title: str, graph: nx.DiGraph[Any], edges: list[tuple[object, dict[str, float]]]) -> None:
    if not edges:
        return
    table = edge_table(graph, edges)
    st.markdown(title)
    st.dataframe(
        table,
        hide_index=True,
        key=f"circuit_{title}",
        placeholder="",
        height=240 if len(table) > 6 else "auto",
        column_config={
            "Label": st.column_config.TextColumn(width="medium"),
            "Effect": st.column_config.NumberColumn(
                format="%+.3g", help="What the deeper feature really lost, summed over the text. Empty: not verified."
            ),
            "Attribution": st.column_config.NumberColumn(format="%+.3g", help="The estimate, in the same unit."),
            "Share": st.column_config.NumberColumn(format="percent", help="Of all that feeds the deeper feature."),
            "r": st.column_config.NumberColumn(format="%+.2f", help="Correlation over the tokens."),
        },
    )


def edge_table(graph: nx.DiGraph[Any], edges: list[tuple[object, dict[str, float]]]) -> pd.DataFrame:
    """Edges with the node at their other end, the largest share first."""
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
