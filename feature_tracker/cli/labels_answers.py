"""`feature-tracker labels answers`: put what readers and judges answered into a label table."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np
import pandas as pd

from feature_tracker.bundles.bundle import Bundle
from feature_tracker.cli.labels_text import standing_table
from feature_tracker.cli.options import bundle_options
from feature_tracker.corpus.origin import fingerprint
from feature_tracker.errors import TrackerError
from feature_tracker.labelling.answers import (
    Judgement,
    Read,
    label_columns,
    read_judgements,
    read_labels,
    read_records,
    score_columns,
    scores_of,
)
from feature_tracker.labelling.questions import ExplainQuestion, JudgeKey
from feature_tracker.labels.csv_files import replace_table
from feature_tracker.labels.table import latents_of, unlabelled_table, with_rows, without_scores
from feature_tracker.sae.load import load_bundle_saes

_MOST_FAULTS = 20


@click.group()
def answers() -> None:
    """Read the answers of readers and judges into the label table."""


_ANSWERS = click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="ANSWERS…")


@answers.command("explain")
@_ANSWERS
@bundle_options
@click.option("--questions", type=Path, required=True, help="The questions that were answered.")
def explain(paths: tuple[Path, ...], bundle: Bundle, questions: Path) -> None:
    """Take labels into the bundle's table.

    Each line of ANSWERS is an object with `layer`, `feature`, `label`, `detail`, `kind` and `confidence`. A label that
    can't be used is named and left out. The scores of a label that is replaced go with it.
    """
    asked = read_records(questions, ExplainQuestion)
    _check_bundle({question.bundle for question in asked}, bundle, questions)
    read = read_labels(asked, paths)
    _report_faults(read)
    labels = label_columns(read.answers.values())
    saes = load_bundle_saes(bundle)
    table = standing_table(bundle) or unlabelled_table(latents_of(saes))
    named = labels.assign(bundle=next(iter(table.bundles), bundle.name))
    written = with_rows(without_scores(table, labels), named)
    replace_table(written, bundle.labels, latents_of(saes))
    click.echo(f"Wrote {len(labels):,} labels to {bundle.labels}.")
    repeated = written.frame.groupby(["layer", "label"]).size().reset_index(name="n").query("n > 1")
    for layer, label, n in repeated.itertuples(index=False):
        if label in set(labels["label"]):
            click.echo(f"{n} features of layer {layer} have the label “{label}”. Tell them apart.")


@answers.command("judge")
@_ANSWERS
@bundle_options
@click.option("--key", type=Path, required=True, help="The key of the questions that were answered.")
@click.option("--judge", "judge_name", required=True, help="Who answered, in a few words.")
@click.option("--date", default=lambda: datetime.date.today().isoformat(), help="When.  [default: today]")
def judge(paths: tuple[Path, ...], bundle: Bundle, key: Path, judge_name: str, date: str) -> None:
    """Score labels by a judge's answers.

    Each line of ANSWERS is an object with `question`, and the numbers of excerpts in two lists, `yes` and `no`. Answers
    that can't be used are named and left out. All labels that were asked about are scored, and the table takes the
    scores of those that it has.
    """
    keys = read_records(key, JudgeKey)
    saes = load_bundle_saes(bundle)
    _check_bundle({part.bundle for part in keys}, bundle, key)
    if {part.saes for part in keys} != {fingerprint(saes)}:
        raise TrackerError(f"{key} is of other SAE weights than {bundle.sae_folder}. Write the questions anew.")
    table = standing_table(bundle)
    if table is None:
        raise TrackerError(
            f"{bundle.labels} doesn't exist. Take the labels in first: feature-tracker labels answers explain"
        )
    read = read_judgements(keys, paths)
    _report_faults(read)
    scores = score_columns(keys, read.answers, judge=judge_name, date=date)
    click.echo(judged_report(scores, keys, read.answers))
    judged = {(part.layer, part.feature): part.label for part in keys if not part.control}
    labels = table.frame["label"].to_dict()
    standing = [feature for feature in scores.index if labels.get(feature) == judged[feature]]
    if len(standing) < len(scores):
        click.echo(
            f"\n{len(scores) - len(standing):,} of these labels are not those of the table, whose scores stay as they "
            "were."
        )
    replace_table(with_rows(table, scores.loc[standing]), bundle.labels, latents_of(saes))
    click.echo(f"\nWrote {bundle.labels}.")


def judged_report(scores: pd.DataFrame, keys: Sequence[JudgeKey], judgements: dict[str, Judgement]) -> str:
    """Medians by layer, as a Markdown table, then how the controls did and whether the judge said yes to everything."""
    shown = ["f1", "f1_strong", "f1_uniform", "f1_hard"]
    lines = [f"| layer | labels | {' | '.join(shown)} |", "|---" * (2 + len(shown)) + "|"]
    for layer, rows in [*scores.groupby("layer"), ("all", scores)]:
        medians = " | ".join(f"{rows[name].median():.3f}" for name in shown)
        lines.append(f"| {layer} | {len(rows):,} | {medians} |")
    controls = [scores_of(key, judgements[key.question]) for key in keys if key.control and key.question in judgements]
    if controls:
        f1 = float(np.nanmean([control.f1 for control in controls]))
        lines += ["", f"{len(controls):,} controls, labels of other features: mean F1 {f1:.3f}."]
    answered = [judgement for judgement in judgements.values() if judgement.yes or judgement.no]
    if answered and not any(judgement.no for judgement in answered):
        lines += ["", "This judge said yes to everything. Such answers tell nothing: each F1 is that of guessing."]
    return "\n".join(lines)


def _check_bundle(named: set[str], bundle: Bundle, path: Path) -> None:
    if named != {bundle.name}:
        raise TrackerError(
            f"{path} is about bundle {', '.join(sorted(named)) or 'none'}, not {bundle.name}. Name the bundle with "
            "--bundle."
        )


def _report_faults(read: Read) -> None:
    """Say which answers can't be used, and how many questions have none.

    Raises:
        TrackerError: no answer can be used.
    """
    for fault in read.faults[:_MOST_FAULTS]:
        click.echo(fault, err=True)
    if len(read.faults) > _MOST_FAULTS:
        click.echo(f"… and {len(read.faults) - _MOST_FAULTS:,} more faults.", err=True)
    if not read.answers:
        raise TrackerError("None of the answers can be used, so the table stays as it was.")
    if read.missing:
        names = ", ".join(read.missing[:_MOST_FAULTS]) + (" …" if len(read.missing) > _MOST_FAULTS else "")
        click.echo(f"{len(read.missing):,} questions have no usable answer: {names}", err=True)
