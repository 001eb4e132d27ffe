"""What is turned up or down: which features, how strongly and where; as JSON for other tools.

Steering adds strength * max_activation * decoder direction to the residual stream after the feature's block: strength 1
adds as much as the feature's strongest firing in the corpus.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Annotated, NamedTuple

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from pydantic_core import ErrorDetails

from feature_tracker.errors import TrackerError
from feature_tracker.feature import Feature
from feature_tracker.labels.table import LabelTable
from feature_tracker.sae.topk import Sae

STRONGEST = 10.0
"""Strengths go from minus this to this. Beyond about 2 the small models of our bundles write the same word again and
again."""
MOST_FEATURES = 3
LARGEST_FILE = 100_000
"""Bytes of the largest recipe that is read; one has about 1,000."""
_RULE = "resid_after_block[layer] += strength * max_activation * decoder[latent], where only_where fires, never on BOS"
_SAME_UNIT = 1e-3
"""Relative difference below which two largest activations are one, written with fewer digits."""

_STRICT = ConfigDict(strict=True, extra="forbid")
_Index = Annotated[int, Field(ge=0)]
_EXPECTED = {
    "layer": "a whole number from 0",
    "latent": "a whole number from 0",
    "strength": f"a number from {-STRONGEST:g} to {STRONGEST:g}",
    "max_activation": "a number above 0",
    "features": "a list of features",
    "only_where": "a feature, or null to steer everywhere",
}


@dataclass(frozen=True, config=_STRICT)
class Latent:
    """A feature as a recipe names it.

    Attributes:
        layer: 0-based block, whose SAE reads the residual stream after it.
        latent: row of the SAE's decoder.
        label: what the label table calls it; only the reader needs it.
    """

    layer: _Index
    latent: _Index
    label: str = ""

    @property
    def feature(self) -> Feature:
        """The same as a `Feature`."""
        return Feature(self.layer, self.latent)


@dataclass(frozen=True, config=_STRICT, kw_only=True)
class SteeredLatent(Latent):
    """A feature and how strongly it is added.

    Attributes:
        strength: in units of `max_activation`; negative to take the direction away.
        max_activation: the feature's largest activation in the corpus.
    """

    strength: Annotated[float, Field(ge=-STRONGEST, le=STRONGEST)]
    max_activation: Annotated[float, Field(gt=0, allow_inf_nan=False)]

    @property
    def amount(self) -> float:
        """What the decoder direction, of unit norm, is multiplied by."""
        return self.strength * self.max_activation


@dataclass(frozen=True, config=_STRICT, kw_only=True)
class Recipe:
    """Everything that steering is given but the text: what is added to the residual stream, and where.

    Attributes:
        bundle: whose SAEs these are, for the reader.
        saes: fingerprint of the SAEs, without which layers and latents mean nothing.
        features: one to three different ones, added together.
        only_where: steer only positions on which this feature of the same or a lower layer fires; `None` for all.
        rule: what the numbers mean.
    """

    bundle: str
    saes: str
    features: tuple[SteeredLatent, ...]
    only_where: Latent | None = None
    rule: str = _RULE

    def __post_init__(self) -> None:
        features = [steered.feature for steered in self.features]
        if not 1 <= len(features) <= MOST_FEATURES:
            raise ValueError(f"1 to {MOST_FEATURES} features are steered at once; found {len(features)}.")
        if self.rule != _RULE:
            raise ValueError(f"rule must be {_RULE!r}, the only one supported; found {self.rule!r}.")
        twice = next((feature for feature in features if features.count(feature) > 1), None)
        if twice is not None:
            raise ValueError(f"{twice} is named twice; name each feature once, with its whole strength.")
        if self.only_where is not None:
            lowest = min(features)
            if self.only_where.layer > lowest.layer:
                raise ValueError(
                    f"the condition {self.only_where.feature} lies above {lowest}, which is steered before layer "
                    f"{self.only_where.layer} is computed. Choose a condition of layer {lowest.layer} or below."
                )

    @property
    def layers(self) -> list[int]:
        """Layers that are steered or read, ascending."""
        read = [] if self.only_where is None else [self.only_where.layer]
        return sorted({steered.layer for steered in self.features} | set(read))

    def at(self, strength: float) -> Recipe:
        """The same recipe with its largest strength, in amount, at this one and the others in proportion."""
        largest = max(abs(steered.strength) for steered in self.features)
        if largest == 0:
            return self
        with _explained("The recipe"):
            features = (replace(one, strength=one.strength / largest * strength) for one in self.features)
            return replace(self, features=tuple(features))

    def to_json(self) -> str:
        """As `read_recipe` reads it."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"

    def __str__(self) -> str:
        what = " and ".join(f"{one.feature} “{one.label}” at {one.strength:g}" for one in self.features)
        condition = self.only_where
        return what if condition is None else f"{what}, only where {condition.feature} “{condition.label}” fires"


def parse_feature(text: str) -> Feature:
    """The feature that a text such as `L16/F11` names.

    Raises:
        TrackerError: it names none.
    """
    named = Feature.named(text)
    if named is None:
        raise TrackerError(f"{text!r} names no feature. Write layer and number, such as L16/F11.")
    return named


