"""The state of a training run on disk, so that an interrupted run goes on where it stopped."""

from __future__ import annotations

import time
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from feature_tracker.errors import TrackerError
from feature_tracker.files import replacing


class Checkpoint:
    """Keeps parameters and the optimizer's moments in a file, and puts them back when a run begins again.

    Args:
        path: the file; `None` keeps nothing.
        weights: the parameters in training.
        optimizer: of these parameters, with Adam's state.
        purpose: what the state depends on: options and rows. A checkpoint of another purpose is refused.

    Attributes:
        steps_done: steps that the restored state comes after; 0 where there was none.

    Raises:
        TrackerError: the file is damaged, or of another purpose.
    """

    def __init__(self, path: Path | None, weights: nn.Module, optimizer: torch.optim.Adam, purpose: str) -> None:
        self._path, self._weights, self._optimizer, self._purpose = path, weights, optimizer, purpose
        self._saved_at = time.monotonic()
        self.steps_done = 0
        if path is not None and path.exists():
            self._restore(path)

    def save_each(self, seconds: float, *, steps_done: int) -> None:
        """Save the state if the last save is so many seconds ago.

        Raises:
            TrackerError: the file can't be written.
        """
        if self._path is None or time.monotonic() - self._saved_at < seconds:
            return
        tensors = {f"weights.{name}": tensor for name, tensor in self._weights.state_dict().items()}
        for index, moments in self._optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": tensor.clone() for name, tensor in moments.items()}
        with replacing(self._path) as beside:
            try:
                save_file(tensors, beside, {"purpose": self._purpose, "steps_done": str(steps_done)})
            except SafetensorError as error:
                raise TrackerError(f"{self._path} can't be written ({error}). Free space, and run it again.") from None
        self._saved_at = time.monotonic()

    def discard(self) -> None:
        """Remove the file."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _restore(self, path: Path) -> None:
        try:
            with safe_open(path, "pt") as file:
                record = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            purpose, self.steps_done = record["purpose"], int(record["steps_done"])
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            raise TrackerError(f"{path} is no checkpoint of training, or is damaged ({error}). Delete it.") from None
        if purpose != self._purpose:
            raise TrackerError(
                f"{path} holds the training of something else: expected {self._purpose}, found {purpose}. Give the "
                "options it was begun with, or delete it."
            )
        self._weights.load_state_dict(
            {name.removeprefix("weights."): tensors[name] for name in tensors if name.startswith("weights.")}
        )
        moments: dict[int, dict[str, torch.Tensor]] = {}
        for name in tensors:
            part, _, rest = name.partition(".")
            if part == "optimizer":
                index, _, moment = rest.partition(".")
                moments.setdefault(int(index), {})[moment] = tensors[name]
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": moments, "param_groups": groups})
