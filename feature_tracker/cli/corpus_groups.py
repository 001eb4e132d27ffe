"""`feature-tracker corpus groups`: what sets two groups of an archive's documents apart."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
import pandas as pd

from feature_tracker.archive.archive import Archive
from feature_tracker.archive.groups import SIGNIFICANT, GroupComparison, compare_groups
from feature_tracker.archive.labels import tells_of_content
from feature_tracker.archive.selection import FEWEST, choose_documents, units_of
from feature_tracker.cli.corpus_asking import (
    archive_command,
    counted,
    form_option,
    print_table,
    quoted,
    surest_to_name,
    tell,
    top_option,
    unit_option,
    with_labels,
)
from feature_tracker.errors import TrackerError
from feature_tracker.feature import Feature
from feature_tracker.labels.table import LabelTable
from feature_tracker.tracing.rows import features_of


@click.command("groups")
@archive_command
@click.option(
    "--first",
    multiple=True,
    required=True,
    metavar="CONDITION",
    help="Documents of the first group: group=NAME, date=2023 or date=2022-05..2023Q2, or name=*10-K*. If given "
    "several times, all must hold.",
)
@click.option("--second", multiple=True, metavar="CONDITION", help="Of the second group. Default: all other documents.")
@unit_option
@form_option
@top_option
def main(
    archive: Archive, labels: LabelTable, first: tuple[str, ...], second: tuple[str, ...], unit: str | None, form: bool,
    top: int, csv_file: Path | None,
) -> None:  # fmt: skip
    """Print the features that set two groups of documents apart.

    Tests every feature over documents of like length, and says how sure each is beside chance. AUC is how often a
    document of the first group stands higher than one of the second; the index goes from −1, fires in the second group
    alone, to +1, in the first alone, with its 95 % interval.
    """
    documents = archive.documents
    in_first = choose_documents(documents, first)
    in_second = choose_documents(documents, second) if second else ~in_first
    if in_first.all() and not second:
        raise TrackerError(f"Every document has {' and '.join(first)}, so no other group is left to compare with.")
    units = None if unit is None else units_of(documents, unit)
    compared = compare_groups(archive, in_first, in_second, units=units)
    names = " and ".join(first), " and ".join(second) or "all others"
    report_groups(compared, labels, names, top, csv_file, form=form)


def report_groups(
    compared: GroupComparison, labels: LabelTable, names: tuple[str, str], top: int, csv_file: Path | None, *,
    form: bool,
) -> None:  # fmt: skip
    """Print what sets groups apart.

    Args:
        names: what the groups are called.
        form: name and print features of form too.
    """
    tell([_in_words(compared, labels, names, form=form), *compared.notes])
    printed = None if form else tells_of_content(labels, features_of(compared.features))
    table = with_labels(compared.features, labels)
    higher = np.where(table["auc"].isna(), "", np.where(table["auc"] > 0.5, "first", "second"))
    table.insert(4, "higher_in", higher)
    shown = table.assign(
        interval=[
            f"{low:+.2f} to {high:+.2f}" for low, high in zip(table["index_low"], table["index_high"], strict=True)
        ]
    )
    columns = ["feature", "label", "f1", "higher_in", "auc", "q", "first_mean", "second_mean", "index", "interval"]
    # Means that nothing can be told from would be read all the same.
    print_table(shown, top if compared.can_tell else 0, csv_file, columns=columns, printed=printed)


def _in_words(compared: GroupComparison, labels: LabelTable, names: tuple[str, str], *, form: bool) -> str:
    has_units = (compared.n_first_units, compared.n_second_units) != (compared.n_first, compared.n_second)
    sizes = [
        counted(n, "document") + (f" of {counted(n_units, 'unit')}" if has_units else "")
        for n, n_units in ((compared.n_first, compared.n_first_units), (compared.n_second, compared.n_second_units))
    ]
    groups = f"the first group ({names[0]}, {sizes[0]}) and the second ({names[1]}, {sizes[1]})"
    n, n_apart = len(compared.features), len(compared.apart)
    if not n:
        return f"No feature fires in {FEWEST} documents of {groups}, so there is nothing to compare."
    if not compared.can_tell:
        return f"Nothing can be told of {groups}."
    surest = compared.features.iloc[0]
    if pd.isna(surest["p"]):
        return f"Nothing can be told of {groups}: no document of the one is about as long as one of the other."
    if not n_apart:
        feature = quoted(Feature(int(surest["layer"]), int(surest["feature"])), labels)
        return (
            f"No feature sets {groups} apart beyond chance. The surest of {counted(n, 'feature')} is {feature} with "
            f"p = {surest['p']:.2g}; where documents are dealt to the groups at random, {n * surest['p']:.2g} features "
            "are as sure on average."
        )
    surest = surest_to_name(compared.apart, labels, form=form)
    feature = quoted(Feature(int(surest["layer"]), int(surest["feature"])), labels)
    higher = int((compared.apart["auc"] > 0.5).sum())
    return (
        f"{counted(n_apart, 'feature')} of {n:,} {'sets' if n_apart == 1 else 'set'} {groups} apart: {higher:,} higher "
        f"in the first, {n_apart - higher:,} in the second. The surest is {feature}: a document of the "
        f"{'first' if surest['auc'] > 0.5 else 'second'} group stands higher than one of the other in "
        f"{max(surest['auc'], 1 - surest['auc']):.0%} of pairs (50 % by chance). Of those found, about "
        f"{SIGNIFICANT:.0%} may be chance (q at most {SIGNIFICANT}); where documents are dealt at random, none is "
        "found in 97 of 100 cases."
    )
