"""Collect the residual streams of a corpus on disk, to train SAEs on and to measure them and their features with.

A harvest is a folder of three kinds of files:

- `windows.npz`: the token ids of each window, and where it comes from; see `corpus.documents.Windows`.
- `layers.N.bf16`: the residual stream of one layer, raw bfloat16, rows in window order.
- `progress.json`: the origin, and the number of windows that are done.

It is written in order and can be resumed after an interruption at any byte.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import nn

from feature_tracker.bundles.bundle import Bundle
from feature_tracker.corpus.documents import Windows, mixed_windows, name_with_size
from feature_tracker.corpus.origin import Origin
from feature_tracker.errors import TrackerError
from feature_tracker.files import replacing
from feature_tracker.model.blocks import block_device
from feature_tracker.model.hooks import ResidReader
from feature_tracker.model.load import LanguageModel
from feature_tracker.sae.topk import Sae, TopK
from feature_tracker.tracing.run import TOKENS_PER_FORWARD, Batch, batched, run

log = logging.getLogger(__name__)

Split = Literal["train", "validation"]

_CHUNK = 16_384  # rows encoded at once


@dataclass(frozen=True)
class Harvest:
    """Residual streams of a corpus, BOS positions left out.

    Attributes:
        folder: where the files are.
        origin: what they were collected from; each of its layers has a file.
        windows: the text.
        n_done: windows whose residual streams are on disk, the first so many.
    """

    folder: Path
    origin: Origin
    windows: Windows
    n_done: int

    @property
    def token_ids(self) -> np.ndarray:
        """(n_windows, window) int32, BOS first."""
        return self.windows.token_ids

    @property
    def finance(self) -> np.ndarray:
        """(n_windows,) bool, True where the window is finance text."""
        return self.windows.finance

    @property
    def n_tokens(self) -> int:
        """Rows in each layer's file, one per token that is not BOS."""
        return self.n_done * (self.token_ids.shape[1] - 1)

    def resid(self, layer: int) -> torch.Tensor:
        """One layer's residual stream, (n_tokens, d_model) bfloat16, mapped from disk.

        Raises:
            TrackerError: nothing has been collected yet.
        """
        if self.n_tokens == 0:
            raise _nothing_collected(self.folder)
        size = self.n_tokens * self.origin.d_model
        flat = torch.from_file(str(_layer_file(self.folder, layer)), size=size, dtype=torch.bfloat16)
        return flat.view(self.n_tokens, self.origin.d_model)

    def encoded(self, layer: int, sae: Sae) -> Iterator[tuple[torch.Tensor, TopK]]:
        """Chunks of one layer's stream, (n, d_model) float32 on the SAE's device, each with its activations."""
        for rows in self.resid(layer).split(_CHUNK):
            resid = rows.to(sae.decoder.device).float()
            yield resid, sae.encode(resid)

    def forward(self, decoder: nn.Module, token_ids: torch.Tensor, layers: Sequence[int], reader: ResidReader) -> None:
        """Hand stored streams to a reader, as a `forward` of `tracing.run.run` that doesn't run the model.

        They are those of the model in bfloat16; BOS positions are 0.

        Args:
            decoder: whose blocks' devices the streams go to.
            token_ids: (n, window), some of the harvest's windows that are done; (n, window - 1) without BOS.

        Raises:
            TrackerError: a window is not among them.
        """
        try:
            n_text = self.token_ids.shape[1] - 1
            text = token_ids.cpu().numpy()[:, -n_text:].astype(np.int32)
            rows = torch.tensor([self._row_of[ids.tobytes()] for ids in text])
        except KeyError:
            raise TrackerError(f"{self.folder} does not hold the activations of this text.") from None
        for layer in layers:
            tokens = self.resid(layer).view(self.n_done, -1, self.origin.d_model)[rows]
            before = (0, 0, token_ids.shape[1] - n_text, 0)
            reader(layer, nn.functional.pad(tokens, before).to(block_device(decoder, layer)))

    @cached_property
    def _row_of(self) -> dict[bytes, int]:
        """By the token ids of a window without BOS, where in the files it is."""
        return {ids.tobytes(): row for row, ids in enumerate(self.token_ids[: self.n_done, 1:])}

    def check_origin(self, expected: Origin) -> None:
        """Refuse a harvest that was collected from something else.

        Raises:
            TrackerError: with every difference.
        """
        differences = expected.differences(self.origin)
        if differences:
            raise TrackerError(
                f"{self.folder} holds activations of something else: {differences}. Give the options they were "
                "collected with, name another folder with --work, or delete this one."
            )


