"""`python -m labels import`: a bundle's label table from other tools' files."""

from __future__ import annotations

from pathlib import Path

import click

from bundles.bundle import Bundle, load_bundle
from bundles.errors import TrackerError
from labels.import_report import import_report
from labels.imported import Target
from labels.merge import merge_sources
from labels.sources import find_sources
from labels.table import load_labels, save_labels
from sae.files import load_saes


@click.command("import")
@click.argument("paths", nargs=-1, required=True, type=Path)
@click.option("--bundle", "bundle_name", required=True, help="Whose features the labels are about.")
@click.option("--out", type=Path, help="Where the table goes; the bundle's own table where left out.")
@click.option("--replace", is_flag=True, help="Replace a table that stands there.")
@click.option("--latents", type=int, help="Latents of each SAE, where the SAE folder isn't on this machine.")
def import_labels(
    paths: tuple[Path, ...], bundle_name: str, out: Path | None, replace: bool, latents: int | None
) -> None:
    """Make a bundle's label table from Delphi runs, CSV summaries and Neuronpedia exports.

    PATHS are files, or folders that are looked through. Labels are cleaned and merged; what was read, cleaned and
    rejected is printed. See docs/labels.md.
    """
    try:
        bundle = load_bundle(bundle_name)
        target = Target(bundle.name, bundle.layers, latents_of(bundle, latents))
        path = out or bundle.labels
        if path.exists() and not replace:
            raise TrackerError(
                f"{path} stands there already. Replace it with --replace, or name another file with --out."
            )
        found = find_sources(paths)
        if path.resolve() in [source.path.resolve() for source in found.sources]:
            raise TrackerError(f"{path} is one of the files to import. Name another file for the table with --out.")
        merged = merge_sources(found.sources, target)
        # Written beside, checked, and only then put in the table's place.
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f"{path.name}.new")
        save_labels(merged.table, beside)
        load_labels(beside, layers=target.layers, n_latents=target.n_latents)
        beside.replace(path)
    except TrackerError as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.ClickException(f"{error.filename} can't be written ({error.strerror}).") from None
    click.echo(import_report(merged, target, found.left_out))
    click.echo(f"\nWrote {path}.")


def latents_of(bundle: Bundle, stated: int | None) -> int:
    """Latents of a bundle's SAEs, as stated or as its SAE folder has them.

    Raises:
        TrackerError: neither says.
    """
    if stated is not None:
        if stated < 1:
            raise TrackerError(f"--latents must be at least 1, found {stated}.")
        return stated
    try:
        return load_saes(bundle.sae_folder, bundle.layers)[bundle.layers[0]].n_latents
    except TrackerError as error:
        raise TrackerError(f"{error} Where the SAEs are elsewhere, state their size with --latents.") from None
