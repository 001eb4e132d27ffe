from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from feature_tracker.circuits.attribution_graph import (
    EmbeddingNode,
    ErrorNode,
    FeatureNode,
    Link,
    LogitNode,
    Supernode,
    graph_index,
    supernodes_query,
    to_attribution_graph,
)

CIRCUIT_TRACER = jsonschema.Draft202012Validator(
    json.loads((Path(__file__).parent / "attribution_graph.schema.json").read_text())
)

# What Neuronpedia's validator asks for beyond that (its graph-schema.json 1.0.0, commit ebb8426 of August 2026).
NEURONPEDIA = jsonschema.Draft7Validator(
    {
        "required": ["metadata", "qParams", "nodes", "links"],
        "properties": {
            "metadata": {
                "required": ["slug", "scan", "prompt_tokens", "prompt"],
                "properties": {"node_threshold": {"type": "number"}},  # which may be left out, but not null
            },
            "nodes": {
                "items": {"required": ["node_id", "feature", "layer", "ctx_idx", "feature_type", "jsNodeId", "clerp"]}
            },
            "links": {
                "items": {
                    "required": ["source", "target", "weight"],
                    "properties": {
                        "source": {"type": "string"},
                        "target": {"type": "string"},
                        "weight": {"type": "number"},
                    },
                }
            },
        },
    }
)

# Both draw these as a circle, a diamond, and squares. Any other is a circle without label and activation.
TYPES = {"cross layer transcoder", "mlp reconstruction error", "embedding", "logit"}

ODD = ["", " ", '"', "(p=", "\n", "<s>", "<img src=x onerror=alert(1)>", "</b>", "a < b", "\ud800", "\u202eabc", "🚀 €"]

PROMPT = [EmbeddingNode(0, 1, "<s>", 0.1), EmbeddingNode(1, 50, " rates", 0.2), EmbeddingNode(2, 50, " rates")]
NODES = [
    FeatureNode(0, 4, 1, 1.5, 0.4, "rates"),
    FeatureNode(4, 7, 1, 2.0, 0.3, "rates"),
    FeatureNode(4, 7, 2, 3.0, 0.5, "rates"),
    ErrorNode(4, 1, 0.1),
    LogitNode(2, 800, " rose", 0.31, n_layers=30),
]
LINKS = [
    Link("E_50_1", "0_4_1", 2.0),
    Link("0_4_1", "4_7_1", -1.0),
    Link("0_4_1", "4_7_2", 0.5),
    Link("4_-1_1", "31_800_2", 0.25),
    Link("4_7_2", "31_800_2", 1.0),
]


def graph_of(
    prompt: list[Any] = PROMPT, nodes: list[Any] = NODES, links: list[Any] = LINKS, groups: Any = (), **options: Any
) -> dict[str, Any]:
    options = {"slug": "circuit", "scan": "model", "text": " rates rates"} | options
    graph = json.loads(json.dumps(to_attribution_graph(prompt, nodes, links, groups, **options), allow_nan=False))
    CIRCUIT_TRACER.validate(graph)
    NEURONPEDIA.validate(graph)
    return graph


def by_id(graph: dict[str, Any]) -> dict[str, dict[str, Any]]:
    nodes = {node["node_id"]: node for node in graph["nodes"]}
    assert len(nodes) == len(graph["nodes"])
    return nodes


def unpaired(feature: int) -> tuple[int, int]:
    """(layer, latent), in doubles as the viewer's `cantorUnpair` computes them."""
    diagonal = math.floor((math.sqrt(8.0 * feature + 1) - 1) / 2)
    latent = feature - (diagonal * diagonal + diagonal) // 2
    return diagonal - latent, latent


def test_every_node_is_there_once_with_a_type_that_viewers_know() -> None:
    nodes = by_id(graph_of())
    assert len(nodes) == len(PROMPT) + len(NODES)
    assert {node["feature_type"] for node in nodes.values()} == TYPES
    assert {id: (node["layer"], node["ctx_idx"], node["jsNodeId"]) for id, node in nodes.items()} == {
        "E_1_0": ("E", 0, "E_1-0"),
        "E_50_1": ("E", 1, "E_50-1"),
        "E_50_2": ("E", 2, "E_50-2"),
        "0_4_1": ("0", 1, "0_4-0"),
        "4_7_1": ("4", 1, "4_7-0"),
        "4_7_2": ("4", 2, "4_7-0"),
        "4_-1_1": ("4", 1, "4_-1-1"),
        "31_800_2": ("31", 2, "L_800-2"),
    }


