"""`feature-tracker labels examples`: find the sentences in which a bundle's features fire."""

from __future__ import annotations

from pathlib import Path

import click

from feature_tracker.bundles.bundle import Bundle
from feature_tracker.bundles.missing import require_parts
from feature_tracker.cli.options import bundle_options
from feature_tracker.cli.progress import terminal_progress
from feature_tracker.files import require_writable
from feature_tracker.labelling.examples import coverage, examples_path, find_examples, read_sentences, save_examples
from feature_tracker.labels.table import latents_of
from feature_tracker.tracker import Tracker


@click.command()
@bundle_options
@click.option("--out", type=Path, help="File for the index. Default: beside the bundle's label table.")
def examples(bundle: Bundle, out: Path | None) -> None:
    """Find example sentences for every feature.

    Runs the sentences in `labels/sentences.txt`, which were written for this project, and writes an index of those in
    which each feature fires, from strong to weak. The page shows them in the feature's card.
    """
    require_parts(bundle)
    path = out or examples_path(bundle)
    require_writable(path.absolute().parent)
    sentences = read_sentences()
    with terminal_progress("Looking for the model") as progress:
        tracker = Tracker.open(bundle, progress=progress)
        found = find_examples(sentences, tracker, progress)
    save_examples(found, sentences, path)
    click.echo("| layer | features with three strong examples |\n|---|---|")
    for layer, share in coverage(found, latents_of(tracker.saes)).items():
        click.echo(f"| {layer} | {share:.1%} |")
    click.echo(f"\nWrote {len(found):,} examples to {path}.")
