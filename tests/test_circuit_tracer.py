"""Circuits without a browser: on the tiny model, and once whole on the built-in one."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import networkx as nx
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from circuit_tracer import Feature, Tracker, main
from feature_tracker.circuits.ablation import ablate, effects_of
from feature_tracker.circuits.attribution import attribute
from feature_tracker.circuits.circuit import EDGE_COLUMNS
from feature_tracker.circuits.correlation import COLUMNS
from feature_tracker.model.load import LanguageModel
from tests.support import SENTENCES, tiny_labels

FILES = {
    "features.csv", "correlations.csv", "edges.csv", "graph.graphml", "graph.gexf", "graph.json",
    "attribution_graph.json", "figure.html",
}  # fmt: skip


@pytest.fixture
def tracker(tiny_tracker: Tracker) -> Tracker:
    return replace(tiny_tracker, labels=tiny_labels(tiny_tracker.bundle, 40))


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, tracker: Tracker) -> Callable[..., Result]:
    """The command line on the tiny model."""
    monkeypatch.setattr(Tracker, "open", lambda *_, **__: tracker)

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(main, list(arguments))

    return run


def check_folder(out: Path, n_tokens: int) -> None:
    """Everything that was written belongs together."""
    assert {file.name for file in out.iterdir()} == FILES
    features, pairs, edges = (pd.read_csv(out / f"{name}.csv") for name in ("features", "correlations", "edges"))
    assert list(features.columns[:3]) == ["layer", "feature", "label"]
    assert (features["activation"] > 0).all()
    assert list(pairs.columns) == COLUMNS
    assert list(edges.columns) == EDGE_COLUMNS
    for read in (
        nx.read_graphml(out / "graph.graphml"),
        nx.node_link_graph(json.loads((out / "graph.json").read_text()), edges="links"),
    ):
        own = {(s, t): e for s, t, e in read.edges(data=True) if "/error" not in s}
        assert len(own) == len(edges)
        for row in edges.itertuples():
            edge = own[f"L{row.source_layer}/F{row.source_feature}", f"L{row.target_layer}/F{row.target_feature}"]
            for name in ("r", "q", "attribution", "effect"):
                value = getattr(row, name)
                assert edge.get(name, np.nan) == pytest.approx(value, nan_ok=True)
    viewer = json.loads((out / "attribution_graph.json").read_text())
    assert len(viewer["metadata"]["prompt_tokens"]) == n_tokens + 1
    figure = (out / "figure.html").read_text()
    assert "plotly" in figure
    assert 'src="http' not in figure
    assert re.search(r"<h1>What feeds what in a text of \d+ tokens: .+</h1><p>Blue links raise", figure)


def test_effects_and_exports_of_a_text(command, tmp_path: Path, tracker: Tracker) -> None:
    out = tmp_path / "deep" / "out"
    result = command(SENTENCES, "--top", "6", "--threshold", "0.2", "--effects", "--out", str(out))
    assert result.exit_code == 0, result.output
    whole = tracker.record(SENTENCES).trace
    n_tokens = whole.n_tokens
    check_folder(out, n_tokens)
    assert pd.read_csv(out / "edges.csv")["effect"].notna().all()
    for words in (
        f"{n_tokens:,} tokens",
        "links at |r| >= 0.2; chance alone would give about",
        "Path 1: '",
        "Written to",
    ):
        assert words in result.stdout
    features = pd.read_csv(out / "features.csv")
    assert len(features) == sum(int(own.dense().any(axis=0).sum()) for own in whole.layers.values())
    for row in features.sample(10, random_state=0).itertuples():
        assert row.activation == pytest.approx(whole.column(Feature(row.layer, row.feature)).max(), rel=1e-5)


def test_without_effects_their_column_is_empty(command, tmp_path: Path) -> None:
    assert command(SENTENCES, "--out", str(tmp_path)).exit_code == 0
    edges = pd.read_csv(tmp_path / "edges.csv")
    assert edges["effect"].isna().all()
    assert edges["attribution"].notna().any()


def test_a_file_is_read(command, tmp_path: Path) -> None:
    file = tmp_path / "report.txt"
    file.write_text(SENTENCES, encoding="utf-8")
    assert command(str(file)).stdout == command(SENTENCES).stdout


@pytest.mark.parametrize("text", ["a b c", "rates"])
def test_a_text_of_a_few_tokens_has_no_correlation_and_still_a_circuit(command, tmp_path: Path, text: str) -> None:
    result = command(text, "--effects", "--out", str(tmp_path))
    assert result.exit_code == 0, result.output
    assert "too short for correlations" in result.stdout
    assert pd.read_csv(tmp_path / "correlations.csv").empty
    assert {file.name for file in tmp_path.iterdir()} == FILES


def test_a_threshold_that_leaves_no_link_is_said(command) -> None:
    result = command(SENTENCES, "--threshold", "1")
    assert result.exit_code == 0
    assert "0 links at |r| >= 1" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["  "], "no text to analyze"),
        (["word " * 2000], "at most 500"),
        (["text", "--threshold", "2"], "0<=x<=1"),
        (["text", "--top", "0"], "x>=1"),
    ],
)
def test_bad_input_is_a_sentence_and_no_traceback(command, arguments: list[str], words: str) -> None:
    result = command(*arguments)
    assert result.exit_code != 0
    assert words in result.output
    assert "Traceback" not in result.output


def test_a_folder_that_cannot_be_written_is_named(command, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = command("Net sales rose.", "--out", str(tmp_path / "file" / "below"))
    assert result.exit_code == 1
    assert "can't be written" in result.output


def test_help_explains_every_option(command) -> None:
    text = command("--help").output
    for option in ("--bundle", "--top", "--threshold", "--effects", "--out", "features.csv", "figure.html"):
        assert option in text


def test_a_circuits_edges_are_what_attribution_and_ablation_give(tracker: Tracker) -> None:
    recording = tracker.record(SENTENCES)
    traced = tracker.circuit(recording, top=5, threshold=0.2, effects=True)
    edges, graph = traced.circuit.edges, traced.graph()
    edge = edges[edges["attribution"].notna()].iloc[0]
    source = Feature(int(edge.source_layer), int(edge.source_feature))
    target = Feature(int(edge.target_layer), int(edge.target_feature))
    by_feature = attribute(recording, [target]).upstream[source.layer].by_feature()
    assert edge.attribution == pytest.approx(by_feature[0, source.index], rel=1e-4)
    effects = effects_of(list(ablate(recording, [source])), [target])
    assert edge.effect == pytest.approx(effects["effect"].item(), rel=1e-3, abs=1e-4)
    assert graph.edges[source, target]["effect"] == edge.effect
    assert len(tracker.correlate(recording.trace, top=5).pairs) == len(traced.correlations.pairs) <= 3 * 5 * 5
    assert {feature.layer for feature in graph} == {1, 3, 4}


@pytest.mark.model
def test_the_built_in_model_end_to_end(builtin_model: LanguageModel, tmp_path: Path) -> None:
    text = "The central bank raised its policy rate by a quarter point, and bond yields rose with inflation. " * 2
    result = CliRunner().invoke(main, [text, "--top", "4", "--effects", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    check_folder(tmp_path, len(builtin_model.tokenizer(text, add_special_tokens=False)["input_ids"]))
    edges = pd.read_csv(tmp_path / "edges.csv")
    assert edges["effect"].notna().all()
    assert set(edges["source_layer"]) <= {4, 10, 16, 22}
    direct = edges[edges["attribution"].notna()]
    assert np.mean(np.sign(direct["attribution"]) == np.sign(direct["effect"])) > 0.7
