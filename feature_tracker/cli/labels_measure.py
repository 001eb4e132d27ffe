"""`feature-tracker labels measure`: how financial and how dense features are, on the user's own text."""

from __future__ import annotations

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
from feature_tracker.errors import TrackerError
from feature_tracker.feature import ALWAYS_ON
from feature_tracker.labels.csv_files import load_labels, replace_table
from feature_tracker.labels.table import LabelTable, latents_of
from feature_tracker.sae.load import load_saes
from feature_tracker.tracker import Tracker

_TEXT = "a folder of .txt files, or a .jsonl(.gz) file with `text` in every line; may be given several times."


@click.command()
@bundle_options
@click.option("--finance", "finance", required=True, multiple=True, type=Path, help=f"Finance text: {_TEXT}")
@click.option("--general", "general", required=True, multiple=True, type=Path, help=f"General text: {_TEXT}")
@click.option("--out", type=Path, help="Where the table goes; in the place of the bundle's own where left out.")
@click.option("--replace", is_flag=True, help="Replace what was measured before, or the file of --out.")
@click.option("--split", type=click.Choice(["train", "validation"]), help="Only documents of this split.")
@click.option("--window", type=click.IntRange(min=2), help="Tokens a forward sees; the bundle's where left out.")
@click.option("--tokens", type=click.IntRange(min=1), help="At most so many of each kind; all where left out.")
@click.option(
    "--checkpoint", type=Path, help="Keep sums in this file once a minute, and go on from it after an interruption."
)
def measure(
    finance: tuple[Path, ...], general: tuple[Path, ...], bundle: Bundle, out: Path | None, replace: bool,
    split: str | None, window: int | None, tokens: int | None, checkpoint: Path | None,
) -> None:  # fmt: skip
    """Measure how financial and how dense each feature is, on your own text.

    Runs the text through the bundle's model and SAEs and fills the label table's columns of specialization, density
    and activations. Labels and their scores stay. The text is kept nowhere.
    """
    # What is wrong with the user's files is told before gigabytes of a model are fetched and hours of text are run.
    _check_text("finance", finance, split)
    _check_text("general", general, split)
    require_parts(bundle)
    table = _standing_table(bundle)
    path = out or bundle.labels
    if table is not None and path.resolve() == bundle.labels.resolve():
        _check_replaceable(bundle.labels, table, replace)
    elif path.exists() and not replace:
        raise TrackerError(f"{path} stands there already. Replace it with --replace, or name another file with --out.")
    with terminal_progress("Looking for the model") as progress:
        tracker = Tracker.open(bundle, progress=progress)
    measurement = Measurement(
        tracker.language_model,
        tracker.saes,
        window=tracker.language_model.window(window or bundle.window),
        max_tokens=tokens,
        checkpoint=checkpoint,
        origin=_origin(bundle, finance, general, split, window, tokens),
    )
    measured = measurement.measure(
        chain.from_iterable(read_documents(path, split) for path in finance),
        chain.from_iterable(read_documents(path, split) for path in general),
    )
    replace_table(fill_table(table, measured, bundle.name), path, latents_of(tracker.saes))
    click.echo(measure_report(measured, table))
    click.echo(f"\nWrote {path}.")


def _origin(
    bundle: Bundle, finance: tuple[Path, ...], general: tuple[Path, ...], split: str | None, window: int | None,
    tokens: int | None,
) -> str:  # fmt: skip
    """What a measurement is of, in words: two measurements with equal words give equal sums."""
    texts = {
        kind: ", ".join(map(name_with_size, paths)) for kind, paths in (("finance", finance), ("general", general))
    }
    return (
        f"bundle {bundle.name}, layers {', '.join(map(str, bundle.layers))}, finance text {texts['finance']}, general "
        f"text {texts['general']}, split {split or 'all'}, window {window or bundle.window}, tokens {tokens or 'all'}"
    )


def _check_text(kind: str, paths: tuple[Path, ...], split: str | None) -> None:
    """Refuse text of a kind whose files can't be read, or hold nothing."""
    found = [any(text.strip() for text in read_documents(path, split)) for path in paths]  # up to each path's first
    if not any(found):
        raise TrackerError(f"There is no {kind} text in {', '.join(map(str, paths))}. {EXPECTED_TEXT}")


def _standing_table(bundle: Bundle) -> LabelTable | None:
    if not bundle.labels.exists():
        return None
    return load_labels(bundle.labels, latents_of(load_saes(bundle.sae_folder, bundle.layers)), bundle)


def _check_replaceable(path: Path, table: LabelTable, replace: bool) -> None:
    if table.left_out:
        raise TrackerError(
            f"{path} has {table.left_out:,} rows of layers that are not chosen, which would be lost. Measure all "
            "layers, or name another file with --out."
        )
    n_measured = int(table.frame["density"].notna().sum())
    if n_measured and not replace:
        raise TrackerError(
            f"{path} holds measured values of {n_measured:,} features already. Replace them with --replace, or name "
            "another file with --out."
        )


def measure_report(measured: dict[int, pd.DataFrame], table: LabelTable | None) -> str:
    """What was measured, by layer, as a Markdown table."""
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
