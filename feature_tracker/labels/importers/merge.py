"""Merge labels from several files into one table, one row per feature.

Of a feature's labels the one with the best evidence is taken (`imported.Evidence`), together with its scores: an F1
belongs to the label that earned it. Of equals, the one whose file comes first is taken. Specialization comes from the
first file that has it, whichever file the label is from.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

import pandas as pd

from feature_tracker.errors import TrackerError
from feature_tracker.feature import Feature
from feature_tracker.labels.columns import IMPORTED, KEYS, REPORTED, UNVERIFIED, columns_of
from feature_tracker.labels.csv_files import storable
from feature_tracker.labels.importers.imported import Evidence, ImportedLabel, ImportedSpecialization, Tally
from feature_tracker.labels.importers.sources import Source
from feature_tracker.labels.importers.target import Target
from feature_tracker.labels.table import LabelTable, fill_blanks


class Merged(NamedTuple):
    """A table and what became of the files it is made from.

    Attributes:
        table: sorted by layer and index.
        tallies: one a source, in order.
        by_evidence: how many of the table's labels have an F1 of each kind.
        n_in_several_files: features that more than one file labels.
    """

    table: LabelTable
    tallies: list[Tally]
    by_evidence: Counter[Evidence]
    n_in_several_files: int


def merge_sources(sources: Iterable[Source], target: Target) -> Merged:
    """Read every source and merge what they say.

    Raises:
        TrackerError: a source is about another bundle or is damaged, or no label is left.
    """
    labels: dict[Feature, ImportedLabel] = {}
    specializations: dict[Feature, ImportedSpecialization] = {}
    tallies: list[Tally] = []
    in_several_files: set[Feature] = set()
    for source in sources:
        tally = Tally(_name(source, [other.name for other in tallies]), source.kind)
        tallies.append(tally)
        for item in source.read(source.path, target, tally):
            if isinstance(item, ImportedSpecialization):
                specializations.setdefault(item.feature, item)
                continue
            standing = labels.get(item.feature)
            if standing is not None:
                in_several_files.add(item.feature)
            if standing is None or item.evidence.beats(standing.evidence):
                labels[item.feature] = item
    if not labels:
        raise _nothing_left(tallies)
    by_name = {tally.name: tally for tally in tallies}
    for label in labels.values():
        by_name[label.source].used += 1
    by_evidence = Counter(label.evidence for label in labels.values())
    return Merged(_table(labels, specializations, target.bundle), tallies, by_evidence, len(in_several_files))


def _nothing_left(tallies: list[Tally]) -> TrackerError:
    reasons = ", ".join(f"{reason} ({n:,})" for tally in tallies for reason, n in tally.rejected.items())
    left_out = sum(tally.left_out for tally in tallies)
    return TrackerError(
        f"No label is left to import. {'Rejected: ' + reasons if reasons else 'None was rejected'}; "
        f"{left_out:,} are of layers that are not chosen."
    )


def _name(source: Source, taken: list[str]) -> str:
    """The file's name; with its folder, or as a whole path, where another source has that name already."""
    path = source.path
    names = [storable(name) for name in (path.name, f"{path.parent.name}/{path.name}", str(path))]
    return next((name for name in names if name not in taken), names[-1])


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
            "bundle": bundle,
            **label.scores._asdict(),
        }
        if feature in specializations:
            row |= _specialization(specializations[feature])
        rows.append(row)
    frame = pd.DataFrame(rows).set_index(KEYS).reindex(columns=columns_of([*IMPORTED, "bundle"]))
    return LabelTable(fill_blanks(frame))


def _specialization(item: ImportedSpecialization) -> dict[str, float | str]:
    finance, general = item.finance_mean, item.general_mean
    # Between -1 and 1 only for means that are never negative.
    has_index = item.verified and finance + general > 0
    return {
        "specialization": item.specialization,
        "specialization_index": (finance - general) / (finance + general) if has_index else math.nan,
        "finance_mean": finance,
        "general_mean": general,
        "specialization_source": REPORTED if item.verified else UNVERIFIED,
    }
