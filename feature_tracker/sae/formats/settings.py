"""The settings of an SAE's configuration, by allow-list: each is asked for, known not to matter, or refused."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from feature_tracker.errors import TrackerError
from feature_tracker.files import read_json

_LARGEST_CONFIG = 1_000_000  # bytes; the longest that trainers write has about 5,000

_LARGEST_NUMBER = 1e30  # of a threshold or a norm


class Settings:
    """What a configuration states. A setting of `null` counts as left out.

    A setting may stand in several tables and under several names (SAELens's `hook_name` in the file or in its
    `metadata`, once `hook_point`): all are looked at, and they must agree.

    Args:
        path: the file, for messages.
        tables: by what comes before their settings' names in messages.
    """

    def __init__(self, path: Path, tables: Mapping[str, Mapping[str, Any]]) -> None:
        self.path = path
        self._values = {
            (table, key): value
            for table, values in tables.items()
            for key, value in values.items()
            if value is not None
        }
        self._known: set[str] = set()

    @classmethod
    def read(cls, path: Path, *, nested: str = "") -> Settings:
        """Read a configuration file.

        Args:
            nested: a setting whose own settings are looked at together with the others.

        Raises:
            TrackerError: the file is missing, too large or no JSON object.
        """
        if not path.is_file():
            raise TrackerError(f"{path} is missing; it states what kind of SAE this is, and k.")
        tables = {"": _object(read_json(path, _LARGEST_CONFIG), str(path))}
        if nested and tables[""].get(nested) is not None:
            tables[f"{nested}."] = _object(tables[""].pop(nested), f"{path}: {nested}")
        return cls(path, tables)

    def stated(self, *names: str) -> dict[str, Any]:
        """By place, each value that stands under one of the names."""
        self._known.update(names)
        return {table + key: value for (table, key), value in self._values.items() if key in names}

    def get(self, *names: str, default: Any = None) -> Any:
        """A setting's value.

        Raises:
            TrackerError: two places state different values.
        """
        places = self.stated(*names)
        values = list(places.values())
        if any(not _same(value, values[0]) for value in values[1:]):
            listed = " and ".join(f"{place} = {value!r}" for place, value in places.items())
            raise TrackerError(f"{self.path} contradicts itself: {listed}. Correct the one that is wrong.")
        return values[0] if values else default

    def flag(self, name: str, *, default: bool) -> bool:
        """A setting that is true or false."""
        value = self.get(name, default=default)
        if not isinstance(value, bool):
            raise self.refused(name, value, "true or false")
        return value

    def text(self, *names: str) -> str:
        """A setting that is text; empty where it is left out."""
        value = self.get(*names, default="")
        if not isinstance(value, str):
            raise self.refused(names[0], value, "text in quotes")
        return value

    def number(self, name: str) -> float:
        """A setting that must be there and be a number above 0."""
        value = self.get(name)
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < _LARGEST_NUMBER:
            raise self.refused(name, value, "a number above 0")
        return float(value)

    def whole_number(self, *names: str, at_most: int | None = None) -> int | None:
        """A setting that is a whole number from 1, as 6 or as 6.0; `None` where it is left out."""
        value = self.get(*names)
        if value is None:
            return None
        limit = math.inf if at_most is None else at_most
        if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value <= limit:
            raise self._not_whole(names[0], value, at_most)  # NaN among them
        if value == math.inf or value != int(value):
            raise self._not_whole(names[0], value, at_most)
        return int(value)

    def blocks(self, *names: str) -> dict[str, int]:
        """By place, the numbers of blocks that stand under one of the names, as 3 or as 3.0."""
        blocks = self.stated(*names)
        for where, block in blocks.items():
            if isinstance(block, bool) or not isinstance(block, int | float) or block not in range(10_000):
                raise self.refused(where, block, "the number of a block")
        return {where: int(block) for where, block in blocks.items()}

    def require(self, name: str, *allowed: object) -> Any:
        """Refuse a setting that is neither left out nor one of `allowed`, the first of which is its default."""
        value = self.get(name, default=allowed[0])
        if not any(_same(value, each) for each in allowed):
            raise self.refused(name, value, " or ".join(map(repr, allowed)))
        return value

    def finish(self, harmless: Collection[str]) -> None:
        """Refuse what nobody asked for and what is not known to be harmless, such as how the SAE was trained.

        Raises:
            TrackerError: there is a setting that is neither known, nor false, nor null.
        """
        for (table, key), value in self._values.items():
            if key not in self._known and key not in harmless and value is not False:
                raise TrackerError(
                    f"{self.path}: the tracker doesn't know {table + key!r} = {_short(value)}, so it can't tell "
                    "whether the SAE would be read right. Take it out if it changes nothing that the SAE computes."
                )

    def refused(self, name: str, value: object, allowed: str) -> TrackerError:
        """The error about a setting's value."""
        return TrackerError(f"{self.path}: {name} = {_short(value)} is not supported, only {allowed}.")

    def _not_whole(self, name: str, value: object, at_most: int | None) -> TrackerError:
        upper = "" if at_most is None else f" between 1 and {at_most} latents"
        return TrackerError(f"{self.path}: {name} must be a whole number{upper}, found {_short(value)}.")


def _object(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TrackerError(f"{what} must hold a JSON object, found {type(value).__name__}.")
    return value


def _same(value: object, other: object) -> bool:
    """Whether two values of JSON are one; to Python alone, true is 1."""
    return isinstance(value, bool) == isinstance(other, bool) and value == other


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]} …"
