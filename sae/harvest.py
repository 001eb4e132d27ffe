"""Collect residual streams of a corpus on disk, to train SAEs on and to measure them with.

A harvest is a folder: `windows.npz` (token ids and where each window came from), one raw bfloat16 file a layer with
rows in window order, and `progress.json`. It is written in order and can be resumed after any interruption.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from model.hooks import read_residuals

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Harvest:
    """Residual streams of a corpus, BOS positions left out.

    Attributes:
        folder: where the files are.
        layers: 0-based layers, one file each.
        token_ids: (n_windows, window) int32, BOS first.
        finance: (n_windows,) bool, True where the window comes from finance text.
        d_model: width of the residual stream.
        n_done: windows whose residuals are on disk.
    """

    folder: Path
    layers: tuple[int, ...]
    token_ids: np.ndarray
    finance: np.ndarray
    d_model: int
    n_done: int

    @property
    def n_tokens(self) -> int:
        """Rows in each layer's file: tokens that are not BOS."""
        return self.n_done * (self.token_ids.shape[1] - 1)

    def resid(self, layer: int) -> torch.Tensor:
        """One layer's residual stream, (n_tokens, d_model) bfloat16, mapped from disk."""
        size = self.n_tokens * self.d_model
        flat = torch.from_file(str(self.folder / f"layers.{layer}.bf16"), size=size, dtype=torch.bfloat16)
        return flat.view(self.n_tokens, self.d_model)


def load_harvest(folder: Path) -> Harvest:
    """Open a harvest, finished or not."""
    progress = json.loads((folder / "progress.json").read_text())
    with np.load(folder / "windows.npz") as windows:
        token_ids, finance = windows["token_ids"], windows["finance"]
    return Harvest(folder, tuple(progress["layers"]), token_ids, finance, progress["d_model"], progress["n_done"])


def start_harvest(
    folder: Path, token_ids: np.ndarray, finance: np.ndarray, *, layers: Sequence[int], d_model: int
) -> None:
    """Lay out an empty harvest, unless one stands there already."""
    if (folder / "progress.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "windows.npz", token_ids=token_ids, finance=finance)
    progress = {"layers": list(layers), "d_model": d_model, "n_done": 0}
    (folder / "progress.json").write_text(json.dumps(progress))


def continue_harvest(folder: Path, decoder: nn.Module, *, batch: int = 8) -> Harvest:
    """Run the windows that are still missing and append their residual streams.

    Args:
        decoder: the stack of blocks without head (see `model.hooks.read_residuals`).
        batch: windows a forward; 8 x 256 was the fastest on two cores.
    """
    harvest = load_harvest(folder)
    n_windows, window = harvest.token_ids.shape
    row_bytes = (window - 1) * harvest.d_model * 2
    files = {layer: (folder / f"layers.{layer}.bf16").open("ab") for layer in harvest.layers}
    for file in files.values():
        file.truncate(harvest.n_done * row_bytes)  # a batch half written before an interruption

    def append(layer: int, resid: torch.Tensor) -> None:
        rows = resid[:, 1:].to(torch.bfloat16).contiguous().cpu()
        files[layer].write(rows.view(torch.int16).numpy().tobytes())

    try:
        for start in range(harvest.n_done, n_windows, batch):
            rows = torch.from_numpy(harvest.token_ids[start : start + batch].astype(np.int64))
            read_residuals(decoder, rows, harvest.layers, append)
            for file in files.values():
                file.flush()
            done = min(start + batch, n_windows)
            progress = {"layers": list(harvest.layers), "d_model": harvest.d_model, "n_done": done}
            (folder / "progress.tmp").write_text(json.dumps(progress))
            (folder / "progress.tmp").replace(folder / "progress.json")
            if done % 400 < batch:
                log.info("harvest %s: %d of %d windows", folder.name, done, n_windows)
    finally:
        for file in files.values():
            file.close()
    return load_harvest(folder)
