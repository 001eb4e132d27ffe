from __future__ import annotations

import json
import string
from io import BytesIO

import networkx as nx
import numpy as np
from hypothesis import given, settings, strategies as st

from feature_tracker.circuits.export import portable, to_gexf, to_graphml, to_node_link
from feature_tracker.feature import Feature

HOSTILE = [
    "",
    " ",
    "\x00\x0b",
    "<script>alert('x')</script>",
    "]]>&amp;\"'",
    "\u202eabc",
    "line\r\nbreak\ttab",
    "\ud800",
    "🚀 €",
]
texts = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=30))
numbers = st.one_of(st.floats(), st.integers(-(10**6), 10**6).map(np.int64), st.floats(width=32).map(np.float32))
values = st.dictionaries(
    st.sampled_from(["label", "peak_word", "id", "source"]) | st.text(string.ascii_lowercase, min_size=1, max_size=8),
    texts, max_size=4,
)  # fmt: skip


@st.composite
def graphs(draw) -> nx.DiGraph:
    graph = nx.DiGraph()
    nodes = [Feature(layer, index) for layer in (4, 10, 16) for index in range(draw(st.integers(1, 3)))]
    for node in nodes:
        graph.add_node(
            node,
            **(
                draw(values)
                | {"f1": draw(st.floats()), "activation": draw(numbers.map(float)), "reliable": draw(st.booleans())}
            ),
        )
    graph.add_node(99, kind="error", name="L4/error99", label=draw(texts))
    for source in nodes:
        for target in nodes:
            if source.layer < target.layer and draw(st.booleans()):
                graph.add_edge(
                    source, target, r=draw(st.floats(-1, 1)), direct=draw(st.booleans()), share=np.float64(0.25)
                )
    return graph


def assert_same(read: nx.DiGraph, written: nx.DiGraph) -> None:
    assert dict(read.nodes(data=True)) == dict(written.nodes(data=True))
    assert {(a, b): v for a, b, v in read.edges(data=True)} == {(a, b): v for a, b, v in written.edges(data=True)}


@given(graphs())
@settings(max_examples=60, deadline=None)
def test_graphml_gives_back_every_attribute(graph: nx.DiGraph) -> None:
    assert_same(nx.read_graphml(BytesIO(to_graphml(graph))), portable(graph))


@given(graphs())
@settings(max_examples=60, deadline=None)
def test_gexf_gives_back_every_attribute(graph: nx.DiGraph) -> None:
    read = nx.read_gexf(BytesIO(to_gexf(graph)))
    for _, _, edge in read.edges(data=True):
        del edge["id"]  # GEXF numbers its edges
    written = portable(graph)
    for node in written:
        written.nodes[node].setdefault("label", node)  # GEXF names its nodes
    assert_same(read, written)


@given(graphs())
@settings(max_examples=60, deadline=None)
def test_node_link_json_gives_back_every_attribute(graph: nx.DiGraph) -> None:
    read = nx.node_link_graph(json.loads(to_node_link(graph)), edges="links")
    assert_same(read, portable(graph))


def test_values_stay_what_they_are_and_missing_ones_are_left_out() -> None:
    graph = nx.DiGraph()
    graph.add_node(
        Feature(4, 2), label="rates", f1=np.float64(0.5), density=float("nan"), reliable=np.bool_(True), id="x"
    )
    assert dict(portable(graph).nodes(data=True)) == {
        "L4/F2": {"label": "rates", "f1": 0.5, "reliable": True, "id_": "x"}
    }
