"""`feature-tracker labels measure`: measure a bundle's features on the user's own text."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import NamedTuple

import click
import pandas as pd

from feature_tracker.bundles.bundle import Bundle
from feature_tracker.bundles.missing import require_parts
from feature_tracker.cli.labels_text import check_target, check_text, read_texts, standing_table
from feature_tracker.cli.options import bundle_options
from feature_tracker.cli.progress import terminal_progress
from feature_tracker.corpus.documents import name_with_size
from feature_tracker.corpus.harvest import Harvest, load_harvest
from feature_tracker.corpus.measure import Measurement, fill_table
from feature_tracker.corpus.origin import Origin
from feature_tracker.errors import TrackerError
from feature_tracker.feature import ALWAYS_ON, SLOW
from feature_tracker.labels.csv_files import replace_table
from feature_tracker.labels.table import LabelTable, latents_of
from feature_tracker.tracker import Tracker

_TEXT = "a folder of .txt files, or a .jsonl(.gz) file with `text` in every line; may be given several times."
_TWO_WAYS = (
    "Name text of both kinds with --finance and --general, or with --work the folder in which `feature-tracker sae "
    "train` collected activations"
)


@click.command()
@bundle_options
@click.option("--finance", multiple=True, type=Path, help=f"Finance text: {_TEXT}")
@click.option("--general", multiple=True, type=Path, help=f"General text: {_TEXT}")
@click.option(
    "--work",
    type=Path,
    help="Instead of text: the folder in which `sae train` collected activations. Much faster, since no text is run.",
)
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
    finance: tuple[Path, ...], general: tuple[Path, ...], work: Path | None, bundle: Bundle, out: Path | None,
    replace: bool, split: str | None, window: int | None, tokens: int | None, checkpoint: Path | None,
) -> None:  # fmt: skip
    """Measure features on your own text.

    How financial is each feature, how often does it fire, and how strongly? Runs the text through the bundle's model
    and SAEs, writes specialization, density, quantiles of activation and how features fire over passages to the label
    table, and prints a summary. Labels and their scores stay as they are. No text is stored.
    """
    # Faults in the user's files show before gigabytes of a model are fetched and hours of text are run.
    text = _Text(finance, general, split, window, tokens)
    harvest = _chosen_harvest(text, work)
    require_parts(bundle)
    table = standing_table(bundle)
    path = out or bundle.labels
    n_measured = 0 if table is None else int(table.frame["density"].notna().sum())
    standing = f"measured values of {n_measured:,} features" if n_measured else ""
    check_target(path, bundle, table, replace=replace, standing=standing)
    with terminal_progress("Looking for the model") as progress:
        tracker = Tracker.open(bundle, progress=progress)
    if harvest is None:
        measurement = _text_measurement(text, tracker, checkpoint)
        measured = measurement.measure(read_texts(finance, split), read_texts(general, split))
    else:
        measurement = _harvest_measurement(harvest, tracker, checkpoint)
        measured = measurement.measure_harvest(harvest)
    replace_table(fill_table(table, measured, bundle.name), path, latents_of(tracker.saes))
    measurement.discard_checkpoint()
    click.echo(measure_report(measured, measurement.n_attention_sinks, table))
    click.echo(f"\nWrote {path}.")


class _Text(NamedTuple):
    """The text to run, and how, as the options have it."""

    finance: tuple[Path, ...]
    general: tuple[Path, ...]
    split: str | None
    window: int | None
    tokens: int | None


def _chosen_harvest(text: _Text, work: Path | None) -> Harvest | None:
    """The harvest in a folder; `None` where there is text to run instead, which is looked at.

    Raises:
        TrackerError: both are given, or none, or what is given can't be read or is blank.
    """
    if work is not None and any(text):
        raise TrackerError(f"{_TWO_WAYS}, not both. --split, --window and --tokens belong to the first.")
    if work is not None:
        return load_harvest(work / "train")
    if not (text.finance and text.general):
        raise TrackerError(f"{_TWO_WAYS}.")
    check_text("finance", text.finance, text.split)
    check_text("general", text.general, text.split)
    return None


def _text_measurement(text: _Text, tracker: Tracker, checkpoint: Path | None) -> Measurement:
    language_model = tracker.language_model
    origin = dataclasses.replace(
        Origin.from_bundle(tracker.bundle, language_model.d_model),
        finance_text=tuple(map(name_with_size, text.finance)),
        general_text=tuple(map(name_with_size, text.general)),
        split=text.split or "all",
    )
    window = language_model.window(text.window or tracker.bundle.window)
    return Measurement(
        language_model, tracker.saes, window=window, max_tokens=text.tokens, checkpoint=checkpoint, origin=origin
    )


def _harvest_measurement(harvest: Harvest, tracker: Tracker, checkpoint: Path | None) -> Measurement:
    language_model = tracker.language_model
    harvest.check_origin(Origin.from_bundle(tracker.bundle, language_model.d_model))
    return Measurement(
        language_model,
        tracker.saes,
        window=harvest.token_ids.shape[1],
        max_tokens=harvest.n_tokens,  # a harvest that has grown since is another text
        checkpoint=checkpoint,
        origin=harvest.origin,
    )


def measure_report(measured: dict[int, pd.DataFrame], attention_sinks: dict[int, int], table: LabelTable | None) -> str:
    """Summarize what was measured, by layer, as a Markdown table.

    Args:
        attention_sinks: tokens left out, by layer.
    """
    lines = [
        "| layer | finance tokens | general tokens | attention sinks left out | never fire | always on | median "
        "density | slow | finance above 0.5 | general below -0.5 |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for layer, frame in measured.items():
        index, density = frame["specialization_index"], frame["density"]
        lines.append(
            f"| {layer} | {frame['finance_tokens'].iloc[0]:,} | {frame['general_tokens'].iloc[0]:,} | "
            f"{attention_sinks[layer]:,} | {(density == 0).sum()} | {(density > ALWAYS_ON).sum()} | "
            f"{density.median():.4f} | {(frame['autocorrelation'] > SLOW).sum()} | {(index > 0.5).sum()} | "
            f"{(index < -0.5).sum()} |"
        )
    replaced = 0 if table is None else int(table.unverified.sum())
    if replaced:
        lines += ["", f"{replaced} unverified specializations were replaced by measured ones."]
    return "\n".join(lines)
