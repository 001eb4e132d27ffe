"""What the user sets beside a bundle's file. No other module reads the environment."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from feature_tracker.errors import TrackerError

_SURROGATE = re.compile("[\ud800-\udfff]")  # what Python makes of bytes that are not UTF-8
_APP = "feature-activation-tracker"


def absolute_path(text: str | Path, start: Path | None = None) -> Path:
    """A path as a person writes it: `~` is the home folder, and a relative path starts from `start`.

    Args:
        start: the working directory where left out.

    Raises:
        TrackerError: there is no such home folder, or this machine can have no such path.
    """
    try:
        path = (start or Path.cwd()) / Path(text).expanduser()
    except RuntimeError:
        raise TrackerError(f"{text} starts in the home folder of an unknown user. Write the path out.") from None
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        pass  # it need not be there yet
    except (OSError, ValueError) as error:  # too long, or with a NUL in it
        reason = error.strerror if isinstance(error, OSError) else error
        raise TrackerError(f"{str(path)[:200]!r} can't be a path on this machine ({reason}). Correct it.") from None
    return path


_UserPath = Annotated[Path | None, AfterValidator(lambda path: path and absolute_path(path))]


class Overrides(BaseModel):
    """What replaces a bundle's own values, as command-line options or the environment state it.

    `None` keeps the bundle's value, and blank text counts as `None`. `load_bundle` checks the values.

    Attributes:
        origin: where the values come from, for messages.
        model: hub id or folder.
        revision: of the hub id.
        dtype: see `Bundle.dtype`.
        layers: block indices, separated by spaces or commas.
        saes: SAE folder.
        labels: label table.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)
    origin: ClassVar[str] = "Command-line options"

    model: str | None = None
    revision: str | None = None
    dtype: str | None = None
    layers: str | None = None
    saes: _UserPath = None
    labels: _UserPath = None

    @field_validator("*", mode="before")
    @classmethod
    def _blank_is_unset(cls, value: object) -> object:
        if isinstance(value, str) and _SURROGATE.search(value):
            raise TrackerError(f"{cls.origin}: {value!a} is not in UTF-8. Write it in UTF-8.")
        return None if isinstance(value, str) and not value.strip() else value

    @property
    def any_set(self) -> bool:
        """Whether any value of the bundle is replaced."""
        return any(getattr(self, name) is not None for name in Overrides.model_fields)


class Environment(Overrides, BaseSettings):
    """The variables `FEATURE_TRACKER_…`; what they override belongs to the user's own bundle alone.

    Attributes:
        bundle: the user's own bundle, by name or as a TOML file's path; see `user_bundle`.
        bundles: a folder with more of the user's bundles.
        archives: a folder of archives, which everybody who reaches the page may read.
        cache: where fetched models lie; see `cache_folder`.
        wheel: the built-in model's wheel, where it lies on this machine already.
    """

    model_config = SettingsConfigDict(env_prefix="FEATURE_TRACKER_", extra="ignore")
    origin: ClassVar[str] = "Environment variables FEATURE_TRACKER_…"

    bundle: str | None = None
    bundles: _UserPath = None
    archives: _UserPath = None
    cache: _UserPath = None
    wheel: _UserPath = None
    xdg_cache_home: Annotated[Path | None, Field(validation_alias="XDG_CACHE_HOME")] = None
    xdg_data_home: Annotated[Path | None, Field(validation_alias="XDG_DATA_HOME")] = None

    @property
    def user_bundle(self) -> str:
        """Name or path of the user's own bundle, as `load_bundle` takes it."""
        return self.bundle or "llama2-7b-finance"

    @property
    def cache_folder(self) -> Path:
        """Where fetched models lie; it need not exist yet."""
        return self.cache or _base_folder(self.xdg_cache_home, ".cache") / _APP

    @property
    def data_folder(self) -> Path:
        """Where the user's own files lie when the package is installed without a checkout; it need not exist yet."""
        return _base_folder(self.xdg_data_home, ".local/share") / _APP


def child_environment(**changes: str) -> dict[str, str]:
    """Environment for a child process: this one's, with the user's pip and proxy settings, plus changes."""
    return {**os.environ, **changes}


def _base_folder(stated: Path | None, default: str) -> Path:
    # The XDG base directory specification ignores relative paths, too.
    return stated if stated and stated.is_absolute() else Path.home() / default
