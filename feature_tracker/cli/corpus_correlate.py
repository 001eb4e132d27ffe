"""`feature-tracker corpus correlate`: features of different layers that fire on the same tokens of an archive."""

from __future__ import annotations

from pathlib import Path

import click
import pandas as pd

from feature_tracker.archive.archive import Archive
from feature_tracker.archive.correlation import ArchiveCorrelation, correlate_archive
from feature_tracker.archive.selection import FEWEST
from feature_tracker.cli.corpus_asking import (
    archive_command,
    counted,
    print_table,
    quoted,
    tell,
    top_option,
    with_labels,
)
from feature_tracker.errors import TrackerError
from feature_tracker.feature import Feature
from feature_tracker.labels.table import LabelTable

_WRITTEN = 10_000


@click.command("correlate")
@archive_command
@click.option("--feature", metavar="L16/F283", help="Pairs of this feature alone. Default: all pairs.")
@top_option
def main(archive: Archive, labels: LabelTable, feature: str | None, top: int, csv_file: Path | None) -> None:
    """Print the pairs of features of different layers whose activations correlate most over all tokens.

    r is Pearson's, over all tokens but attention sinks. It says that two features fire on the same tokens, not that one
    makes the other fire. Chance is how many pairs would have as large an |r| if the layers had nothing to do with each
    other. --csv writes the first 10,000 pairs.
    """
    one = None if feature is None else Feature.named(feature)
    if feature is not None and (one is None or one not in archive.features):
        raise TrackerError(
            f"This archive has no feature {feature}. Write one of its layers "
            f"{', '.join(map(str, archive.manifest.layers))}, such as L{archive.manifest.layers[0]}/F0."
        )
    correlation = correlate_archive(archive, one)
    pairs = correlation.strongest(top if csv_file is None else _WRITTEN)
    tell([_in_words(correlation, pairs, archive, labels)])
    table = with_labels(with_labels(pairs, labels, "source_"), labels, "target_")
    columns = ["source_feature", "source_label", "target_feature", "target_label", "r", "chance"]
    print_table(table, top, csv_file, columns=columns)


def _in_words(correlation: ArchiveCorrelation, pairs: pd.DataFrame, archive: Archive, labels: LabelTable) -> str:
    over = f"{counted(correlation.n_tokens, 'token')} of {counted(len(archive.documents), 'document')}"
    judged = f"{counted(correlation.n_pairs, 'pair')} of features that fire in at least {FEWEST} documents each"
    if pairs.empty:
        return f"Over {over}, there are no pairs to judge: {judged}."
    pair = pairs.iloc[0]
    source, target = (
        quoted(Feature(int(pair[f"{end}_layer"]), int(pair[f"{end}_feature"])), labels) for end in ("source", "target")
    )
    # `chance` counts shifted pairs, of which there are as many.
    return (
        f"Over {over}, {source} and {target} correlate most: r = {pair['r']:+.2f}. Of {judged}, chance gives "
        f"{counted(int(pair['chance']), 'pair')} with as large an |r|."
    )
