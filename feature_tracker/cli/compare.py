"""`feature-tracker compare`: what changed from one text to another, as CSV."""

from __future__ import annotations

from pathlib import Path

import click
import pandas as pd

from feature_tracker.bundles.bundle import Bundle
from feature_tracker.cli.options import bundle_options
from feature_tracker.cli.progress import terminal_progress
from feature_tracker.cli.text import text_or_file
from feature_tracker.compare.texts import changes_table
from feature_tracker.files import replacing
from feature_tracker.labels.csv_files import guarded, to_csv
from feature_tracker.tracker import Tracker


@click.command("compare")
@click.argument("before")
@click.argument("after")
@bundle_options
@click.option(
    "--features",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write each feature's difference over the whole text, with its interval, into this CSV file.",
)
def main(before: str, after: str, bundle: Bundle, features: Path | None) -> None:
    """Print what changed from one text to another as CSV: words, kind of change, features behind it.

    BEFORE and AFTER are texts, or the paths of documents: .txt, .md, .html, .pdf or .docx. Counts, notes and progress
    go to standard error.
    """
    before, after = text_or_file(before), text_or_file(after)
    with terminal_progress("Looking for the model") as progress:
        tracker = Tracker.open(bundle, progress=progress)
        comparison = tracker.compare(before, after, progress=progress)
    click.echo(
        f"{comparison.n_same} sentences the same, {comparison.n_reworded} reworded, {comparison.n_new} new, "
        f"{comparison.n_gone} gone.",
        err=True,
    )
    click.echo(guarded(changes_table(comparison, tracker.labels)).to_csv(index=False), nl=False)
    if features is not None:
        keys = pd.MultiIndex.from_frame(comparison.features[["layer", "feature"]])
        known = tracker.labels.describe(keys)[["label", "f1"]].reset_index(drop=True)
        with replacing(features) as beside:
            beside.write_bytes(to_csv(comparison.features.join(known)))
