"""Circuits without a browser: on the tiny model, and once whole on the built-in one."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import networkx as nx
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from circuit_tracer import Feature, Tracker, main
from feature_tracker.circuits.circuit import EDGE_COLUMNS
from feature_tracker.circuits.question import WhatFeeds
from feature_tracker.model.load import LanguageModel
from tests.support import SENTENCES, tiny_labels

FILES = {
    "nodes.csv", "edges.csv", "members.csv", "graph.graphml", "graph.gexf", "graph.json", "attribution_graph.json",
    "figure.html",
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


@pytest.fixture
def feature(tracker: Tracker) -> Feature:
    """A feature of the deepest layer that fires."""
    ranked = tracker.rank(tracker.record(SENTENCES).trace, layers=[4], top=1, by="activation")
    return Feature(4, int(ranked["feature"].item()))


def check_folder(out: Path) -> None:
    """Everything that was written belongs together."""
    assert {file.name for file in out.iterdir()} == FILES
    nodes, edges, members = (pd.read_csv(out / f"{name}.csv") for name in ("nodes", "edges", "members"))
    assert list(edges.columns) == EDGE_COLUMNS
    assert edges[["effect", "lost"]].notna().all().all()
    assert set(edges["source"]) | set(edges["target"]) <= set(nodes["node"])
    assert set(members["node"]) <= set(nodes["node"])
    for read in (
        nx.read_graphml(out / "graph.graphml"),
        nx.node_link_graph(json.loads((out / "graph.json").read_text()), edges="links"),
    ):
        written = {(source, target): edge["effect"] for source, target, edge in read.edges(data=True)}
        assert written == {(row.source, row.target): pytest.approx(row.effect, rel=1e-6) for row in edges.itertuples()}
    viewer = json.loads((out / "attribution_graph.json").read_text())
    assert viewer["nodes"]
    assert viewer["links"]
    figure = (out / "figure.html").read_text()
    assert "plotly" in figure
    assert 'src="http' not in figure
    assert re.search(r"<h1>(What|The)[^<]*\\?</h1>", figure)


def test_an_answer_and_files(command, tmp_path: Path, feature: Feature) -> None:
    out = tmp_path / "deep" / "out"
    result = command(SENTENCES, "--feature", str(feature), "--out", str(out))
    assert result.exit_code == 0, result.output
    check_folder(out)
    assert result.stdout.startswith("What feeds “")
    for words in ("Layer 4", "Layer 3", "Layer 1", "Words", "without it,", "Written to"):
        assert words in result.stdout


@pytest.mark.parametrize(
    ("arguments", "question"),
    [
        ([], "What feeds the deepest features of this text?"),
        (["--from", "L1/F{first}"], "What does “"),
        (["--next", "rate"], "What makes “rate” the next word?"),
        (["--next", "rate", "--against", "bank"], "What makes “rate”, and not “bank”, the next word?"),
    ],
)
def test_questions(command, tracker: Tracker, tmp_path: Path, arguments: list[str], question: str) -> None:
    ranked = tracker.rank(tracker.record(SENTENCES).trace, layers=[1], top=1, by="activation")
    result = command(SENTENCES, *(a.format(first=ranked["feature"].item()) for a in arguments), "--out", str(tmp_path))
    assert result.exit_code == 0, result.output
    assert question in result.stdout
    check_folder(tmp_path)


def test_a_word_is_asked_about_alone(command, tracker: Tracker, feature: Feature) -> None:
    trace = tracker.record(SENTENCES).trace
    words, peak = trace.tokens.words, trace.peak(feature)
    word = trace.tokens.text[slice(*words.spans[words.word_of[peak]])]
    assert "on this word?" in command(SENTENCES, "--feature", str(feature), "--on", word).stdout


def test_a_file_is_read(command, tmp_path: Path) -> None:
    file = tmp_path / "report.txt"
    file.write_text(SENTENCES, encoding="utf-8")
    assert command(str(file)).stdout == command(SENTENCES).stdout


@pytest.mark.parametrize("text", ["a b c", "rates"])
def test_a_text_of_a_few_tokens_has_a_circuit(command, tmp_path: Path, text: str) -> None:
    result = command(text, "--out", str(tmp_path))
    assert result.exit_code == 0, result.output
    assert {file.name for file in tmp_path.iterdir()} == FILES


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["  "], "no text to analyze"),
        (["word " * 2000], "at most 500"),
        (["text", "--share", "2"], "0<x<=1"),
        (["text", "--feature", "F3"], "named as L28/F190"),
        (["text", "--feature", "L2/F3"], "There is no feature L2/F3"),
        (["text", "--from", "L4/F3"], "last SAE layer"),
        (["text", "--feature", "L4/F3", "--from", "L1/F1"], "Ask one question"),
        (["text", "--on", "text"], "--on goes with --feature"),
        (["text", "--feature", "L4/F3", "--on", "nowhere"], "has no word 'nowhere'"),
        (["text", "--next", "unbelievably odd"], "must be one token"),
        (["text", "--next", "  "], "must be one token"),
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
    for option in ("--bundle", "--feature", "--on", "--from", "--next", "--against", "--share", "--out", "figure.html"):
        assert option in text


def test_the_tracker_answers_what_it_is_asked(tracker: Tracker, feature: Feature) -> None:
    traced = tracker.circuit(SENTENCES, WhatFeeds((feature,)))
    assert traced.circuit.nodes[0].members == (feature,)
    assert tracker.labels.name(feature) in traced.question()
    assert traced.graph().nodes[0]["label"] == tracker.labels.name(feature)


@pytest.mark.model
def test_the_built_in_model_end_to_end(builtin_model: LanguageModel, tmp_path: Path) -> None:
    text = "Net sales rose 5.4% to $1,234 million in 1996, and the Federal Reserve lowered its policy rate."
    result = CliRunner().invoke(main, [text, "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    check_folder(tmp_path)
    edges = pd.read_csv(tmp_path / "edges.csv").dropna()
    large = edges[edges["lost"].abs() > 0.1]
    assert ((large["attribution"] > 0) == (large["effect"] > 0)).mean() > 0.7
