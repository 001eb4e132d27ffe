"""What importers hand on: labels and specializations of single features, and a tally of every file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from feature_tracker.errors import TrackerError
from feature_tracker.feature import Feature
from feature_tracker.labels.importers.cleaning import clean_label
from feature_tracker.labels.importers.model_names import is_named
from feature_tracker.labels.scores import UNSCORED, Scores

FROM_RECORDS, FROM_RATES, FROM_F1, WITHOUT_F1 = range(4)
RANKS = (
    "F1 counted from records",
    "F1 reported with accuracy, precision and recall",
    "F1 reported alone",
    "no F1",
)
"""Of a feature's labels the first of these is taken; of equals, the one whose file is named first."""
_EXAMPLES = 5


class ImportedLabel(NamedTuple):
    """A feature's label with its scores.

    Attributes:
        feature: whose.
        text: as shown.
        original: as the file has it.
        scores: how the label was scored.
        method: how the judge was asked (`detection`), `reported` where the file doesn't say, empty without a score.
        rank: index of `RANKS`.
        source: file or run it comes from.
    """

    feature: Feature
    text: str
    original: str
    scores: Scores
    method: str
    rank: int
    source: str


class ImportedSpecialization(NamedTuple):
    """How financial a file says a feature is.

    Attributes:
        feature: whose.
        finance_mean, general_mean: its mean activations, as the file has them.
        specialization: as the file has it, the sign turned to finance minus general.
        verified: whether the file's numbers can be means of top-k activations.
        source: file it comes from.
    """

    feature: Feature
    finance_mean: float
    general_mean: float
    specialization: float
    verified: bool
    source: str


@dataclass
class Tally:
    """What became of a file or run.

    Attributes:
        name: what it is called in the report.
        kind: its format.
        read: rows or files with a feature.
        cleaned: labels that were changed.
        rejected: how many for each reason.
        examples: the first few rejections of each reason, with their lines.
        notes: what else the reader should know.
        used: labels of the table that come from it.
        left_out: rows or files of layers that an option or variable leaves out of the bundle.
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

    def reject(self, where: str, reason: str, found: str = "") -> None:
        """Count a rejection; its place and what was found there are kept of the first few for each reason."""
        self.rejected[reason] += 1
        examples = self.examples.setdefault(reason, [])
        if len(examples) < _EXAMPLES:
            examples.append(f"{where}, found {found[:80]!r}" if found else where)

    def label(
        self,
        feature: Feature,
        original: str,
        where: str,
        *,
        scores: Scores = UNSCORED,
        method: str = "",
        rank: int = WITHOUT_F1,
    ) -> Iterator[ImportedLabel]:
        """The label cleaned, or nothing where no text is left of it."""
        text, changes = clean_label(original)
        if not text:
            self.reject(where, "the label is empty", original)
            return
        self.cleaned += bool(changes)
        if scores.f1 != scores.f1:
            rank = WITHOUT_F1
        yield ImportedLabel(feature, text, original, scores, method, rank, self.name)


class Target(NamedTuple):
    """The features of the bundle that labels are imported for.

    Attributes:
        bundle: its name.
        n_latents: of the SAE of each layer that has one.
        layers_chosen: whether the bundle has more layers that an option or variable leaves out.
        models: names by which the bundle's model goes; empty where labels of any model are taken.
    """

    bundle: str
    n_latents: Mapping[int, int]
    layers_chosen: bool = False
    models: tuple[str, ...] = ()

    def feature(self, layer: str | int, index: str | int, where: str) -> Feature | None:
        """The feature, checked; None where its layer is left out.

        Raises:
            TrackerError: the bundle has no such feature; the labels are another bundle's.
            ValueError: not two whole numbers.
        """
        feature = Feature(int(layer), int(index))
        if self.layers_chosen and feature.layer not in self.n_latents:
            return None
        if not 0 <= feature.index < self.n_latents.get(feature.layer, 0):
            has = ", ".join(f"{layer} (latents 0 to {n - 1})" for layer, n in self.n_latents.items())
            raise TrackerError(
                f"{where} labels {feature}, which bundle {self.bundle} doesn't have: its layers are {has}. These "
                "labels belong to another bundle: name that one with --bundle, or take the file out. Nothing was "
                "written."
            )
        return feature

    def check_model(self, name: str, where: str) -> None:
        """Refuse labels of another model.

        Raises:
            TrackerError: this is none of the names of the bundle's model.
        """
        if self.models and not is_named(name, self.models):
            raise TrackerError(
                f"{where} labels features of model {name}, but the model of bundle {self.bundle} is {self.models[0]}. "
                "Name the bundle of that model with --bundle, or take the file out; where it is the same model by "
                "another name, import with --any-model. Nothing was written."
            )


Imported = Iterator[ImportedLabel | ImportedSpecialization]
"""What a reader gives, feature by feature, while it fills its tally."""
