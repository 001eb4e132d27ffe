"""`feature-tracker corpus nearest`: the documents nearest to one of an archive's, or to features, and why."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
import pandas as pd

from feature_tracker.archive.archive import Archive
from feature_tracker.archive.labels import tells_of_content
from feature_tracker.archive.nearest import Nearest, nearest_to_document, nearest_to_features
from feature_tracker.archive.selection import choose_documents
from feature_tracker.cli.corpus_asking import archive_command, counted, print_table, quoted, tell, top_option
from feature_tracker.errors import TrackerError
from feature_tracker.feature import Feature
from feature_tracker.labels.table import LabelTable

_WRITTEN = 1_000


@click.command("nearest")
@archive_command
@click.option("--document", metavar="NAME", help="Name of a document; * stands for any characters.")
@click.option("--feature", "features", multiple=True, metavar="L16/F283", help="Instead: a feature; may be repeated.")
@top_option
def main(
    archive: Archive, labels: LabelTable, document: str | None, features: tuple[str, ...], top: int,
    csv_file: Path | None,
) -> None:  # fmt: skip
    """Print the documents nearest to a document or to features, and the features that bring them near.

    Near is the cosine, from −1 to 1, between how far features stand above the mean of all documents. Documents are near
    that dwell on the same things, whatever they say of them. Beside each stand the features that bring it nearest, with
    its standard deviations above the mean. --csv writes the nearest 1,000.
    """
    if (document is None) == (not features):
        raise click.UsageError("Give --document or --feature.")
    n = top if csv_file is None else _WRITTEN
    if document is not None:
        number = _number(archive, document)
        content = tells_of_content(labels, archive.features)
        form = {feature for feature, tells in zip(archive.features, content, strict=True) if not tells}
        found, what = (
            nearest_to_document(archive, number, top=n, no_reasons=form),
            f"“{archive.documents['name'][number]}”",
        )
    else:
        named = [_feature(text) for text in features]
        found = nearest_to_features(archive, named, top=n)
        what = " and ".join(quoted(feature, labels) for feature in named)
    tell([_in_words(found, archive, what)])
    print_table(_table(found, archive, labels), top, csv_file, columns=["name", "date", "group", "cosine", "because"])


def _number(archive: Archive, name: str) -> int:
    numbers = np.flatnonzero(choose_documents(archive.documents, [f"name={name}"]))
    if len(numbers) > 1:
        names = ", ".join(archive.documents["name"][numbers[:5]])
        raise TrackerError(f"{len(numbers):,} documents are named {name}: {names}… Give one's whole name.")
    return int(numbers[0])


def _feature(text: str) -> Feature:
    feature = Feature.named(text)
    if feature is None:
        raise TrackerError(f"{text!r} names no feature. Write layer and number, such as L16/F283.")
    return feature


def _in_words(found: Nearest, archive: Archive, what: str) -> str:
    nearest = found.near[0]
    n_beyond = sum(near.cosine > found.one_in_hundred for near in found.near)
    same = sum(near.same_text for near in found.near)
    return (
        f"Of {counted(found.n_documents, 'document')}, “{archive.documents['name'][nearest.document]}” is nearest to "
        f"{what} (cosine {nearest.cosine:.2f}; {found.typical:.2f} is the median document's, and one in a hundred is "
        f"above {found.one_in_hundred:.2f})."
        + (f" {counted(same, 'document')} with the very same text." if same else "")
        + (" No document stands out." if not n_beyond else "")
    )


def _table(found: Nearest, archive: Archive, labels: LabelTable) -> pd.DataFrame:
    documents = archive.documents.iloc[[near.document for near in found.near]].reset_index(drop=True)
    because = [
        "; ".join(f"{quoted(reason.feature, labels)} {reason.standing:+.1f} sd" for reason in near.reasons)
        for near in found.near
    ]
    return documents[["document", "name", "source", "date", "group"]].assign(
        cosine=[near.cosine for near in found.near], same_text=[near.same_text for near in found.near], because=because
    )
