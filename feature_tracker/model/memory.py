"""How much memory a model needs and how much is free, before any weight is loaded."""

from __future__ import annotations

import os
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open

from feature_tracker.bundles.missing import weight_files
from feature_tracker.errors import TrackerError

_BYTES = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0}
_WORKING_SHARE = 0.02
"""Extra memory as a share of the weights: activations of 2,048 tokens at a time, and the libraries' buffers."""


class Free(NamedTuple):
    """Free memory in bytes."""

    gpu: int
    """On all GPUs together."""
    host: int | None
    """`None` where the system doesn't tell."""


class StoredTensor(NamedTuple):
    """A tensor of a safetensors file."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    """As the file's header names it, such as `BF16`."""

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)


def stored_tensors(folder: Path) -> Iterator[StoredTensor]:
    """Every tensor of the files that a folder's weights are read from; only the files' headers are read.

    Raises:
        TrackerError: a file is missing, cut short or not a safetensors file.
    """
    for path in weight_files(folder):
        try:
            # "pt" would map a file's whole length as writable, which fails where memory is short.
            with safe_open(path, framework="numpy") as file:
                slices = ((name, file.get_slice(name)) for name in file.offset_keys())
                yield from [StoredTensor(name, tuple(part.get_shape()), part.get_dtype()) for name, part in slices]
        except (OSError, SafetensorError) as error:
            raise TrackerError(
                f"{path} is not a whole safetensors file ({error}). Copy or download it again."
            ) from None


def needed_bytes(folder: Path, dtype: str) -> int:
    """Memory that a folder's model and its work on a text take.

    Args:
        dtype: `bfloat16`, `float16`, `float32` or `int8`; for the last, bitsandbytes keeps the blocks' matrices in 8
            bits and everything else in half precision.
    """
    total = 0.0
    for tensor in stored_tensors(folder):
        matrix = len(tensor.shape) == 2 and not any(part in tensor.name for part in ("embed", "lm_head", "wte", "wpe"))
        size = (1.0 if matrix else 2.0) if dtype == "int8" else _BYTES[dtype]
        total += size * tensor.size
    return round(total * (1 + _WORKING_SHARE))


def free_memory() -> Free:
    """Memory that is free now."""
    gpu = sum(torch.cuda.mem_get_info(index)[0] for index in range(torch.cuda.device_count()))
    return Free(gpu, _free_host())


def check_fits(name: str, folder: Path, dtype: str, free: Free, *, eight_bit: bool) -> None:
    """Refuse a model that the GPUs and the host together can't hold.

    Args:
        name: what the model is called in the message.
        dtype: as for `needed_bytes`.
        free: see `free_memory`.
        eight_bit: whether bitsandbytes is installed and has a GPU to work on.

    Raises:
        TrackerError: it doesn't fit; the message has both numbers and what would help.
    """
    needed = needed_bytes(folder, dtype)
    # Quantized weights stay on the GPU: what bitsandbytes leaves to the host is not quantized.
    available = free.gpu if dtype == "int8" else free.gpu + (free.host or 0)
    if free.host is None or needed <= available:
        return
    smaller = {other: needed_bytes(folder, other) for other in ("bfloat16", "int8")}
    ways = [
        f"dtype {other} ({_gb(size)})"
        for other, size in smaller.items()
        if size < needed and size <= (free.gpu if other == "int8" else available) and (eight_bit or other != "int8")
    ]
    ways += ["a smaller model", "a machine with more memory"]
    where = f"{_gb(free.gpu)} on the GPU and {_gb(free.host)} of the host's memory" if free.gpu else "memory"
    hint = ""
    if dtype != "int8" and not eight_bit and free.gpu:
        hint = f" In 8 bits it would need {_gb(smaller['int8'])}: install bitsandbytes to offer that (dtype int8)."
    raise TrackerError(
        f"{name} needs {_gb(needed)} in {dtype}, {_gb(available)} free ({where}): use {', '.join(ways[:-1])} or "
        f"{ways[-1]}, or close other programs.{hint}"
    )


def _gb(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


def _free_host() -> int | None:
    """Memory that a new program can take without swapping, within a container's limit."""
    free = _from_meminfo()
    if free is None:
        try:
            free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        except (ValueError, OSError, AttributeError):  # macOS and Windows know no such name
            return None
    limit = _container_limit()
    return free if limit is None else min(free, limit)


def _from_meminfo() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    kilobytes = next((line.split()[1] for line in lines if line.startswith("MemAvailable:")), None)
    return None if kilobytes is None else int(kilobytes) * 1024


def _container_limit() -> int | None:
    """Memory that a control group (version 2, as in a container) still allows; pages it can drop count as free."""
    group = Path("/sys/fs/cgroup")
    try:
        limit = (group / "memory.max").read_text().strip()
        used = int((group / "memory.current").read_text())
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return None
    return None if limit == "max" else int(limit) - used + int(stat.get("inactive_file", 0))