class Weights(NamedTuple):
    """What a recipe belongs to.

    Attributes:
        bundle: its name.
        fingerprint: of the SAEs.
        saes: by layer.
        labels: knows each feature's largest activation.
    """

    bundle: str
    fingerprint: str
    saes: Mapping[int, Sae]
    labels: LabelTable


def make_recipe(features: Sequence[tuple[Feature, float]], only_where: Feature | None, weights: Weights) -> Recipe:
    """A recipe for these weights.

    Args:
        features: each with its strength, see `SteeredLatent`.
        only_where: see `Recipe`.

    Raises:
        TrackerError: a feature doesn't exist or is named twice, there are none or too many, a strength is out of range,
            the condition lies above a steered layer, or the label table doesn't know a feature's largest activation.
    """
    for feature in [*(feature for feature, _ in features), *([] if only_where is None else [only_where])]:
        _require_feature(feature, weights.saes)
    labels = weights.labels
    with _explained("This can't be steered"):
        return Recipe(
            bundle=weights.bundle,
            saes=weights.fingerprint,
            features=tuple(
                SteeredLatent(
                    *feature,
                    labels.name(feature),
                    strength=float(strength),
                    max_activation=_max_activation(feature, labels),
                )
                for feature, strength in features
            ),
            only_where=None if only_where is None else Latent(*only_where, labels.name(only_where)),
        )


def read_recipe(raw: bytes, weights: Weights) -> Recipe:
    """Read a recipe that was written for these weights.

    Raises:
        TrackerError: it is too big, no JSON, has a missing, unknown or wrong key, was made for other SAEs, or counts in
            other largest activations than the label table; and as `make_recipe`.
    """
    if len(raw) > LARGEST_FILE:
        raise TrackerError(
            f"A recipe has at most {LARGEST_FILE:,} bytes; this file has {len(raw):,}. Choose a recipe that was "
            "downloaded here."
        )
    with _explained("This file is no recipe for steering"):
        recipe = TypeAdapter(Recipe).validate_json(raw.removeprefix(b"\xef\xbb\xbf"))  # a mark that editors write
    if recipe.saes != weights.fingerprint:
        raise TrackerError(
            f"This recipe was made for other weights: the SAEs {recipe.saes!r} of the bundle {recipe.bundle!r}. Open "
            f"are the SAEs {weights.fingerprint!r} of {weights.bundle!r}, whose features are others. Open the "
            "recipe's bundle, or choose the features anew."
        )
    only_where = None if recipe.only_where is None else recipe.only_where.feature
    strengths = [(steered.feature, steered.strength) for steered in recipe.features]
    here = make_recipe(strengths, only_where, weights)
    for stated, known in zip(recipe.features, here.features, strict=True):
        if not math.isclose(stated.max_activation, known.max_activation, rel_tol=_SAME_UNIT):
            raise TrackerError(
                f"This recipe counts the strength of {stated.feature} in {stated.max_activation:g}, but the largest "
                f"activation in the label table is {known.max_activation:g}. Open the recipe's label table, or set "
                f"`max_activation` to {known.max_activation:g} and change the strength to match."
            )
    return here


def _require_feature(feature: Feature, saes: Mapping[int, Sae]) -> None:
    if feature.layer not in saes:
        layers = ", ".join(map(str, sorted(saes)))
        raise TrackerError(f"There is no {feature}: this bundle has SAEs for the layers {layers}.")
    n_latents = saes[feature.layer].n_latents
    if not 0 <= feature.index < n_latents:
        raise TrackerError(f"There is no {feature}: layer {feature.layer} has the features 0 to {n_latents - 1:,}.")


def _max_activation(feature: Feature, labels: LabelTable) -> float:
    known = float(labels.frame.reindex([tuple(feature)])["max_activation"].iloc[0])
    if not (math.isfinite(known) and known > 0):
        raise TrackerError(
            f"{feature} can't be steered: strength counts in the feature's largest activation in a large body of text, "
            "which this label table doesn't know. `feature-tracker labels measure` measures it on your own text."
        )
    return known


@contextlib.contextmanager
def _explained(what: str) -> Generator[None]:
    """Turn pydantic's first error into a TrackerError: what a key must be, and what was found."""
    try:
        yield
    except ValidationError as error:
        raise TrackerError(f"{what}: {_sentence(error.errors()[0])}") from None


def _sentence(fault: ErrorDetails) -> str:
    if fault["type"] in ("value_error", "json_invalid"):
        return fault["msg"].removeprefix("Value error, ").removesuffix(".") + "."
    *inside, key = [f"number {part + 1}" if isinstance(part, int) else part for part in fault["loc"]] or ["it"]
    place = f" in {', '.join(inside)}" if inside else ""
    if fault["type"] == "unexpected_keyword_argument":
        return f"unknown key {key!r}{place}. Take it out."
    if fault["type"] == "missing":
        return f"key {key!r} is missing{place}."
    expected = _EXPECTED.get(key, "an object in braces" if fault["type"] == "dataclass_type" else "text in quotes")
    found = repr(fault["input"])
    return f"{key}{place} must be {expected}; found {found[:60]}{'…' if len(found) > 60 else ''}."