def collect_split(
    split: Split,
    bundle: Bundle,
    language_model: LanguageModel,
    *,
    finance: Path,
    general: Path | None,
    work: Path,
    seed: int,
    max_tokens: int | None = None,
) -> Harvest:
    """The residual streams of one split of the text, in `work/<split>`; what is missing there is collected.

    Args:
        general: `None` for finance text alone.
        seed: of the order of the windows.
        max_tokens: how many tokens of the shuffled windows to use, rounded down to whole windows; all where `None`.

    Raises:
        TrackerError: the folder holds activations of something else or can't be written, or a text can't be read or
            fills no window.
    """
    folder = work / split
    window = language_model.window(bundle.window)
    origin = replace(
        Origin.from_bundle(bundle, language_model.d_model),
        finance_text=(name_with_size(finance),),
        general_text=() if general is None else (name_with_size(general),),
        split=split, window=window, seed=seed, max_tokens=max_tokens or "all",
    )  # fmt: skip
    if (folder / "progress.json").exists():
        load_harvest(folder).check_origin(origin)
    else:
        tokenizer = language_model.tokenizer
        texts = ([finance], [] if general is None else [general])
        windows = mixed_windows(*texts, tokenizer, split=split, window=window, seed=seed)
        n_windows = len(windows.finance) if max_tokens is None else max(1, max_tokens // (window - 1))
        start_harvest(folder, windows.part(slice(n_windows)), origin)
    return continue_harvest(folder, language_model)


def load_harvest(folder: Path) -> Harvest:
    """Open a harvest, finished or not.

    Raises:
        TrackerError: there is none, or it is damaged.
    """
    if not (folder / "progress.json").exists():
        raise _nothing_collected(folder)
    try:
        record = dict(json.loads((folder / "progress.json").read_text(encoding="utf-8")))
        n_recorded = int(record.pop("n_done"))
        with (folder / "windows.npz").open("rb") as file, np.load(file) as arrays:
            stored = {name: arrays[name] for name in Windows._fields if name != "sources"}
            windows = Windows(**stored, sources=tuple(map(str, arrays["sources"])))
        window = windows.token_ids.shape[1]
        origin = Origin.from_record(record | {"window": window})
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise TrackerError(
            f"{folder} is damaged: its progress.json or windows.npz can't be read ({error}). Delete the folder, and "
            "collect the activations again."
        ) from None
    # A copy that was cut short holds fewer windows than were recorded.
    sizes = [path.stat().st_size if path.exists() else 0 for path in (_layer_file(folder, n) for n in origin.layers)]
    n_stored = min(sizes) // _window_bytes(window, origin.d_model)
    return Harvest(folder, origin, windows, min(n_recorded, n_stored))


def start_harvest(folder: Path, windows: Windows, origin: Origin) -> None:
    """Lay out an empty harvest, unless the folder already holds one."""
    if (folder / "progress.json").exists():
        return
    with replacing(folder / "windows.npz") as beside:
        np.savez(beside, allow_pickle=False, **windows._asdict())
    _write_progress(folder, origin, 0)


def continue_harvest(folder: Path, language_model: LanguageModel, *, tokens: int = TOKENS_PER_FORWARD) -> Harvest:
    """Run the windows that are still missing, and append their residual streams.

    Args:
        tokens: size of a batch, BOS included.

    Raises:
        TrackerError: the folder can't be written, or its disk is full.
    """
    try:
        _append_missing(load_harvest(folder), language_model, tokens)
    except OSError as error:
        raise TrackerError(
            f"{folder} can't be written ({error.strerror or error}). Make it writable or free space, and run the same "
            "command again: it goes on from what is there. Or name another folder with --work."
        ) from None
    return load_harvest(folder)


def _append_missing(harvest: Harvest, language_model: LanguageModel, tokens: int) -> None:
    folder, layers, n_done = harvest.folder, harvest.origin.layers, harvest.n_done
    n_windows, window = harvest.token_ids.shape
    with contextlib.ExitStack() as stack:
        files = {layer: stack.enter_context(_layer_file(folder, layer).open("ab")) for layer in layers}
        for file in files.values():  # drop what was written of an unfinished batch
            file.truncate(n_done * _window_bytes(window, harvest.origin.d_model))

        def append(layer: int, resid: torch.Tensor, batch: Batch) -> None:
            rows = batch.tokens_of(resid).to(torch.bfloat16).contiguous().cpu()
            files[layer].write(rows.view(torch.int16).numpy().tobytes())

        missing = (ids.astype(np.int64) for ids in harvest.token_ids[n_done:, 1:])
        batches = batched(missing, window=window, bos_id=language_model.bos_id, tokens=tokens)
        for batch in run(batches, language_model, layers, stream_sinks=[append]):
            for file in files.values():
                file.flush()
                os.fsync(file.fileno())  # progress.json must not reach the disk before what it counts
            n_done += batch.n_windows
            _write_progress(folder, harvest.origin, n_done)
            if n_done % 400 < batch.n_windows:  # about every 400 windows
                log.info("harvest %s: %d of %d windows", folder.name, n_done, n_windows)


def _write_progress(folder: Path, origin: Origin, n_done: int) -> None:
    with replacing(folder / "progress.json") as beside:
        beside.write_text(json.dumps(asdict(origin) | {"n_done": n_done}), encoding="utf-8")


def _layer_file(folder: Path, layer: int) -> Path:
    return folder / f"layers.{layer}.bf16"


def _window_bytes(window: int, d_model: int) -> int:
    return (window - 1) * d_model * torch.bfloat16.itemsize


def _nothing_collected(folder: Path) -> TrackerError:
    return TrackerError(
        f"No activations in {folder}. Collect them first: `feature-tracker sae train` collects those of the training "
        f"text and `feature-tracker sae quality` those of the validation text, both with --work {folder.parent}."
    )
