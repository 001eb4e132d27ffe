"""`feature-tracker circuit`: what feeds what in a text, as an answer, a summary and files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import networkx as nx

from feature_tracker.bundles.bundle import Bundle
from feature_tracker.charts.theme import shorten
from feature_tracker.circuits.answer import answer, faithfulness_in_words
from feature_tracker.circuits.question import Question, WhatFeeds, WhatItFeeds
from feature_tracker.circuits.traced import TracedCircuit
from feature_tracker.cli.options import bundle_options
from feature_tracker.cli.progress import terminal_progress
from feature_tracker.cli.text import text_or_file
from feature_tracker.feature import Feature
from feature_tracker.model.hooks import EMBEDDINGS
from feature_tracker.tracing.recording import Recording
from feature_tracker.tracker import Tracker


@click.command("circuit")
@click.argument("text")
@bundle_options
@click.option("--feature", help="What feeds this feature? As L28/F190.")
@click.option("--on", "word", help="Only on this word of the text, where the feature fires most.")
@click.option("--from", "source", help="What does this feature feed?")
@click.option("--next", "next_word", help="What makes this the next word after the text?")
@click.option("--against", help="And not this one.")
@click.option(
    "--share",
    default=0.8,
    show_default=True,
    type=click.FloatRange(0, 1, min_open=True),
    help="Share of each layer's influence that the kept features hold.",
)
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="Folder to write tables, graphs and the figure to."
)
def main(
    text: str, bundle: Bundle, feature: str | None, word: str | None, source: str | None, next_word: str | None,
    against: str | None, share: float, out: Path | None,
) -> None:  # fmt: skip
    """Trace what feeds a feature or a next word, and measure every edge by taking things out of the model.

    TEXT is the text itself, or the path of a document: .txt, .md, .html, .pdf or .docx. Without a question it is about
    the deepest features of the text. Prints an answer and the strongest edges. With --out, also writes nodes.csv,
    edges.csv, members.csv, graph.graphml, graph.gexf, graph.json (node-link), attribution_graph.json (for
    circuit-tracer's viewer and Neuronpedia) and figure.html.
    """
    asked = [name for name, value in (("--feature", feature), ("--from", source), ("--next", next_word)) if value]
    if len(asked) > 1:
        raise click.UsageError(f"Ask one question: {' and '.join(asked)} are several.")
    if (word and not feature) or (against and not next_word):
        raise click.UsageError("--on goes with --feature, and --against with --next.")
    text = text_or_file(text)
    with terminal_progress("Tracing") as progress:
        tracker = Tracker.open(bundle, progress=progress)
        recording = tracker.record(text, progress=progress)
        question = _question(tracker, recording, feature, word, source, next_word, against)
        traced = tracker.circuit(recording, question, share=share, progress=progress)
    for line in summary(traced):
        click.echo(line)
    if out is not None:
        tracker.export(traced, out)
        click.echo(f"\nWritten to {out}")


def _question(
    tracker: Tracker, recording: Recording, feature: str | None, word: str | None, source: str | None,
    next_word: str | None, against: str | None,
) -> Question | None:  # fmt: skip
    if feature:
        asked = _feature(feature)
        return WhatFeeds((asked,), _positions(recording, asked, word) if word else None)
    if source:
        return WhatItFeeds(_feature(source))
    return tracker.next_word(next_word, against) if next_word else None


def _feature(text: str) -> Feature:
    feature = Feature.named(text)
    if feature is None:
        raise click.UsageError(f"A feature is named as L28/F190; found {text!r}.")
    return feature


def _positions(recording: Recording, feature: Feature, word: str) -> tuple[int, ...]:
    """The token of a word on which the feature fires most.

    Raises:
        UsageError: the text doesn't have the word.
    """
    tokens = recording.trace.tokens
    spans, word_of = tokens.words.spans, tokens.words.word_of
    is_word = [tokens.text[slice(*span)].casefold() == word.strip().casefold() for span in spans]
    positions = [position for position, number in enumerate(word_of) if is_word[number]]
    if not positions:
        raise click.UsageError(f"The text has no word {word!r}.")
    column = recording.trace.column(feature) if feature.layer in recording.trace.layers else None
    return (max(positions, key=lambda position: 0.0 if column is None else float(column[position])),)


def summary(traced: TracedCircuit) -> Iterator[str]:
    """A circuit in lines: the question, the answer, what it carries, and each node with its strongest edge."""
    yield traced.question()
    yield ""
    yield answer(traced)
    carried = faithfulness_in_words(traced)
    if carried:
        yield carried
    graph = traced.graph()
    for layer in sorted({graph.nodes[node]["layer"] for node in graph}, reverse=True):
        nodes = [node for node in graph if graph.nodes[node]["layer"] == layer]
        yield ""
        yield _heading(layer, graph, nodes)
        for node in nodes:
            yield f"  {_line(graph, node)}"


def _heading(layer: int, graph: nx.DiGraph[Any], nodes: list[int]) -> str:
    if layer == EMBEDDINGS:
        return "Words"
    return "Next word" if graph.nodes[nodes[0]]["kind"] == "logit" else f"Layer {layer}"


def _line(graph: nx.DiGraph[Any], node: int) -> str:
    values = graph.nodes[node]
    label = shorten(re.sub(r"\s+", " ", str(values["label"])), 50)
    where = f" [{shorten(values['words'], 40)}]" if values["kind"] == "features" and values["words"] else ""
    edges = [(target, edge["lost"]) for _, target, edge in graph.out_edges(node, data=True)]
    if not edges:
        return f"{label}{where}"
    target, lost = max(edges, key=lambda edge: abs(edge[1]))
    verb = "loses" if lost > 0 else "gains"
    return f"{label}{where}: without it, {shorten(graph.nodes[target]['label'], 40)} {verb} {abs(lost):.0%}"
