"""`feature-tracker labels check`: whether a label table is sound, and what it holds."""

from __future__ import annotations

from pathlib import Path

import click
import pandas as pd

from feature_tracker.bundles.bundle import BUILT_IN, load_bundle
from feature_tracker.cli.labels_import import LATENTS, bundle_latents
from feature_tracker.cli.options import telling_errors
from feature_tracker.errors import TrackerError
from feature_tracker.labels.consistency import contradictions
from feature_tracker.labels.scores import GOOD
from feature_tracker.labels.table import LabelTable, load_labels

_SHOWN = 20


@click.command("check")
@click.argument("table_path", metavar="[TABLE]", required=False, type=Path)
@click.option("--bundle", "bundle_name", default=BUILT_IN, show_default=True, help="Whose features the table is about.")
@LATENTS
@telling_errors
def check_table_file(table_path: Path | None, bundle_name: str, latents: int | None) -> None:
    """Check a label table: columns, ranges, features that the bundle has, and numbers that must agree.

    TABLE is a CSV file, the bundle's own where left out. Ends with status 1 where something is wrong.
    """
    bundle = load_bundle(bundle_name)
    n_latents = bundle_latents(bundle, latents)
    path = table_path or bundle.labels
    table = load_labels(path, n_latents, bundle)
    click.echo(f"{path}\n{_holdings(table, sum(n_latents.values()))}")
    found = contradictions(table)
    if found:
        rest = [f"and {len(found) - _SHOWN:,} more"] if len(found) > _SHOWN else []
        shown = "\n".join(f"  {line}" for line in [*found[:_SHOWN], *rest])
        raise TrackerError(f"{len(found):,} contradictions:\n{shown}\nCorrect these rows, or make the table anew.")
    click.echo("No contradictions.")


def _holdings(table: LabelTable, n_features: int) -> str:
    frame = table.frame
    scored, reliable = int(frame["f1"].notna().sum()), int(table.reliable.sum())
    lines = [
        f"  {len(frame):,} of {n_features:,} features have a row, {scored:,} an F1, {reliable:,} a reliable label",
        f"  {int(frame['density'].notna().sum()):,} have a density, {_with_quantiles(frame):,} quantiles of activation",
    ]
    if table.left_out:
        lines.append(f"  {table.left_out:,} more are of layers that are not chosen")
    for name in ("mark", "specialization_source"):
        if name in frame:
            counts = frame.loc[frame[name] != GOOD, name].value_counts()
            said = ", ".join(f"{value} {n:,}" for value, n in counts.items())
            lines.append(f"  {name}: {said or 'none'}")
    return "\n".join(lines)


def _with_quantiles(frame: pd.DataFrame) -> int:
    return int(frame[["q50", "q90", "q99", "max_activation"]].notna().all(axis=1).sum())
