from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.page import find_chromium
from benchmarks.viewer import main
from feature_tracker.circuits.attribution_graph import (
    EmbeddingNode,
    ErrorNode,
    FeatureNode,
    Link,
    LogitNode,
    Supernode,
    to_attribution_graph,
)


@pytest.mark.browser
def test_circuit_tracers_viewer_draws_every_node_label_link_and_group(tmp_path: Path) -> None:
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if find_chromium() is None:
        pytest.skip("no Chromium on this machine; on Debian: apt install chromium")
    viewer = os.environ.get("CIRCUIT_TRACER")
    if viewer is None:
        pytest.skip("no viewer; benchmarks/viewer.py says how to get it; name its folder in CIRCUIT_TRACER")
    prompt = [EmbeddingNode(place, 10 + place, word) for place, word in enumerate(["<s>", " Net", " sales", "\n"])]
    nodes = [
        FeatureNode(0, 28, 2, 1.0, 0.5, "in the first layer"),
        FeatureNode(4, 7, 2, 1.0, 0.5, "a <b>label</b>"),
        FeatureNode(4, 7, 3, 1.0, 0.4, "a <b>label</b>"),
        FeatureNode(28, 283, 3, 2.5, 1.0, "the target"),
        ErrorNode(28, 2, 0.1),
        LogitNode(3, 800, ' "rose"', 0.31, 30),
    ]
    links = [
        Link("E_12_2", "0_28_2", 1.0),
        Link("0_28_2", "4_7_2", 1.0),
        Link("4_7_2", "28_283_3", 0.5),
        Link("4_7_3", "28_283_3", -0.25),
        Link("28_283_3", "31_800_3", 2.0),
        Link("28_-1_2", "31_800_3", 0.1),
    ]
    groups = [Supernode("100% & more", ["4_7_2", "4_7_3"])]
    graph = to_attribution_graph(prompt, nodes, links, groups, slug="circuit", scan="model", text=" Net sales\n")
    (tmp_path / "graph.json").write_text(json.dumps(graph))
    files = ["--graph", str(tmp_path / "graph.json"), "--screenshot", str(tmp_path / "out.png")]
    done = CliRunner().invoke(main, ["--viewer", viewer, *files, "--clicked", "28_283_3"])
    assert done.exit_code == 0, done.output
    shown = json.loads(done.stdout)
    assert shown["errors"] == shown["unplaced"] == []
    assert shown["by_type"] == {
        "cross layer transcoder": 4, "mlp reconstruction error": 1, "embedding": 4, "logit": 1
    }  # fmt: skip
    assert shown["below"] == ["<s>", " Net", " sales", "\u23ce"]
    assert shown["above"] == [" \u201drose\u201d"]
    assert {"100% & more", "the target", "in the first layer"} <= set(shown["subgraph"])
    assert shown["groups"] == [2]
    assert len(shown["inputs"]) == 2
    assert shown["outputs"] == ['Output " \u201drose\u201d" (p=0.310)']
    assert "L28/283 Act: 2.50" in shown["detail"]
    assert (tmp_path / "out.png").stat().st_size > 10_000
