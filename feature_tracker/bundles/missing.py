"""What a bundle lacks on this machine, told before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from feature_tracker.bundles.bundle import Bundle, PretrainedSource
from feature_tracker.bundles.settings import LABELS_VARIABLE, MODEL_VARIABLE, SAES_VARIABLE
from feature_tracker.errors import TrackerError

PICKLES = (
    "Weights in another format (.bin, .pt) are pickles, which can run any program when they are opened, and are not "
    "read. Convert them where you trust them: transformers' model.save_pretrained(folder) writes safetensors; then "
    f"name that folder by {MODEL_VARIABLE}."
)
_PICKLED = (".pt", ".pth", ".bin", ".pkl")
_SPARSIFY, _SAELENS = "sae.safetensors", "sae_weights.safetensors"


def require_parts(bundle: Bundle) -> None:
    """Refuse a bundle that `missing_parts` finds incomplete.

    Raises:
        TrackerError: with all that is missing.
    """
    missing = missing_parts(bundle)
    if missing:
        raise TrackerError(f"Bundle {bundle.name} is not complete. {' '.join(missing)}")


def missing_parts(bundle: Bundle) -> list[str]:
    """What must be there and isn't, a sentence each: what was looked for, what it holds, what sets it.

    Only names of files are looked at; a model on the hub is taken to be there. Labels may be missing: `labels_note`.
    """
    found = [_missing_saes(bundle)]
    if isinstance(bundle.model, PretrainedSource) and bundle.model.folder is not None:
        found.append(_missing_model(bundle.model.folder))
    return [sentence for sentence in found if sentence]


def labels_note(bundle: Bundle) -> str:
    """What to do where a bundle has no label table yet; empty where it has one."""
    if bundle.labels.exists():
        return ""
    return (
        f"No label table at {bundle.labels}: features show as “unlabelled”. Make one from other tools' files with "
        f"`feature-tracker labels import PATH… --bundle {bundle.name}` and start again, or name one by {LABELS_VARIABLE}, "
        "--labels, or `labels` in the bundle's TOML file."
    )


def pickles_in(folder: Path) -> list[Path]:
    """Files of a folder that are pickles by their names, in order."""
    return [path for path in sorted(folder.glob("*")) if path.suffix in _PICKLED]


def refused_pickle(folders: Iterable[Path]) -> str:
    """Why the first pickle in these SAE folders is not read, a space behind it; empty where there is none."""
    pickles = [path for folder in folders for path in pickles_in(folder)]
    if not pickles:
        return ""
    return (
        f"{pickles[0]} is a pickle, which can run any program when it is opened, and is not read: save it as "
        "safetensors. "
    )


def _missing_saes(bundle: Bundle) -> str:
    folder = bundle.sae_folder
    named = [folder / f"layers.{layer}" for layer in bundle.layers]
    lacking = [path for path in named if not ((path / _SPARSIFY).is_file() or (path / _SAELENS).is_file())]
    if not lacking or (folder / _SAELENS).is_file() or any(folder.glob(f"*/{_SAELENS}")):
        return ""  # SAELens's folders may have any name: which layers they hold shows when they are loaded
    without = ", ".join(f"{path.name}{'/' + _SPARSIFY if path.is_dir() else ''}" for path in lacking)
    what = f"it lacks {without}" if folder.is_dir() else "there is no such folder"
    return (
        f"SAE folder: looked for {folder}, but {what}. {refused_pickle(lacking)}It must hold "
        f"{', '.join(path.name for path in named)}, each with cfg.json and {_SPARSIFY} (sparsify) or "
        f"{_SAELENS} (SAELens). Name it by {SAES_VARIABLE}, --saes, or `sae_folder` in the bundle's TOML file."
    )


def _missing_model(folder: Path) -> str:
    lacking = [] if (folder / "config.json").is_file() else ["config.json"]
    lacking += [] if any(folder.glob("*.safetensors")) else ["*.safetensors"]
    if not lacking:
        return ""
    what = f"it lacks {' and '.join(lacking)}" if folder.is_dir() else "there is no such folder"
    has_pickles = lacking[-1] == "*.safetensors" and pickles_in(folder)
    return (
        f"Model folder: looked for {folder}, but {what}. {PICKLES + ' ' if has_pickles else ''}It must hold "
        "config.json, the weights as *.safetensors and the tokenizer's files (tokenizer.json). Name it by "
        f"{MODEL_VARIABLE}, --model, or `folder` under [model] in the bundle's TOML file; a model of the Hugging Face "
        "hub by its id."
    )
