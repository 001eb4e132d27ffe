"""Collect residual streams of a corpus on disk, to train SAEs on and to measure them with.

A harvest is a folder: `windows.npz` (token ids and where each window came from), one raw bfloat16 file a layer with
rows in window order, and `progress.json`, which says what it was collected from. It is written in order and can be
resumed after any interruption.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from feature_tracker.errors import TrackerError
from feature_tracker.files import replacing
from feature_tracker.model.hooks import read_residuals
from feature_tracker.model.load import LanguageModel
from feature_tracker.training.origin import Origin

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Harvest:
    """Residual streams of a corpus, BOS positions left out.

    Attributes:
        folder: where the files are.
        origin: what they were collected from; its layers have one file each.
        token_ids: (n_windows, window) int32, BOS first.
        finance: (n_windows,) bool, True where the window comes from finance text.
        n_done: windows whose residuals are on disk.
    """

    folder: Path
    origin: Origin
    token_ids: np.ndarray
    finance: np.ndarray
    n_done: int

    @property
    def n_tokens(self) -> int:
        """Rows in each layer's file: tokens that are not BOS."""
        return self.n_done * (self.token_ids.shape[1] - 1)

    def resid(self, layer: int) -> torch.Tensor:
        """One layer's residual stream, (n_tokens, d_model) bfloat16, mapped from disk."""
        size = self.n_tokens * self.origin.d_model
        flat = torch.from_file(str(self.folder / f"layers.{layer}.bf16"), size=size, dtype=torch.bfloat16)
        return flat.view(self.n_tokens, self.origin.d_model)


def load_harvest(folder: Path) -> Harvest:
    """Open a harvest, finished or not.

    Raises:
        TrackerError: there is none.
    """
    try:
        progress = json.loads((folder / "progress.json").read_text())
    except FileNotFoundError:
        raise TrackerError(
            f"No activations in {folder}. Collect them first: feature-tracker sae train (train) and feature-tracker "
            f"sae quality (validation), with --work {folder.parent}."
        ) from None
    with np.load(folder / "windows.npz") as windows:
        token_ids, finance = windows["token_ids"], windows["finance"]
    n_done = progress.pop("n_done")
    record: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in progress.items()
    }
    return Harvest(folder, Origin(**record | {"window": token_ids.shape[1]}), token_ids, finance, n_done)


def start_harvest(folder: Path, token_ids: np.ndarray, finance: np.ndarray, origin: Origin) -> None:
    """Lay out an empty harvest, unless one stands there already."""
    if (folder / "progress.json").exists():
        return
    with replacing(folder / "windows.npz") as beside:
        np.savez(beside, token_ids=token_ids, finance=finance)
    _write_progress(folder, origin, 0)


def continue_harvest(folder: Path, language_model: LanguageModel, *, batch: int = 8) -> Harvest:
    """Run the windows that are still missing and append their residual streams.

    Args:
        batch: windows a forward; 8 x 256 was the fastest on two cores.
    """
    harvest = load_harvest(folder)
    n_windows, window = harvest.token_ids.shape
    row_bytes = (window - 1) * harvest.origin.d_model * 2
    layers = harvest.origin.layers
    files = {layer: (folder / f"layers.{layer}.bf16").open("ab") for layer in layers}
    for file in files.values():
        file.truncate(harvest.n_done * row_bytes)  # a batch half written before an interruption

    def append(layer: int, resid: torch.Tensor) -> None:
        rows = resid[:, 1:].to(torch.bfloat16).contiguous().cpu()
        files[layer].write(rows.view(torch.int16).numpy().tobytes())

    try:
        for start in range(harvest.n_done, n_windows, batch):
            rows = torch.from_numpy(harvest.token_ids[start : start + batch].astype(np.int64))
            read_residuals(language_model.decoder, rows.to(language_model.model.device), layers, append)
            for file in files.values():
                file.flush()
            done = min(start + batch, n_windows)
            _write_progress(folder, harvest.origin, done)
            if done % 400 < batch:
                log.info("harvest %s: %d of %d windows", folder.name, done, n_windows)
    finally:
        for file in files.values():
            file.close()
    return load_harvest(folder)


def _write_progress(folder: Path, origin: Origin, n_done: int) -> None:
    with replacing(folder / "progress.json") as beside:
        beside.write_text(json.dumps(asdict(origin) | {"n_done": n_done}))
