"""An SAE's two files, `cfg.json` and its safetensors: read once, then checked as each format asks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from feature_tracker.errors import TrackerError

N_LATENTS, D_MODEL = "n_latents", "d_model"
"""Dimensions in the shapes that `SaeFiles.checked_tensors` takes."""


@dataclass(frozen=True)
class SaeFiles:
    """What an SAE's two files hold, not checked yet.

    Attributes:
        config_path: `cfg.json`, for messages.
        config: its settings.
        weights_path: the safetensors, for messages.
        stored: tensors by name, as they are stored.
    """

    config_path: Path
    config: dict[str, Any]
    weights_path: Path
    stored: dict[str, torch.Tensor]

    def require(self, key: str, allowed: object) -> None:
        """Refuse a setting that is neither left out nor `allowed`.

        Raises:
            TrackerError: names the setting and its value.
        """
        if self.config.get(key, allowed) != allowed:
            raise TrackerError(f"{self.config_path}: {key} = {self.config[key]!r} is not supported, only {allowed!r}.")

    def checked_tensors(self, shapes: Mapping[str, tuple[str, ...]], d_model: int | None) -> dict[str, torch.Tensor]:
        """The tensors that `shapes` names, in float32.

        Args:
            shapes: by name, the dimensions as `N_LATENTS` and `D_MODEL`, whose sizes `W_dec` states:
                (n_latents, d_model).
            d_model: width of the model's residual stream; `None` where it is unknown.

        Raises:
            TrackerError: a tensor is missing, has another shape or holds NaN or infinity, or the SAE is for a model of
                another width.
        """
        path = self.weights_path
        lacking = [name for name in shapes if name not in self.stored]
        if lacking:
            raise TrackerError(f"{path} lacks {', '.join(lacking)}; it holds {', '.join(self.stored) or 'nothing'}.")
        decoder_shape = tuple(self.stored["W_dec"].shape)
        if len(decoder_shape) != 2:
            raise TrackerError(f"{path}: W_dec must be (n_latents, d_model), found shape {decoder_shape}.")
        sizes: dict[str, int] = dict(zip((N_LATENTS, D_MODEL), decoder_shape, strict=True))
        tensors = {name: self.stored[name].to(torch.float32) for name in shapes}
        for name, tensor in tensors.items():
            shape = tuple(sizes[dimension] for dimension in shapes[name])
            if tuple(tensor.shape) != shape:
                raise TrackerError(f"{path}: {name} should be {shape}, found {tuple(tensor.shape)}.")
            if not tensor.isfinite().all():
                raise TrackerError(
                    f"{path}: {name} holds NaN or infinity. The file is damaged: copy or train it again."
                )
        if d_model is not None and sizes[D_MODEL] != d_model:
            raise TrackerError(
                f"{path} reads a residual stream {sizes[D_MODEL]} wide, but the model's is {d_model}. "
                "These SAEs were trained on another model: choose the folder that belongs to this one."
            )
        return tensors


def read_sae_files(folder: Path, weights: str) -> SaeFiles:
    """Read an SAE's folder.

    Args:
        weights: name of the safetensors file.

    Raises:
        TrackerError: a file is missing, damaged or a pickle.
    """
    config_path, weights_path = folder / "cfg.json", folder / weights
    try:
        config = json.loads(config_path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TrackerError(f"{config_path} is missing; it states what kind of SAE this is, and k.") from None
    except ValueError as error:
        raise TrackerError(f"{config_path} is not valid JSON ({error}).") from None
    if not isinstance(config, dict):
        raise TrackerError(f"{config_path} must hold a JSON object, found {type(config).__name__}.")
    try:
        return SaeFiles(config_path, config, weights_path, load_file(weights_path))
    except (SafetensorError, OSError) as error:
        if _is_pickle(weights_path):
            raise TrackerError(
                f"{weights_path} holds a pickle, whatever its name says: it can run any program when it is opened, and "
                "is not read. Save the tensors with safetensors.torch.save_file where you trust it."
            ) from None
        raise TrackerError(
            f"{weights_path} can't be read ({error}). It may be cut short: copy or download it again."
        ) from None


def is_integer(value: object) -> TypeGuard[int]:
    """Whether a setting is a whole number; to Python alone, JSON's true and false are numbers too."""
    return isinstance(value, int) and not isinstance(value, bool)


def _is_pickle(path: Path) -> bool:
    """Whether a file begins as torch.save writes it: a zip archive, or before torch 1.6 a pickle."""
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError:
        return False
    # A safetensors file begins with its header's length in eight bytes, which may be any, and "{".
    return start[8:] not in (b"", b"{") and (start[:4] == b"PK\x03\x04" or start[:1] == b"\x80")
