"""Bring labels from several files into one table, one row a feature.

Of a feature's labels the one with the better evidence is taken (`imported.RANKS`), whole with its scores: an F1 belongs
to the label that earned it. Of equals, the one whose file comes first. Specialization comes from the first file that
has it, whichever file the label is from.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import pandas as pd

from feature_tracker.errors import TrackerError
from feature_tracker.feature import Feature
from feature_tracker.labels.importers.imported import RANKS, ImportedLabel, ImportedSpecialization, Tally, Target
from feature_tracker.labels.importers.sources import Source
from feature_tracker.labels.table import COLUMNS, IMPORTED, KEYS, REPORTED, UNVERIFIED, LabelTable


class Merged(NamedTuple):
    """A table and what became of the files it is made from.

    Attributes:
        table: sorted by layer and index.
        tallies: one a source, in order.
        by_rank: labels of the table by `RANKS`.
        twice: features that more than one file labels.
    """

    table: LabelTable
    tallies: list[Tally]
    by_rank: list[int]
    twice: int


def merge_sources(sources: Iterable[Source], target: Target) -> Merged:
    """Read every source and merge what they say.

    Memory grows with the bundle's features, not with the files.

    Raises:
        TrackerError: a file is about another bundle or can't be read, or no label is left.
    """
    labels: dict[Feature, ImportedLabel] = {}
    specializations: dict[Feature, ImportedSpecialization] = {}
    several: set[Feature] = set()
    tallies = []
    for source in sources:
        tally = Tally(_name(source, [other.name for other in tallies]), source.kind)
        tallies.append(tally)
        for item in source.read(source.path, target, tally):
            if isinstance(item, ImportedSpecialization):
                specializations.setdefault(item.feature, item)
                continue
            standing = labels.get(item.feature)
            if standing is not None:
                several.add(item.feature)
            if standing is None or item.rank < standing.rank:
                labels[item.feature] = item
    if not labels:
        reasons = ", ".join(f"{reason} ({n:,})" for tally in tallies for reason, n in tally.rejected.items())
        left_out = sum(tally.left_out for tally in tallies)
        raise TrackerError(
            f"No label is left to import. {'Rejected: ' + reasons if reasons else 'None was rejected'}; "
            f"{left_out:,} are of layers that are not chosen."
        )
    by_name = {tally.name: tally for tally in tallies}
    for label in labels.values():
        by_name[label.source].used += 1
    by_rank = [sum(label.rank == rank for label in labels.values()) for rank in range(len(RANKS))]
    return Merged(_table(labels, specializations, target.bundle), tallies, by_rank, len(several))


def _name(source: Source, taken: list[str]) -> str:
    """The file's name; with its folder, or whole, where another has it already."""
    path = source.path
    names = (path.name, f"{path.parent.name}/{path.name}", str(path))
    return next((name for name in names if name not in taken), str(path))


def _table(
    labels: dict[Feature, ImportedLabel], specializations: dict[Feature, ImportedSpecialization], bundle: str
) -> LabelTable:
    rows = []
    for feature, label in sorted(labels.items()):
        row = {
            "layer": feature.layer,
            "feature": feature.index,
            "label": label.text,
            "original_label": label.original,
            "label_source": label.source,
            "f1_method": label.method,
            **label.scores._asdict(),
        }
        if feature in specializations:
            row |= _specialization(specializations[feature])
        rows.append(row)
    frame = pd.DataFrame(rows).set_index(KEYS).reindex(columns=[*COLUMNS, *IMPORTED])
    texts = ["rule", "specialization_source"]
    return LabelTable(frame.assign(bundle=bundle, **{name: frame[name].astype(object).fillna("") for name in texts}))


def _specialization(item: ImportedSpecialization) -> dict[str, float | str]:
    finance, general = item.finance_mean, item.general_mean
    # Between -1 and 1 only for means that are never negative.
    known = item.verified and finance + general > 0
    return {
        "specialization": item.specialization,
        "specialization_index": (finance - general) / (finance + general) if known else float("nan"),
        "finance_mean": finance,
        "general_mean": general,
        "specialization_source": REPORTED if item.verified else UNVERIFIED,
    }
