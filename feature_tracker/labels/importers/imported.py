"""What every importer yields, and the tally that it keeps of its file."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from feature_tracker.feature import Feature
from feature_tracker.labels.csv_files import storable
from feature_tracker.labels.importers.cleaning import clean_label
from feature_tracker.labels.importers.failures import is_failure
from feature_tracker.labels.scores import UNSCORED, Scores

_EXAMPLES = 5  # rejections shown of each reason


class Evidence(Enum):
    """How an F1 is known, the best evidence first; the value says it in words.

    Of a feature's labels the one with the best evidence is taken; of equals, the one whose file is named first.
    """

    RECORDS = "F1 counted from records"
    RATES = "F1 reported with accuracy, precision and recall"
    F1_ALONE = "F1 reported alone"
    NONE = "no F1"

    def beats(self, other: Evidence) -> bool:
        """Whether this evidence is better."""
        ranked = list(Evidence)
        return ranked.index(self) < ranked.index(other)


class ImportedLabel(NamedTuple):
    """A feature's label with its scores.

    Attributes:
        feature: what it labels.
        text: cleaned.
        original: as the file has it, but for characters that no file in UTF-8 can hold.
        scores: how the label scored.
        method: how the judge was asked (`detection`), `reported` where the file doesn't say, empty without a score.
        evidence: how its F1 is known.
        source: file or run it comes from.
    """

    feature: Feature
    text: str
    original: str
    scores: Scores
    method: str
    evidence: Evidence
    source: str


class ImportedSpecialization(NamedTuple):
    """How financial a file says a feature is.

    Attributes:
        feature: what it is about.
        finance_mean, general_mean: mean activations, as the file has them.
        specialization: finance minus general, whatever the sign in the file.
        verified: whether the file's numbers can be means of top-k activations.
        source: file it comes from.
    """

    feature: Feature
    finance_mean: float
    general_mean: float
    specialization: float
    verified: bool
    source: str


Imported = Iterator[ImportedLabel | ImportedSpecialization]
"""What an importer yields, feature by feature, while it fills its tally."""


@dataclass
class Tally:
    """What became of a file or run.

    Attributes:
        name: what the report calls it.
        kind: its format.
        read: rows or files with a feature.
        cleaned: labels that cleaning changed.
        rejected: how many for each reason.
        examples: the first rejections of each reason, with their lines.
        notes: what else the reader should know.
        used: labels of the table that come from it.
        left_out: rows or files of layers that the user left out of the bundle.
    """

    name: str
    kind: str
    read: int = 0
    cleaned: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    used: int = 0
    left_out: int = 0

    def reject(self, where: str, reason: str, content: str = "") -> None:
        """Count a rejection, and keep its place and content as an example if it is among the first of its reason."""
        self.rejected[reason] += 1
        examples = self.examples.setdefault(reason, [])
        if len(examples) < _EXAMPLES:
            examples.append(f"{where}, found {content[:80]!r}" if content else where)

    def label(
        self,
        feature: Feature,
        original: str,
        where: str,
        *,
        scores: Scores = UNSCORED,
        method: str = "",
        evidence: Evidence = Evidence.NONE,
    ) -> Iterator[ImportedLabel]:
        """Yield the label cleaned; reject it where cleaning leaves no text, or one that says that there is no label."""
        text, changes = clean_label(original)
        if not text:
            self.reject(where, "the label is empty", original)
            return
        if is_failure(text):
            self.reject(where, "no label but what a tool or a model writes where it made none", original)
            return
        self.cleaned += bool(changes)
        if math.isnan(scores.f1):
            evidence = Evidence.NONE
        yield ImportedLabel(feature, text, storable(original), scores, method, evidence, self.name)
