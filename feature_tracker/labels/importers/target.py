"""The bundle that labels are imported for: which features it has, and by which names its model goes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from feature_tracker.bundles.model_names import is_named
from feature_tracker.errors import TrackerError
from feature_tracker.feature import Feature

# More digits than any SAE has latents. Spreadsheets and pandas write whole numbers as 4.0 in columns with gaps; 4.000
# and 4,000 may be four thousand.
_WHOLE = re.compile(r"\s*(-?[0-9]{1,12})(?:[.,](?!000\s*$)0+)?\s*")


class Target(NamedTuple):
    """The features of the bundle that labels are imported for.

    Attributes:
        bundle: its name.
        n_latents: latents of each layer's SAE.
        layers_chosen: whether the user left some of the bundle's layers out.
        models: names by which the bundle's model goes, and others that the user accepts; empty to take labels of any
            model.
    """

    bundle: str
    n_latents: Mapping[int, int]
    layers_chosen: bool = False
    models: tuple[str, ...] = ()

    def feature(self, layer: str | int, index: str | int, where: str) -> Feature | None:
        """The feature that a row is about; `None` where the user left its layer out.

        Raises:
            TrackerError: the bundle has no such feature, so the labels belong to another bundle.
            ValueError: not two whole numbers of at most twelve digits.
        """
        feature = Feature(_whole(layer), _whole(index))
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
            TrackerError: the bundle's model goes by other names.
        """
        if self.models and not is_named(name, self.models):
            raise TrackerError(
                f"{where} labels features of model {name}, but the model of bundle {self.bundle} is {self.models[0]}. "
                "Name the bundle of that model with --bundle, or take the file out; where it is the same model by "
                f"another name, import with --accept-model '{name}'. Nothing was written."
            )


def _whole(number: str | int) -> int:
    match = _WHOLE.fullmatch(str(number)) if isinstance(number, str) or abs(number) < 10**12 else None
    if match is None:
        raise ValueError
    return int(match[1])
