"""A bundle says in one TOML file which model, SAEs and labels belong together."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, cast, get_args

from feature_tracker.bundles.overrides import Overrides
from feature_tracker.bundles.settings import named_bundle, own_settings
from feature_tracker.bundles.source import ModelSource, PretrainedSource, named_source
from feature_tracker.errors import TrackerError
from feature_tracker.files import data_root

__all__ = ["BUILT_IN", "OWN", "Bundle", "Dtype", "ModelSource", "PretrainedSource", "load_bundle", "own_bundle"]

BUILT_IN = "smollm2-135m"
OWN = "llama2-7b-finance"
"""The user's bundle, where `FEATURE_TRACKER_BUNDLE` names no other."""
BUNDLES = Path(__file__).resolve().parent

Dtype = Literal["auto", "bfloat16", "float16", "float32", "int8"]


@dataclass(frozen=True)
class Bundle:
    """Model, SAEs and labels that belong together.

    Attributes:
        name: file name of the TOML without its ending; names the label table too.
        title: what the page calls it.
        layers: 0-based decoder blocks with an SAE, ascending.
        window: tokens a forward sees at once, BOS included; a model with fewer positions sees those.
        max_tokens: longest text the page takes, in tokens without BOS.
        dtype: the model's arithmetic; `auto` is half precision where the processor multiplies it natively, else
            float32; `int8` has bitsandbytes quantize the weights. SAE arithmetic is float32 either way.
        model: where the model comes from.
        sae_folder: holds `layers.N` for each layer.
        labels: the label table (CSV); it need not exist yet.
        layers_chosen: whether an option or variable set `layers`; the label table may then hold more of them.
    """

    name: str
    title: str
    layers: tuple[int, ...]
    window: int
    max_tokens: int
    dtype: Dtype
    model: ModelSource | PretrainedSource
    sae_folder: Path
    labels: Path
    layers_chosen: bool = False

    def __post_init__(self) -> None:
        whole = all(isinstance(layer, int) for layer in self.layers)
        if not whole or not self.layers or list(self.layers) != sorted(set(self.layers)) or self.layers[0] < 0:
            raise TrackerError(f"layers must be distinct block indices from 0, ascending; found {list(self.layers)}.")
        if not isinstance(self.window, int) or self.window < 2:
            raise TrackerError(f"window must hold BOS and at least one token, found {self.window!r}; set 2 or more.")
        if not isinstance(self.max_tokens, int) or self.max_tokens < 1:
            raise TrackerError(f"max_tokens must be at least 1, found {self.max_tokens!r}.")
        if self.dtype not in get_args(Dtype):
            raise TrackerError(f"dtype must be {', '.join(get_args(Dtype))}; found {self.dtype!r}.")


def load_bundle(name: str = BUILT_IN, overrides: Overrides | None = None) -> Bundle:
    """Read `bundles/<name>.toml`, or the TOML file that `name` is a path to.

    Relative paths in the file are relative to the project's root.

    Args:
        overrides: what a command line sets in the bundle's place. What environment variables set comes before the
            file, in the user's own bundle alone.

    Raises:
        TrackerError: no such file, not TOML, a key missing, unknown or of a wrong value.
    """
    path = Path(name).expanduser() if name.endswith(".toml") else BUNDLES / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in BUNDLES.glob("*.toml")))
        raise TrackerError(f"No bundle {name!r}: looked for {path}. Bundles here: {known}.")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TrackerError(f"{path} can't be read ({error.strerror}).") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TrackerError(f"{path} is not valid TOML ({error}). Compare it with bundles/{BUILT_IN}.toml.") from None
    bundle = _bundle_from(table, path)
    if name == own_bundle():
        bundle = _overridden(bundle, own_settings())
    return bundle if overrides is None else _overridden(bundle, overrides)


def own_bundle() -> str:
    """Name or path of the user's own bundle, to which the environment's settings belong."""
    return named_bundle() or OWN


def _bundle_from(table: dict[str, Any], path: Path) -> Bundle:
    source = table.pop("model", None)
    if not isinstance(source, dict):
        raise TrackerError(f"{path} needs a table [model]; it has none.")
    kind = PretrainedSource if {"id", "folder"} & source.keys() else ModelSource
    _check_keys(source, kind, f"{path}, [model]")
    table.setdefault("labels", f"labels/{path.stem}.csv")
    _check_keys(table, Bundle, str(path), given=("name", "model", "layers_chosen"))
    if not isinstance(table["layers"], list):
        raise TrackerError(f"{path}: layers must be a list of block indices, found {table['layers']!r}.")
    try:
        for key, place in (("sae_folder", table), ("labels", table), ("folder", source)):
            if key in place:
                place[key] = data_root() / Path(place[key]).expanduser()
        table["layers"] = tuple(table["layers"])
        return Bundle(name=path.stem, model=kind(**source), **table)
    except TrackerError as error:
        raise TrackerError(f"{path}: {error}") from None


def _check_keys(table: dict[str, Any], kind: type, where: str, *, given: Sequence[str] = ()) -> None:
    wanted = {field.name: field.default is MISSING for field in fields(kind) if field.name not in given}
    texts = {field.name for field in fields(kind) if field.type in ("str", "Path", "Path | None", "Dtype")}
    for key, value in table.items():
        if key not in wanted:
            raise TrackerError(f"{where}: unknown key {key!r}; it takes {', '.join(wanted)}.")
        if key in texts and not isinstance(value, str):
            raise TrackerError(f"{where}: {key} must be a text in quotes, found {value!r}.")
    needed = [key for key, is_needed in wanted.items() if is_needed]
    for key in needed:
        if key not in table:
            raise TrackerError(f"{where}: key {key!r} is missing; it needs {', '.join(needed)}.")


def _overridden(bundle: Bundle, overrides: Overrides) -> Bundle:
    """The bundle with what was set instead; relative paths start from the working directory."""
    model = bundle.model
    if overrides.model:
        own = model if isinstance(model, PretrainedSource) else PretrainedSource(id=overrides.model)
        model = named_source(overrides.model, revision="main", bos=own.bos)
    if overrides.revision:
        if not isinstance(model, PretrainedSource) or not model.id:
            raise TrackerError(
                "A revision belongs to a model of the Hugging Face hub; this bundle's is not from there."
            )
        model = replace(model, revision=overrides.revision)
    return replace(
        bundle,
        model=model,
        dtype=cast(Dtype, overrides.dtype) or bundle.dtype,
        layers=_layers(overrides.layers) or bundle.layers,
        layers_chosen=bundle.layers_chosen or bool(overrides.layers),
        sae_folder=Path(overrides.saes).expanduser().absolute() if overrides.saes else bundle.sae_folder,
        labels=Path(overrides.labels).expanduser().absolute() if overrides.labels else bundle.labels,
    )


def _layers(text: str) -> tuple[int, ...]:
    parts = re.split(r"[\s,]+", text) if text else []
    if not all(part.isdecimal() for part in parts):
        raise TrackerError(f"Layers are block indices separated by spaces or commas, such as 4 10 16; found {text!r}.")
    return tuple(int(part) for part in parts)
