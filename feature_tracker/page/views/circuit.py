"""View: what feeds a feature, a next word or the whole text, measured by taking things out of the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from feature_tracker.charts.circuit import CIRCUIT_LEGEND, plot_circuit
from feature_tracker.charts.theme import layer_colours, shorten
from feature_tracker.circuits.answer import answer, faithfulness_in_words
from feature_tracker.circuits.circuit import Node, lost
from feature_tracker.circuits.graph import naming_member
from feature_tracker.circuits.question import Question, WhatFeeds, WhatItFeeds
from feature_tracker.circuits.traced import TracedCircuit
from feature_tracker.circuits.where import edge_heads, edge_words, measure_members, targets_of
from feature_tracker.feature import Feature
from feature_tracker.model.hooks import EMBEDDINGS
from feature_tracker.model.tokens import TokenizedText
from feature_tracker.page import circuit_run, state
from feature_tracker.page.circuit_files import show_downloads
from feature_tracker.page.circuit_run import SessionCircuit, stored_circuit
from feature_tracker.page.clicks import show_chart, show_node_chart
from feature_tracker.page.errors import plain
from feature_tracker.page.state import Scene
from feature_tracker.page.tables import show_table
from feature_tracker.progress import Progress
from feature_tracker.text import sentence_spans
from feature_tracker.tracing.rows import features_of

_FEEDS, _FED, _NEXT, _WHOLE = state.WHAT_FEEDS, "What does it feed?", "Why this next word?", "The whole text"
_QUESTIONS = (_FEEDS, _FED, _NEXT, _WHOLE)
_ANYWHERE, _AT_THE_END = "anywhere in the text", "the end of the text"
_FEATURE, _WORD, _NEXT_WORD, _AGAINST, _AFTER = (
    "circuit_feature", "circuit_word", "circuit_next_word", "circuit_against", "circuit_after",
)  # fmt: skip
KEPT = (state.CIRCUIT_QUESTION, _WORD, _NEXT_WORD, _AGAINST, _AFTER)
"""Keys of widgets whose values stay while they are not on the page."""
_NODE = "circuit_node"
_ABOUT = {
    "rest": "The others that hold the stated share of the influence, each with too little to be told by itself. They "
    "are taken out together.",
    "error": "What the layer holds beside its features. It is taken out as a whole.",
    "sinks": "The beginning of the text and words on which attention rests. They are not taken out, because no model "
    "works without them: the share is an estimate, and no link is measured.",
}
"""By kind, what a node without a name of its own is."""
_MOST_WORDS = 8
_MOST_PAIRS = 20
_MOST_HEADS = 12
_HALF_WIDTH = 512  # fits twice side by side on a laptop's screen
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


def show(scene: Scene) -> None:
    """Draw the view."""
    st.markdown(
        "Ask what a feature or a next word is made of. Every link is **measured**: the shallower end is taken out of "
        "the model, and the deeper end fires less, or more. A circuit passes through all SAE layers, whatever the "
        "sidebar shows."
    )
    question, ready = _read_question(scene)
    session = circuit_run.session_circuit(scene)
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
        with circuit_run.stoppable(bar_place) as report:
            circuit_run.trace(
                scene, question() if question else None, report, lambda traced, key: _draw(traced, key, figure)
            )
        st.rerun()  # draws the downloads above
    if session is not None and session.circuit is not None:
        _show_circuit(session, scene)


def _read_question(scene: Scene) -> tuple[Callable[[], Question] | None, bool]:
    """What is asked, made when it is needed, and whether it can be; `None` for the whole text."""
    kind = st.segmented_control(
        "Question",
        _QUESTIONS,
        default=None if state.CIRCUIT_QUESTION in st.session_state else _FEEDS,
        key=state.CIRCUIT_QUESTION,
        label_visibility="collapsed",
        required=True,
        bind="query-params",
    )
    if kind == _NEXT:
        return _read_next_word(scene)
    if kind == _WHOLE:
        return None, True
    layers, labels = scene.tracker.bundle.layers, scene.tracker.labels  # Streamlit keeps `format_func`, not a tracker
    able = layers[:-1] if kind == _FED else layers
    features = [feature for feature in [scene.feature, *features_of(scene.ranked)] if feature.layer in able]
    features = list(dict.fromkeys(features))
    if not features:
        st.info("None of the features shown lies before the last layer. Choose another in one of the views.")
        return None, False
    with st.container(horizontal=True, vertical_alignment="bottom"):
        feature = st.selectbox(
            "Feature",
            features,
            format_func=lambda one: f"{shorten(labels.name(one), 70)} ({one})",
            key=f"{_FEATURE}_{scene.feature}_{kind}",
            width=_HALF_WIDTH,
        )
        if kind == _FED:
            return (lambda: WhatItFeeds(feature)), True
        words = _words_of(scene, feature)
        word = st.selectbox("Where", [_ANYWHERE, *words], key=_WORD, width=260) if words else _ANYWHERE
    position = words.get(word or _ANYWHERE)
    return (lambda: WhatFeeds((feature,), None if position is None else (position,))), True


def _words_of(scene: Scene, feature: Feature) -> dict[str, int]:
    """The words on which a feature fires most, each with its strongest token."""
    trace = scene.analysis.trace
    column, tokens = trace.column(feature), trace.tokens
    found: dict[str, int] = {}
    counted = trace.counted
    for position in counted[column[counted].argsort(kind="stable")[::-1]]:
        if column[position] <= 0 or len(found) == _MOST_WORDS:
            break
        word = tokens.text[slice(*tokens.words.spans[tokens.words.word_of[position]])]
        found.setdefault(f"on “{shorten(word, 30)}”", int(position))
    if st.session_state.get(_WORD) not in (None, _ANYWHERE, *found):
        st.session_state[_WORD] = _ANYWHERE
    return found


def _read_next_word(scene: Scene) -> tuple[Callable[[], Question] | None, bool]:
    places = _ends(scene)
    if st.session_state.get(_AFTER) not in (None, *places):
        st.session_state[_AFTER] = _AT_THE_END
    with st.container(horizontal=True, vertical_alignment="bottom"):
        word = st.text_input("Next word", key=_NEXT_WORD, width=220, placeholder="what the model expects")
        against = st.text_input("rather than (optional)", key=_AGAINST, width=180, placeholder="fell")
        after = st.selectbox("after", list(places), key=_AFTER, width=360)
    position = places.get(after or _AT_THE_END)
    if word and word.strip():
        return (lambda: scene.tracker.next_word(word, against or None, position)), True
    return (lambda: scene.tracker.expected_word(scene.analysis.trace.tokens, against or None, position)), True


def _ends(scene: Scene) -> dict[str, int | None]:
    """The ends of the text and of its sentences without their last sign, each with the token before the next word."""
    tokens = scene.analysis.trace.tokens
    ends: dict[str, int | None] = {_AT_THE_END: None}
    for start, end in sentence_spans(tokens.text)[:40]:
        sentence = tokens.text[start:end].rstrip(" .!?\n")
        inside = [place for place, stop in enumerate(tokens.offsets[:, 1]) if start < stop <= start + len(sentence)]
        if inside:
            ends.setdefault(f"“…{sentence[-40:]}”", inside[-1])
    return ends


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
        _show_node(session, graph, traced.circuit.nodes[session.node or 0])


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
        width=_HALF_WIDTH,
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


def _show_node(session: SessionCircuit, graph: Any, node: Node) -> None:
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
        with st.container(width=_HALF_WIDTH):
            if node.members:
                _show_members(session, node)
        with st.container(width=_HALF_WIDTH):
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
            width=_HALF_WIDTH,
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
    with circuit_run.stoppable(st.empty()) as report:
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
