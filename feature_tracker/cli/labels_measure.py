"""`feature-tracker labels measure`: measure a bundle's features on the user's own text."""

from __future__ import annotations

import dataclasses
from itertools import chain
from pathlib import Path

import click
import pandas as pd

from feature_tracker.bundles.bundle import Bundle
from feature_tracker.bundles.missing import require_parts
from feature_tracker.cli.options import bundle_options
from feature_tracker.cli.progress import terminal_progress
from feature_tracker.corpus.documents import name_with_size, read_documents
from feature_tracker.corpus.measure import EXPECTED_TEXT, Measurement, fill_table
from feature_tracker.corpus.origin import Origin
from feature_tracker.errors import TrackerError
from feature_tracker.feature import ALWAYS_ON
from feature_tracker.files import require_writable
from feature_tracker.labels.csv_files import load_labels, replace_table
from feature_tracker.labels.table import LabelTable, latents_of
from feature_tracker.sae.load import load_saes
from feature_tracker.tracker import Tracker

_TEXT = "a folder of .txt files, or a .jsonl(.gz) file with `text` in every line; may be given several times."


@click.command()
@bundle_options
@click.option("--finance", required=True, multiple=True, type=Path, help=f"Finance text: {_TEXT}")
@click.option("--general", required=True, multiple=True, type=Path, help=f"General text: {_TEXT}")
@click.option("--out", type=Path, help="File for the label table. Default: the bundle's own table is replaced.")
@click.option("--replace", is_flag=True, help="Replace values measured before, or the file that --out names.")
@click.option("--split", type=click.Choice(["train", "validation"]), help="Read only this split. Default: all text.")
@click.option("--window", type=click.IntRange(min=2), help="Tokens per window, BOS included. Default: the bundle's.")
@click.option("--tokens", type=click.IntRange(min=1), help="Most tokens to read of each kind of text. Default: all.")
@click.option(
    "--checkpoint",
    type=Path,
    help="Save the sums to this file once a minute. After an interruption, the same command goes on from there.",
)
def measure(
    finance: tuple[Path, ...], general: tuple[Path, ...], bundle: Bundle, out: Path | None, replace: bool,
    split: str | None, window: int | None, tokens: int | None, checkpoint: Path | None,
) -> None:  # fmt: skip
    """Measure features on your own text.

    How financial is each feature, how often does it fire, and how strongly? Runs the text through the bundle's model
    and SAEs, writes specialization, density and quantiles of activation to the label table, and prints a summary.
    Labels and their scores stay as they are. No text is stored.
    """
    # Faults in the user's files show before gigabytes of a model are fetched and hours of text are run.
    _check_text("finance", finance, split)
    _check_text("general", general, split)
    require_parts(bundle)
    table = _standing_table(bundle)
    path = out or bundle.labels
    _check_target(path, bundle, table, replace=replace)
    with terminal_progress("Looking for the model") as progress:
        tracker = Tracker.open(bundle, progress=progress)
    measurement = Measurement(
        tracker.language_model,
        tracker.saes,
        window=tracker.language_model.window(window or bundle.window),
        max_tokens=tokens,
        checkpoint=checkpoint,
        origin=dataclasses.replace(
            Origin.from_bundle(bundle, tracker.language_model.d_model),
            finance_text=tuple(map(name_with_size, finance)),
            general_text=tuple(map(name_with_size, general)),
            split=split or "all",
        ),
    )
    measured = measurement.measure(
        chain.from_iterable(read_documents(path, split) for path in finance),
        chain.from_iterable(read_documents(path, split) for path in general),
    )
    replace_table(fill_table(table, measured, bundle.name), path, latents_of(tracker.saes))
    measurement.discard_checkpoint()
    click.echo(measure_report(measured, table))
    click.echo(f"\nWrote {path}.")


def _check_text(kind: str, paths: tuple[Path, ...], split: str | None) -> None:
    """Refuse text of a kind if a file can't be read or all are blank; reads up to each path's first document."""
    has_text = [any(text.strip() for text in read_documents(path, split)) for path in paths]
    if not any(has_text):
        raise TrackerError(f"There is no {kind} text in {', '.join(map(str, paths))}. {EXPECTED_TEXT}")


def _standing_table(bundle: Bundle) -> LabelTable | None:
    if not bundle.labels.exists():
        return None
    return load_labels(bundle.labels, latents_of(load_saes(bundle.sae_folder, bundle.layers)), bundle)


def _check_target(path: Path, bundle: Bundle, table: LabelTable | None, *, replace: bool) -> None:
    """Refuse to write the new table to `path` where that isn't possible, or would lose what was not to be replaced."""
    require_writable(path.parent)
    if table is None or path.resolve() != bundle.labels.resolve():
        if path.exists() and not replace:
            raise TrackerError(f"{path} already exists. Replace it with --replace, or name another file with --out.")
        return
    if table.left_out:
        raise TrackerError(
            f"{path} has {table.left_out:,} rows of layers that are not chosen, which would be lost. Measure all "
            "layers, or name another file with --out."
        )
    n_measured = int(table.frame["density"].notna().sum())
    if n_measured and not replace:
        raise TrackerError(
            f"{path} already holds measured values of {n_measured:,} features. Replace them with --replace, or name "
            "another file with --out."
        )


def measure_report(measured: dict[int, pd.DataFrame], table: LabelTable | None) -> str:
    """Summarize what was measured, by layer, as a Markdown table."""
    first = next(iter(measured.values()))
    lines = [
        f"{int(first['finance_tokens'].iloc[0]):,} tokens of finance text, {int(first['general_tokens'].iloc[0]):,} of "
        "general text.",
        "",
        "| layer | never fire | always on | median density | finance above 0.5 | general below -0.5 |",
        "|---|---|---|---|---|---|",
    ]
    for layer, frame in measured.items():
        index = frame["specialization_index"]
        lines.append(
            f"| {layer} | {int((frame['density'] == 0).sum())} | {int((frame['density'] > ALWAYS_ON).sum())} | "
            f"{frame['density'].median():.4f} | {int((index > 0.5).sum())} | {int((index < -0.5).sum())} |"
        )
    replaced = 0 if table is None else int(table.unverified.sum())
    if replaced:
        lines += ["", f"{replaced} unverified specializations were replaced by measured ones."]
    return "\n".join(lines)
