"""`feature-tracker trace`: the top features of a text, as CSV."""

from __future__ import annotations

from typing import get_args

import click

from feature_tracker.bundles.bundle import Bundle
from feature_tracker.bundles.missing import labels_note
from feature_tracker.cli.options import bundle_options
from feature_tracker.cli.progress import terminal_progress
from feature_tracker.cli.text import text_or_file
from feature_tracker.labels.csv_files import guarded
from feature_tracker.tracing.rank import Aggregation, RankBy, possible_ranking
from feature_tracker.tracker import Tracker


@click.command("trace")
@click.argument("text")
@bundle_options
@click.option("--top", type=click.IntRange(min=1), default=10, show_default=True, help="Features per layer.")
@click.option(
    "--by",
    type=click.Choice(get_args(RankBy)),
    default="distinctiveness",
    show_default=True,
    help="Measure to rank by.",
)
@click.option(
    "--aggregation",
    type=click.Choice(get_args(Aggregation)),
    default="max",
    show_default=True,
    help="How activations are combined over tokens.",
)
@click.option(
    "--min-f1",
    default=0.0,
    show_default=True,
    type=click.FloatRange(0, 1),
    help="Leave out features whose label has a smaller F1.",
)
def main(text: str, bundle: Bundle, top: int, by: RankBy, aggregation: Aggregation, min_f1: float) -> None:
    """Print the top features of a text as CSV.

    TEXT is the text itself, or the path of a document: .txt, .md, .html, .pdf or .docx. Notes and progress go to
    standard error.
    """
    click.echo(" ".join(filter(None, [f"Bundle: {bundle.title}.", labels_note(bundle)])), err=True)
    text = text_or_file(text)
    with terminal_progress("Looking for the model") as progress:
        tracker = Tracker.open(bundle, progress=progress)
    by, note = possible_ranking(by, tracker.labels)
    for line in filter(None, [*tracker.sae_notes, note]):
        click.echo(line, err=True)
    ranked = tracker.rank(tracker.trace(text), top=top, by=by, aggregation=aggregation, min_f1=min_f1)
    click.echo(guarded(ranked).to_csv(index=False, float_format="%.4g"), nl=False)
