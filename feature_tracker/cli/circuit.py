"""`feature-tracker circuit`: the circuit of a text and its correlations, as a summary and as files."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import click

from feature_tracker.bundles.bundle import Bundle
from feature_tracker.charts.theme import number, shorten
from feature_tracker.circuits.correlation import MIN_TOKENS, SIGNIFICANT, Correlations
from feature_tracker.circuits.graph import circuit_paths, firing_groups, path_in_words
from feature_tracker.circuits.traced import TracedCircuit
from feature_tracker.cli.options import bundle_options
from feature_tracker.cli.progress import terminal_progress
from feature_tracker.cli.text import text_or_file
from feature_tracker.tracker import Tracker


@click.command("circuit")
@click.argument("text")
@bundle_options
@click.option(
    "--top", default=10, show_default=True, type=click.IntRange(1), help="Features per layer that become nodes."
)
@click.option(
    "--threshold",
    default=0.3,
    show_default=True,
    type=click.FloatRange(0, 1),
    help="Smallest |r| at which a correlation counts as a link.",
)
@click.option(
    "--effects",
    is_flag=True,
    help="Measure each link: take its source out of the model, and see what its target loses.",
)
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="Folder to write tables, graphs and the figure to."
)
def main(text: str, bundle: Bundle, top: int, threshold: float, effects: bool, out: Path | None) -> None:
    """Trace which features of a text feed which.

    TEXT is the text itself, or the path of a document: .txt, .md, .html, .pdf or .docx. Prints a summary. With --out,
    also writes features.csv, correlations.csv, edges.csv, graph.graphml, graph.gexf, graph.json (node-link),
    attribution_graph.json (for circuit-tracer's viewer and Neuronpedia) and figure.html.
    """
    text = text_or_file(text)
    with terminal_progress("Tracing") as progress:
        tracker = Tracker.open(bundle, progress=progress)
        traced = tracker.circuit(text, top=top, threshold=threshold, effects=effects, progress=progress)
    for line in summary(tracker, traced, threshold):
        click.echo(line)
    if out is not None:
        tracker.export(traced, out)
        click.echo(f"\nWritten to {out}")


def summary(tracker: Tracker, traced: TracedCircuit, threshold: float) -> Iterator[str]:
    """Sum up a circuit in a few lines.

    Args:
        threshold: smallest |r| of a link.
    """
    trace, graph = traced.recording.trace, traced.graph()
    n_firing = len(tracker.rank(trace, top=None, by="activation", hide_always_on=False))
    yield f"{trace.n_tokens:,} tokens, {n_firing:,} features fire."
    yield ""
    for layer, rows in tracker.rank(trace, top=3, by="activation").groupby("layer"):
        features = "; ".join(
            f"{shorten(row['label'], 40)} (F{row['feature']}, F1 {number(row['f1'])})"
            for row in rows.to_dict("records")
        )
        yield f"Layer {layer}: {features}"
    yield ""
    yield _links_in_words(trace.n_tokens, traced.correlations, threshold)
    explained, error = traced.circuit.completeness()
    if not math.isnan(explained):  # NaN: nothing could be attributed
        yield f"The graph holds {explained:.0%} of the influence on its features; {error:.0%} runs through SAE errors."
    for rank, path in enumerate(circuit_paths(graph, 3), start=1):
        yield f"Path {rank}: {path_in_words(path, graph)} ({'+' if path.sign > 0 else '-'}, {path.strength:.2%})"
    groups = firing_groups(traced.correlations.links(threshold), significant=SIGNIFICANT)
    if groups:
        labels = "; ".join(shorten(graph.nodes[node]["label"], 40) for node in groups[0][:5])
        yield f"Largest group that fires together: {labels}" + (" and others" if len(groups[0]) > 5 else "")


def _links_in_words(n_tokens: int, correlations: Correlations, threshold: float) -> str:
    if n_tokens < MIN_TOKENS:
        return f"A text of {n_tokens} tokens is too short for correlations; they need at least {MIN_TOKENS}."
    links = correlations.links(threshold)
    n_significant = int((links["q"] <= SIGNIFICANT).sum())
    return (
        f"{len(links)} link{'' if len(links) == 1 else 's'} at |r| >= {threshold:g}; chance alone would give about "
        f"{correlations.chance(threshold):.1f}. {n_significant} with q <= {SIGNIFICANT}; features that fire too rarely "
        f"to be judged: {correlations.n_rare}."
    )