def test_an_error_and_a_feature_of_the_first_layer_have_two_ids() -> None:
    """circuit-tracer 0.5.0 calls both 0_4_1."""
    both = by_id(graph_of(nodes=[FeatureNode(0, 4, 1), ErrorNode(4, 1)], links=[]))
    assert [both[id]["feature"] for id in ("0_4_1", "4_-1_1")] == [14, -1]


@given(st.integers(0, 200), st.integers(0, 2**22), st.integers(0, 2))
@settings(max_examples=40, deadline=None)
def test_ids_and_numbers_of_features_are_read_back(layer: int, latent: int, position: int) -> None:
    graph = graph_of(nodes=[FeatureNode(layer, latent, position)], links=[])
    node = graph["nodes"][-1]
    assert tuple(int(part) for part in node["node_id"].split("_")) == (layer, latent, position)
    assert unpaired(node["feature"]) == (layer, latent)


def test_numbers_of_numpy_are_written_and_do_not_overflow() -> None:
    layer, latent, position = np.array([[16, 60_000, 1]], dtype=np.int32)[0]
    numbers = np.array([1.5, 0.25], dtype=np.float32)
    node = FeatureNode(layer, latent, position, *numbers)
    links = [Link("E_50_1", node.node_id, numbers[0])]
    graph = graph_of([replace(PROMPT[0], influence=numbers[1]), *PROMPT[1:]], [node], links)
    assert unpaired(graph["nodes"][-1]["feature"]) == (16, 60_000)


def test_links_join_nodes_and_those_without_weight_are_left_out() -> None:
    graph = graph_of(links=[*LINKS, Link("E_1_0", "4_7_2", 0.0)])
    assert {(link["source"], link["target"]) for link in graph["links"]} == {(n.source, n.target) for n in LINKS}
    assert {end for link in graph["links"] for end in (link["source"], link["target"])} <= by_id(graph).keys()


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"links": [Link("4_7_1", "10_1_1", 1.0)]}, "10_1_1"),
        ({"links": [*LINKS, LINKS[0]]}, "links that occur twice"),
        ({"links": [Link("0_4_1", "4_7_1", math.nan)]}, "nan"),
        ({"links": [Link("0_4_1", "4_7_1", math.inf)]}, "inf"),
        ({"nodes": [*NODES, replace(NODES[0], label="again")]}, "0_4_1"),
        ({"nodes": [*NODES, FeatureNode(4, 1, 3)]}, "outside of the prompt"),
        ({"nodes": [*NODES, ErrorNode(4, -1)]}, "outside of the prompt"),
        ({"prompt": PROMPT[::-1]}, "out of order"),
        ({"groups": [Supernode("a", ["4_8_1"])]}, "4_8_1"),
        ({"groups": [Supernode("a", ["4_7_1"]), Supernode("b", ["4_7_1"])]}, "two groups"),
        ({"slug": "a/b"}, "slug"),
        ({"slug": ""}, "slug"),
    ],
)
def test_what_a_viewer_would_lose_or_join_is_refused(changed: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=re.escape(named)):
        graph_of(**changed)


def test_groups_have_a_name_each_and_pinned_members() -> None:
    names = ["rates", "rates", "", "a <b>"]
    members = [["4_7_1", "4_7_2"], ["0_4_1"], ["E_50_1", "E_50_2"], ["4_-1_1"]]
    graph = graph_of(groups=[Supernode(*group) for group in zip(names, members, strict=True)])
    groups = graph["qParams"]["supernodes"]
    assert [group[0] for group in groups] == ["rates", "rates (2)", "group", "a <\u200bb>"]
    assert [group[1:] for group in groups] == members
    assert {member for group in members for member in group} <= set(graph["qParams"]["pinnedIds"])


def test_a_name_with_a_number_is_no_other_groups_name() -> None:
    groups = [Supernode(name, [id]) for name, id in (("a", "4_7_1"), ("a (2)", "4_7_2"), ("a", "0_4_1"))]
    names = [group[0] for group in graph_of(groups=groups)["qParams"]["supernodes"]]
    assert len(set(names)) == 3


