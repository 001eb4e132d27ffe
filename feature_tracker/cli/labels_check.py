"""`feature-tracker labels check`: whether a label table is sound, and what is in it."""

from __future__ import annotations

from pathlib import Path

import click

from feature_tracker.bundles.bundle import BUILT_IN, load_bundle
from feature_tracker.cli.labels_import import LATENTS, bundle_latents
from feature_tracker.cli.options import telling_errors
from feature_tracker.errors import TrackerError
from feature_tracker.labels.columns import COLUMNS, QUANTILES
from feature_tracker.labels.consistency import contradictions
from feature_tracker.labels.csv_files import load_labels
from feature_tracker.labels.table import LabelTable

_SHOWN = 20


@click.command("check")
@click.argument("table_path", metavar="[TABLE]", required=False, type=Path)
@click.option(
    "--bundle",
    "bundle_name",
    default=BUILT_IN,
    show_default=True,
    help="The labels' bundle: a shipped one's name or a TOML file.",
)
@LATENTS
@telling_errors
def check_table_file(table_path: Path | None, bundle_name: str, latents: int | None) -> None:
    """Check that a label table is sound.

    TABLE is a CSV file, by default the bundle's own. Checks its columns and their ranges, its features, and numbers
    that must agree. Prints what the table holds; the exit status is 1 if something is wrong.
    """
    bundle = load_bundle(bundle_name)
    n_latents = bundle_latents(bundle, latents)
    path = table_path or bundle.labels
    table = load_labels(path, n_latents, bundle)
    click.echo(f"{path}\n{_holdings(table, sum(n_latents.values()))}")
    lines = contradictions(table)
    if lines:
        rest = [f"and {len(lines) - _SHOWN:,} more"] if len(lines) > _SHOWN else []
        shown = "\n".join(f"  {line}" for line in [*lines[:_SHOWN], *rest])
        raise TrackerError(f"{len(lines):,} contradictions:\n{shown}\nCorrect these rows, or make the table anew.")
    click.echo("No contradictions.")


def _holdings(table: LabelTable, n_features: int) -> str:
    """What a table holds, a line each."""
    frame = table.frame
    with_quantiles = int(frame[QUANTILES].notna().all(axis=1).sum())
    scored, reliable = int(frame["f1"].notna().sum()), int(table.reliable.sum())
    lines = [
        f"  {len(frame):,} of {n_features:,} features have a row, {scored:,} an F1, {reliable:,} a reliable label",
        f"  {int(frame['density'].notna().sum()):,} have a density, {with_quantiles:,} quantiles of activation",
    ]
    if table.left_out:
        lines.append(f"  {table.left_out:,} more are of layers that are not chosen")
    for column in COLUMNS:
        if column.kind == "choice" and column.name in frame:
            counts = frame.loc[frame[column.name] != "", column.name].value_counts()
            stated = ", ".join(f"{value} {n:,}" for value, n in counts.items())
            lines.append(f"  {column.name}: {stated or 'none'}")
    return "\n".join(lines)
