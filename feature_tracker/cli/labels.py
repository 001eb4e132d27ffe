"""`feature-tracker labels`: import, check and measure label tables."""

from __future__ import annotations

import click

from feature_tracker.bundles.bundle import BUILT_IN, load_bundle
from feature_tracker.cli.labels_answers import answers
from feature_tracker.cli.labels_ask import ask
from feature_tracker.cli.labels_check import check_table_file
from feature_tracker.cli.labels_examples import examples
from feature_tracker.cli.labels_import import import_labels
from feature_tracker.cli.labels_measure import measure
from feature_tracker.cli.labels_questions import questions
from feature_tracker.cli.labels_words import words
from feature_tracker.cli.options import telling_errors
from feature_tracker.cli.progress import log_times
from feature_tracker.labels.csv_files import load_labels
from feature_tracker.labels.report import report_table
from feature_tracker.labels.table import latents_of
from feature_tracker.sae.load import load_bundle_saes


@click.group()
def main() -> None:
    """Import, check and measure label tables."""
    log_times()


@main.command()
@click.option(
    "--bundle",
    "bundle_name",
    default=BUILT_IN,
    show_default=True,
    help="The labels' bundle: a shipped one's name or a TOML file.",
)
@telling_errors
def report(bundle_name: str) -> None:
    """Print how well a bundle's labels score.

    Reads the bundle's label table. Prints for each layer the median F1, the share of labels that score better than
    always saying yes, and a histogram.
    """
    bundle = load_bundle(bundle_name)
    saes = load_bundle_saes(bundle)
    click.echo(report_table(load_labels(bundle.labels, latents_of(saes), bundle)))


for command in (check_table_file, import_labels, measure, words, questions, ask, answers, examples):
    main.add_command(command)
