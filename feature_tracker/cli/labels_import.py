"""`feature-tracker labels import`: make a bundle's label table from other tools' files."""

from __future__ import annotations

from pathlib import Path

import click

from feature_tracker.bundles.bundle import Bundle, load_bundle
from feature_tracker.bundles.model_names import model_names
from feature_tracker.cli.options import telling_errors
from feature_tracker.errors import TrackerError
from feature_tracker.labels.csv_files import replace_table
from feature_tracker.labels.importers.merge import merge_sources
from feature_tracker.labels.importers.report import import_report
from feature_tracker.labels.importers.sources import find_sources
from feature_tracker.labels.importers.target import Target
from feature_tracker.labels.table import latents_of
from feature_tracker.sae.load import load_bundle_saes

LATENTS = click.option(
    "--latents", type=click.IntRange(min=1), help="Latents per layer, if the SAE folder is not on this machine."
)
"""Option for commands that call `bundle_latents`."""


@click.command("import")
@click.argument("paths", nargs=-1, required=True, type=Path)
@click.option("--bundle", "bundle_name", required=True, help="The labels' bundle: a shipped one's name or a TOML file.")
@click.option("--out", type=Path, help="File for the label table. Default: the bundle's own table.")
@click.option("--replace", is_flag=True, help="Replace the table if it already exists.")
@click.option(
    "--accept-model",
    "accepted",
    multiple=True,
    metavar="NAME",
    help="Also take labels of a model with this name, which is the bundle's by another name. Repeatable.",
)
@LATENTS
@telling_errors
def import_labels(
    paths: tuple[Path, ...],
    bundle_name: str,
    out: Path | None,
    replace: bool,
    accepted: tuple[str, ...],
    latents: int | None,
) -> None:
    """Make a label table from other tools' files.

    PATHS are Delphi runs, CSV summaries and Neuronpedia exports, or folders to search for them. Labels are cleaned and
    merged into the bundle's label table. Prints what was read, cleaned and rejected. See docs/labels.md.
    """
    bundle = load_bundle(bundle_name)
    models = (*model_names(bundle), *accepted)
    target = Target(bundle.name, bundle_latents(bundle, latents), bundle.layers_chosen, models)
    path = out or bundle.labels
    if path.exists() and not replace:
        raise TrackerError(f"{path} already exists. Replace it with --replace, or name another file with --out.")
    files = find_sources(paths)
    if path.resolve() in [source.path.resolve() for source in files.sources]:
        raise TrackerError(f"{path} is one of the files to import. Name another file for the table with --out.")
    merged = merge_sources(files.sources, target)
    replace_table(merged.table, path, target.n_latents)
    click.echo(import_report(merged, target, files.left_out))
    click.echo(f"\nWrote {path}.")


def bundle_latents(bundle: Bundle, stated: int | None) -> dict[int, int]:
    """Latents of each layer's SAE of a bundle.

    Args:
        stated: the size of every SAE; `None` to read it from the SAE folder.

    Raises:
        TrackerError: the SAEs can't be read.
    """
    if stated is not None:
        return dict.fromkeys(bundle.layers, stated)
    try:
        return latents_of(load_bundle_saes(bundle))
    except TrackerError as error:
        raise TrackerError(f"{error} Where the SAEs are elsewhere, state their size with --latents.") from None
