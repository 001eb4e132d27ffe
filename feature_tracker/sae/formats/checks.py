"""Read an SAE's two files, and check what stands in them before it is used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeGuard

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from feature_tracker.errors import TrackerError


def read_config(path: Path) -> dict[str, Any]:
    """An SAE's `cfg.json`.

    Raises:
        TrackerError: it is missing or holds no JSON object.
    """
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TrackerError(f"{path} is missing; it states what kind of SAE this is, and k.") from None
    except ValueError as error:
        raise TrackerError(f"{path} is not valid JSON ({error}).") from None
    if not isinstance(config, dict):
        raise TrackerError(f"{path} must hold a JSON object, found {type(config).__name__}.")
    return config


def require(path: Path, config: dict[str, Any], key: str, allowed: Any) -> None:
    """Refuse a setting by its name where it is neither left out nor `allowed`."""
    if config.get(key, allowed) != allowed:
        raise TrackerError(f"{path}: {key} = {config[key]!r} is not supported, only {allowed!r}.")


def is_whole(value: Any) -> TypeGuard[int]:
    """Whether a setting is a whole number; JSON's true and false are numbers to Python alone."""
    return isinstance(value, int) and not isinstance(value, bool)


def read_tensors(path: Path, names: list[str]) -> dict[str, torch.Tensor]:
    """The named tensors of a safetensors file, in float32.

    Raises:
        TrackerError: it can't be read, or lacks one.
    """
    try:
        stored = load_file(path)
    except (SafetensorError, OSError) as error:
        if _is_pickle(path):
            raise TrackerError(
                f"{path} holds a pickle, whatever its name says: it can run any program when it is opened, and is not "
                "read. Save the tensors with safetensors.torch.save_file where you trust it."
            ) from None
        raise TrackerError(f"{path} can't be read ({error}). It may be cut short: copy or download it again.") from None
    lacking = [name for name in names if name not in stored]
    if lacking:
        raise TrackerError(f"{path} lacks {', '.join(lacking)}; it holds {', '.join(stored) or 'nothing'}.")
    return {name: stored[name].to(torch.float32) for name in names}


def _is_pickle(path: Path) -> bool:
    """Whether a file begins as torch.save writes it: a zip archive, or before torch 1.6 a pickle."""
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError:
        return False
    # Safetensors begin with the header's length in eight bytes, whichever these are, and "{".
    return start[8:] not in (b"", b"{") and (start[:4] == b"PK\x03\x04" or start[:1] == b"\x80")


def check_tensors(
    path: Path, tensors: dict[str, torch.Tensor], shapes: dict[str, tuple[int, ...]], d_model: int | None
) -> None:
    """Refuse tensors of other shapes, with NaN or infinity in them, or for a model of another width.

    Args:
        shapes: what each tensor should be; the one of `b_dec` gives the width.
        d_model: of the model, None where it isn't known.
    """
    for name, tensor in tensors.items():
        if tuple(tensor.shape) != shapes[name]:
            raise TrackerError(f"{path}: {name} should be {shapes[name]}, found {tuple(tensor.shape)}.")
        if not tensor.isfinite().all():
            raise TrackerError(f"{path}: {name} holds NaN or infinity. The file is damaged: copy or train it again.")
    width = shapes["b_dec"][0]
    if d_model is not None and width != d_model:
        raise TrackerError(
            f"{path} reads a residual stream {width} wide, but the model's is {d_model}. "
            "These SAEs were trained on another model: choose the folder that belongs to this one."
        )


def matrix_shape(path: Path, tensors: dict[str, torch.Tensor], name: str) -> tuple[int, int]:
    """(n_latents, d_model), as a decoder states them."""
    shape = tuple(tensors[name].shape)
    if len(shape) != 2:
        raise TrackerError(f"{path}: {name} must be (n_latents, d_model), found shape {shape}.")
    return shape
