"""`feature-tracker compare`: what changed from one text to another, as CSV."""

from __future__ import annotations

from pathlib import Path

import click
import pandas as pd

from feature_tracker.bundles.bundle import Bundle, load_bundle
from feature_tracker.bundles.settings import Overrides
from feature_tracker.cli.options import bundle_options
from feature_tracker.cli.progress import terminal_progress
from feature_tracker.cli.text import text_or_file
from feature_tracker.compare.texts import changes_table
from feature_tracker.files import replacing
from feature_tracker.labels.csv_files import guarded, to_csv
from feature_tracker.tracker import Tracker


@click.command("compare")
@click.argument("before")
@click.argument("after", required=False)
@bundle_options
@click.option(
    "--with-model",
    help="Instead of a second text: another model that the same SAEs read, by hub id or folder.",
)
@click.option(
    "--features",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write each feature's difference over the whole text, with its interval, into this CSV file.",
)
def main(before: str, after: str | None, bundle: Bundle, with_model: str | None, features: Path | None) -> None:
    """Print what changed from one text to another as CSV: words, kind of change, features behind it.

    BEFORE and AFTER are texts, or the paths of documents: .txt, .md, .html, .pdf or .docx. Counts, notes and progress
    go to standard error. With --with-model, the features of one text in two models are compared.
    """
    if (after is None) == (with_model is None):
        raise click.UsageError("Give a second text, or another model by --with-model.")
    before = text_or_file(before)
    with terminal_progress("Looking for the model") as progress:
        tracker = Tracker.open(bundle, progress=progress)
        if with_model is not None:
            other = Tracker.open(load_bundle(bundle.name, Overrides(model=with_model)), progress=progress)
            click.echo(_labelled(tracker.compare_model(other, before, progress=progress), tracker).decode(), nl=False)
            return
        comparison = tracker.compare(before, text_or_file(after or ""), progress=progress)
    click.echo(
        f"{comparison.n_same} sentences the same, {comparison.n_reworded} reworded, {comparison.n_new} new, "
        f"{comparison.n_gone} gone.",
        err=True,
    )
    click.echo(guarded(changes_table(comparison, tracker.labels)).to_csv(index=False), nl=False)
    if features is not None:
        with replacing(features) as beside:
            beside.write_bytes(_labelled(comparison.features, tracker))


def _labelled(features: pd.DataFrame, tracker: Tracker) -> bytes:
    keys = pd.MultiIndex.from_frame(features[["layer", "feature"]])
    known = tracker.labels.describe(keys)[["label", "f1"]].reset_index(drop=True)
    return to_csv(features.join(known))