def test_the_address_gives_the_viewer_the_groups() -> None:
    graph = graph_of(groups=[Supernode('100% & "more" #1', ["4_7_1"]), Supernode("ü", ["4_7_2"])])
    in_address = parse_qs(supernodes_query(graph))["supernodes"][0]  # decodes once, and `util.params.get` once more
    assert json.loads(unquote(in_address)) == graph["qParams"]["supernodes"]


def test_linked_nodes_but_errors_are_pinned_and_200_at_most() -> None:
    assert graph_of()["qParams"]["pinnedIds"] == ["31_800_2", "4_7_2", "0_4_1", "4_7_1", "E_50_1"]
    many = [FeatureNode(4, latent, 1, influence=latent) for latent in range(300)]
    target = FeatureNode(10, 1, 2, influence=1000)
    graph = graph_of(nodes=[*many, target], links=[Link(node.node_id, "10_1_2", 1.0) for node in many])
    assert graph["qParams"]["pinnedIds"][:2] == ["10_1_2", "4_299_1"]
    assert len(graph["qParams"]["pinnedIds"]) == 200


def test_pruning_hides_the_least_influential_first_and_at_first_nothing() -> None:
    graph = graph_of()
    influence = {id: node["influence"] for id, node in by_id(graph).items()}
    assert influence.pop("31_800_2") is influence.pop("E_50_2") is None  # which viewers never hide
    assert sorted(influence, key=influence.__getitem__)[:3] == ["4_7_2", "0_4_1", "4_7_1"]
    assert influence["4_7_2"] == pytest.approx(0.5 / 1.6)
    assert influence["0_4_1"] == pytest.approx(0.9 / 1.6)
    assert max(influence.values()) <= graph["metadata"]["node_threshold"] == 1.0


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50))
@settings(max_examples=40, deadline=None)
def test_no_rounding_hides_a_node(sizes: list[float]) -> None:
    graph = graph_of(nodes=[FeatureNode(4, n, 1, influence=size) for n, size in enumerate(sizes)], links=[])
    assert all(node["influence"] is None or node["influence"] <= 1.0 for node in graph["nodes"])


def test_without_influence_there_is_no_threshold() -> None:
    graph = graph_of(prompt=[EmbeddingNode(0, 1, "a")], nodes=[FeatureNode(4, 1, 0, math.nan, math.nan)], links=[])
    assert "node_threshold" not in graph["metadata"]
    assert graph["nodes"][-1]["influence"] is graph["nodes"][-1]["activation"] is None


@given(st.sampled_from(ODD) | st.text(max_size=20))
@settings(max_examples=40, deadline=None)
def test_odd_labels_are_kept_and_make_no_tag(label: str) -> None:
    nodes = [FeatureNode(4, 1, 0, label=label), ErrorNode(4, 0, label=label)]
    for node in graph_of(nodes=nodes, links=[])["nodes"][-2:]:
        assert node["clerp"].replace("<\u200b", "<") == label.replace("<\u200b", "<")
        assert not re.search("<[A-Za-z/!?]", node["clerp"])


@given(st.sampled_from(ODD) | st.text(min_size=1, max_size=20), st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_viewers_read_the_token_and_its_probability_from_a_logits_label(token: str, probability: float) -> None:
    node = graph_of(nodes=[LogitNode(0, 5, token, probability, 30)], links=[])["nodes"][-1]
    before, shown, after = node["clerp"].split('"')
    assert (before, after) == ("Output ", f" (p={probability:.3f})")
    assert shown or not token
    assert not set(shown) & set("\n\r\t")


def test_the_prompt_is_written_as_it_is() -> None:
    prompt = [EmbeddingNode(place, place, token) for place, token in enumerate(ODD)]
    graph = graph_of(prompt=prompt, nodes=[], links=[], description="It explains 60 %.")
    assert graph["metadata"]["prompt_tokens"] == ODD
    assert [node["ctx_idx"] for node in graph["nodes"]] == list(range(len(ODD)))
    assert graph["metadata"]["schema_version"] == 1
    assert graph["metadata"]["info"]["description"] == "It explains 60 %."


def test_an_empty_graph_is_a_graph() -> None:
    graph = graph_of(prompt=[], nodes=[], links=[])
    assert graph["nodes"] == graph["links"] == graph["qParams"]["pinnedIds"] == []


def test_the_index_lists_what_the_viewers_menu_shows() -> None:
    (listed,) = graph_index([graph_of()])["graphs"]
    assert {"slug", "scan", "prompt", "node_threshold"} <= listed.keys()
