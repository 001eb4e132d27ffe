"""What a node of a circuit holds and feeds; on request, each of its features alone, on which words, by which heads."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from feature_tracker.charts.theme import shorten
from feature_tracker.circuits.circuit import Node, lost
from feature_tracker.circuits.graph import naming_member
from feature_tracker.circuits.where import edge_heads, edge_words, measure_members, targets_of
from feature_tracker.model.tokens import TokenizedText
from feature_tracker.page import state
from feature_tracker.page.circuit.question import HALF_WIDTH
from feature_tracker.page.circuit.run import SessionCircuit, stoppable
from feature_tracker.page.errors import plain
from feature_tracker.page.tables import show_table
from feature_tracker.progress import Progress
from feature_tracker.tracing.rows import features_of

_ABOUT = {
    "rest": "The others that hold the stated share of the influence, each with too little to be told by itself. They "
    "are taken out together.",
    "error": "What the layer holds beside its features. It is taken out as a whole.",
    "sinks": "The beginning of the text and words on which attention rests. They are not taken out, because no model "
    "works without them: the share is an estimate, and no link is measured.",
}
"""By kind, what a node without a name of its own is."""
_MOST_PAIRS = 20
_MOST_HEADS = 12
_LOST = st.column_config.NumberColumn(
    "Without it",
    width="small",
    format="percent",
    help="How much less the deeper one fires when the shallower one is taken out.",
)
_ESTIMATE = st.column_config.NumberColumn(
    "Estimate",
    width="small",
    format="percent",
    help="The share of the answer that takes this way, estimated from gradients.",
)


def show_node(session: SessionCircuit, graph: Any, node: Node) -> None:
    """Draw a node.

    Args:
        graph: of the session's circuit.
    """
    values = graph.nodes[node.number]
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"##### {plain(str(values['label']))}", width="content")
        if node.kind == "features":
            feature = naming_member(node, session.traced().circuit, session.labels)
            st.button(
                f"Choose {feature}",
                key="circuit_choose",
                type="tertiary",
                on_click=state.choose_feature,
                args=tuple(feature),
                help="Shows its card and where it fires in the text. Then you can ask what feeds it.",
            )
    if node.kind in _ABOUT:
        st.caption(_ABOUT[node.kind])
    with st.container(horizontal=True, gap="medium"):
        with st.container(width=HALF_WIDTH):
            if node.members:
                _show_members(session, node)
        with st.container(width=HALF_WIDTH):
            into = [(source, edge) for source, _, edge in graph.in_edges(node.number, data=True)]
            _show_edges("What feeds it", graph, into)
            _show_edges("What it feeds", graph, [(to, edge) for _, to, edge in graph.out_edges(node.number, data=True)])
    _show_inside(session, graph, node)


def _show_members(session: SessionCircuit, node: Node) -> None:
    circuit = session.traced().circuit
    members = circuit.members[circuit.members["node"] == node.number]
    features = features_of(members)
    table = pd.DataFrame(
        {
            "Feature": list(map(str, features)),
            "Label": [session.labels.name(feature) for feature in features],
            "Influence": members["influence"].to_numpy(),
        }
    )
    alone = session.inside.get(("members", node.number, 0))
    if alone is not None and not alone.empty:
        strongest = alone.loc[alone.groupby("feature")["lost"].apply(lambda lost: lost.abs().idxmax())]
        most = strongest.set_index("feature")["lost"]
        table["Alone"] = [most.get(feature.index, float("nan")) for feature in features]
    st.markdown("Its features, which are taken out together")
    show_table(
        table,
        key="circuit_members",
        placeholder="",
        height=240 if len(table) > 6 else "auto",
        column_config={
            "Label": st.column_config.TextColumn(width="medium"),
            "Influence": st.column_config.NumberColumn(format="percent", help="Estimated share of what matters here."),
            "Alone": st.column_config.NumberColumn(
                format="percent", help="The most that any deeper node loses when this feature alone is taken out."
            ),
        },
    )
    able = targets_of(circuit, node)
    if able and st.button("Take each out alone", key="circuit_alone", icon=":material/science:"):
        _measure(session, ("members", node.number, 0), node, None)


def _show_edges(title: str, graph: Any, edges: list[tuple[int, dict[str, float]]]) -> None:
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
            "Node": st.column_config.TextColumn(width="medium"),
            "Without it": _LOST,
            "Effect": st.column_config.NumberColumn(
                width="small", format="%+.3g", help="The same in units of activation, summed over the words."
            ),
            "Estimate": _ESTIMATE,
        },
    )


def edge_table(graph: Any, edges: list[tuple[int, dict[str, float]]]) -> pd.DataFrame:
    """Edges, the largest effects first, each with the node at its other end."""
    rows = [
        {
            "Node": str(graph.nodes[number]["label"]),
            "Without it": edge["lost"],
            "Effect": edge["effect"],
            "Estimate": edge.get("attribution", float("nan")),
            "Words": str(graph.nodes[number]["words"]),
        }
        for number, edge in edges
    ]
    table = pd.DataFrame(rows).dropna(axis="columns", how="all")  # where nothing is estimated
    return table.reindex(table["Without it"].abs().sort_values(ascending=False).index).reset_index(drop=True)


def _show_inside(session: SessionCircuit, graph: Any, node: Node) -> None:
    """On which words one of the node's edges acts, and through which attention heads."""
    targets = {target.number: target for target in targets_of(session.traced().circuit, node)}
    if not targets or node.kind == "sinks":
        return
    numbers = sorted(targets, key=lambda number: -abs(graph.edges.get((node.number, number), {}).get("lost", 0.0)))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        number = st.selectbox(
            "Where and how it feeds",
            numbers,
            format_func=lambda one: shorten(str(graph.nodes[one]["label"]), 60),
            key=f"circuit_edge_{node.number}",
            width=HALF_WIDTH,
        )
        words = st.button("On which words?", key="circuit_words")
        heads = st.button("Through which attention heads?", key="circuit_heads")
    if words or heads:
        _measure(session, ("words" if words else "heads", node.number, number), node, targets[number])
    for what in ("words", "heads"):
        table = session.inside.get((what, node.number, number))
        if table is not None:
            _show_inside_table(session, what, table, targets[number])


