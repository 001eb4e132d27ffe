"""The analysis without a browser: functions for a notebook, and a command line.

    analysis = trace("Net sales rose 5.4% to $1,234 million.")
    circuit(analysis)

python circuit_tracer.py report.txt --top 10 --threshold 0.3 --effects --out results
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import click
import networkx as nx
import pandas as pd
import torch

from feature_tracker.bundles.bundle import BUILT_IN, Bundle, load_bundle
from feature_tracker.charts.network import circuit_page
from feature_tracker.charts.theme import layer_colours, number, shorten
from feature_tracker.circuits.ablation import ablate as ablate_features, effects_of
from feature_tracker.circuits.attribution import Attribution, attribute as attribute_features
from feature_tracker.circuits.circuit import Circuit, trace_circuit, verify
from feature_tracker.circuits.correlation import MIN_TOKENS, SIGNIFICANT, Correlations, correlate as correlate_features
from feature_tracker.circuits.export import attribution_graph, export_files
from feature_tracker.circuits.graph import circuit_graph, circuit_paths, firing_groups, path_in_words
from feature_tracker.cli.options import bundle_options
from feature_tracker.cli.progress import terminal_progress
from feature_tracker.cli.text import text_or_file
from feature_tracker.errors import TrackerError
from feature_tracker.feature import Feature
from feature_tracker.labels.table import LabelTable
from feature_tracker.model.load import LanguageModel
from feature_tracker.model.next_token import next_token
from feature_tracker.model.tokens import tokenize
from feature_tracker.progress import Progress, silent
from feature_tracker.tracing.rank import rank_features
from feature_tracker.tracing.recording import Recording, record
from feature_tracker.tracing.rows import features_of
from feature_tracker.tracing.trace import Trace
from feature_tracker.tracker import load_parts


@dataclass(frozen=True)
class Analysis:
    """A text run through a bundle's model, ready for every question about it.

    Attributes:
        bundle: what belongs together.
        language_model: in float32 on a CPU, so that small effects are not rounded away.
        labels: of the bundle's features.
        recording: the text's residual streams and top-k activations.
    """

    bundle: Bundle
    language_model: LanguageModel
    labels: LabelTable
    recording: Recording

    @property
    def trace(self) -> Trace:
        """Top-k activations by token and layer."""
        return self.recording.trace

    @cached_property
    def fired(self) -> pd.DataFrame:
        """Every feature that fires, the strongest of each layer first; columns as `rank_features`."""
        return rank_features(self.trace, self.labels, layers=self.bundle.layers, top=None, hide_always_on=False)

    def top(self, n: int) -> pd.DataFrame:
        """The n features of each layer that fire most, always-on ones left out."""
        return rank_features(self.trace, self.labels, layers=self.bundle.layers, top=n)


def trace(text: str, *, bundle: str | Bundle = BUILT_IN, progress: Progress = silent) -> Analysis:
    """Run a text through a bundle's model.

    Args:
        bundle: a name in bundles/, a TOML file's path, or what `load_bundle` gives.

    Raises:
        TrackerError: the text is blank or too long, or a part of the bundle can't be loaded.
    """
    named = bundle if isinstance(bundle, Bundle) else load_bundle(bundle)
    exact = named.dtype == "auto" and not torch.cuda.is_available()
    parts = load_parts(named, progress, dtype="float32" if exact else None)
    language_model, whole = parts.language_model, parts.bundle
    tokens = tokenize(text, language_model.tokenizer, window=whole.window, max_tokens=whole.max_tokens)
    return Analysis(whole, language_model, parts.labels, record(tokens, language_model, parts.saes, progress))


def correlate(analysis: Analysis, features: Sequence[Feature] | None = None, *, top: int = 10) -> Correlations:
    """Correlations between features of different layers: the given ones, or the `top` of each layer."""
    return correlate_features(analysis.trace, features_of(analysis.top(top)) if features is None else features)


def attribute(analysis: Analysis, targets: Sequence[Feature], progress: Progress = silent) -> Attribution:
    """What every upstream feature contributes to the targets, which lie in one layer; see `circuits.attribution`."""
    return attribute_features(analysis.recording, targets, progress)


def ablate(
    analysis: Analysis, sources: Sequence[Feature], targets: Sequence[Feature], progress: Progress = silent
) -> pd.DataFrame:
    """What the targets lose when each source is taken out; columns as `circuits.ablation.COLUMNS`."""
    return effects_of(list(ablate_features(analysis.recording, sources, progress=progress)), targets)


def circuit(
    analysis: Analysis,
    *,
    top: int = 10,
    threshold: float = 0.3,
    effects: bool = False,
    correlations: Correlations | None = None,
    progress: Progress = silent,
) -> tuple[Circuit, nx.DiGraph]:
    """The circuit of each layer's `top` features, and its graph.

    Args:
        threshold: |r| from which a correlation makes an edge.
        effects: verify every edge by ablation.
        correlations: of `correlate` with the same `top`, where it is at hand.
    """
    ranked = analysis.top(top)
    features = features_of(ranked)
    correlations = correlations or correlate_features(analysis.trace, features)
    found = trace_circuit(analysis.recording, features, correlations, threshold=threshold, progress=progress)
    if effects:
        for verified in verify(analysis.recording, found, progress=progress):
            found = verified
    return found, circuit_graph(ranked, found)


def export(analysis: Analysis, found: Circuit, graph: nx.DiGraph, correlations: Correlations, out: Path) -> None:
    """Write everything into a folder, which is made: CSV tables, graphs for other tools, the figure.

    `features.csv` holds every feature that fires, with activation = the largest over the text's tokens;
    `correlations.csv` all pairs that could be judged; `edges.csv` the circuit's links, empty where not computed.

    Raises:
        TrackerError: the folder can't be written.
    """
    language_model, tokens = analysis.language_model, analysis.trace.tokens
    viewer = attribution_graph(
        graph,
        analysis.trace,
        slug=out.name or "circuit",
        scan=analysis.bundle.name,
        bos=str(language_model.tokenizer.decode([language_model.bos_id])),
        n_layers=language_model.n_layers,
        expected=next_token(language_model, tokens),
    )
    files = export_files(found, graph, correlations, analysis.fired, viewer)
    files["figure.html"] = circuit_page(graph, colours=layer_colours(analysis.bundle.layers))
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (out / name).write_bytes(content)
    except OSError as error:
        reason = error.strerror or str(error)
        raise TrackerError(
            f"The results can't be written to {out}: {reason}. Name another folder with --out."
        ) from None


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


def summary(
    analysis: Analysis, found: Circuit, graph: nx.DiGraph, correlations: Correlations, threshold: float
) -> Iterator[str]:
    """What was found, in a few lines."""
    yield f"{analysis.trace.n_tokens:,} tokens, {len(analysis.fired):,} features fire."
    yield ""
    for layer, rows in analysis.top(3).groupby("layer"):
        named = "; ".join(
            f"{shorten(row['label'], 40)} (F{row['feature']}, F1 {number(row['f1'])})"
            for row in rows.to_dict("records")
        )
        yield f"Layer {layer}: {named}"
    yield ""
    yield _links_in_words(analysis.trace.n_tokens, correlations, threshold)
    kept, error = found.completeness()
    if not math.isnan(kept):  # nothing could be attributed
        yield f"The graph holds {kept:.0%} of the influence on its features; {error:.0%} runs through SAE errors."
    for place, path in enumerate(circuit_paths(graph, 3), start=1):
        yield f"Path {place}: {path_in_words(path, graph)} ({'+' if path.sign > 0 else '-'}, {path.strength:.2%})"
    groups = firing_groups(correlations.links(threshold), significant=SIGNIFICANT)
    if groups:
        named = "; ".join(shorten(graph.nodes[node]["label"], 40) for node in groups[0][:5])
        yield f"Largest group that fires together: {named}" + (" and others" if len(groups[0]) > 5 else "")


@click.command()
@click.argument("text")
@bundle_options
@click.option(
    "--top", default=10, show_default=True, type=click.IntRange(1), help="Features a layer that become nodes."
)
@click.option(
    "--threshold",
    default=0.3,
    show_default=True,
    type=click.FloatRange(0, 1),
    help="|r| from which a correlation is a link.",
)
@click.option(
    "--effects", is_flag=True, help="Verify every edge: take its source out and measure what the target loses."
)
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="Folder for the tables, graphs and figure."
)
def main(text: str, bundle: Bundle, top: int, threshold: float, effects: bool, out: Path | None) -> None:
    """Trace the circuit of TEXT, or of the UTF-8 file that TEXT is a path to.

    Prints a summary; with --out, writes features.csv, correlations.csv, edges.csv, graph.graphml, graph.gexf,
    graph.json (node-link), attribution_graph.json (for circuit-tracer's viewer and Neuronpedia) and figure.html.
    """
    text = text_or_file(text)
    with terminal_progress("Tracing") as progress:
        analysis = trace(text, bundle=bundle, progress=progress)
        correlations = correlate(analysis, top=top)
        found, graph = circuit(
            analysis, top=top, threshold=threshold, effects=effects, correlations=correlations, progress=progress
        )
    for line in summary(analysis, found, graph, correlations, threshold):
        click.echo(line)
    if out is not None:
        export(analysis, found, graph, correlations, out)
        click.echo(f"\nWritten to {out}")


if __name__ == "__main__":
    main()