def _show_inside_table(session: SessionCircuit, what: str, table: pd.DataFrame, target: Node) -> None:
    if table.empty:
        st.caption("Nothing changes on any word." if what == "words" else "No attention head carries it.")
        return
    shown = words_table(session.recording.trace.tokens, table, target) if what == "words" else heads_table(table)
    show_table(
        shown, key=f"circuit_inside_{what}", placeholder="", height="auto",
        column_config={
            "Without it": st.column_config.NumberColumn(
                format="percent", help="Of all that the deeper one fires in question, what it loses on this word."
            ),
            "Effect": st.column_config.NumberColumn(format="%+.3g"),
            "Share": st.column_config.NumberColumn(format="percent", help="Of all heads; estimated."),
        },
    )  # fmt: skip


def words_table(tokens: TokenizedText, acts: pd.DataFrame, target: Node) -> pd.DataFrame:
    """The strongest effects of one word on another, with what stands around the word where something is taken out.

    Args:
        acts: what `edge_words` gives.
    """
    ends = acts.head(_MOST_PAIRS)
    return pd.DataFrame(
        {
            "Taken out on": [shorten(tokens.word_at(position), 30) for position in ends["source_position"]],
            "Lost on": [shorten(tokens.word_at(position), 30) for position in ends["target_position"]],
            "Without it": [lost(effect, target) for effect in ends["effect"]],
            "Taken out in": [tokens.excerpt_at(position) for position in ends["source_position"]],
        }
    )


def heads_table(heads: pd.DataFrame) -> pd.DataFrame:
    """The heads that carry most of an edge; see `edge_heads`."""
    titles = {"layer": "Layer", "head": "Head", "effect": "Effect", "share": "Share"}
    return heads.head(_MOST_HEADS).rename(columns=titles)


def _measure(session: SessionCircuit, key: tuple[str, int, int], node: Node, target: Node | None) -> None:
    with stoppable(st.empty()) as report:
        session.inside[key] = _measured(session, key[0], node, target, report)
    st.rerun()


def _measured(
    session: SessionCircuit,
    what: str,
    node: Node,
    target: Node | None,
    report: Progress,
) -> pd.DataFrame:
    recording, circuit = session.recording, session.traced().circuit
    if target is None:
        return measure_members(recording, circuit, node, report)
    inside = edge_words if what == "words" else edge_heads
    return inside(recording, circuit, node, target, report)
