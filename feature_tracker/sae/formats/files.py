"""An SAE's tensors, from safetensors or npz: read once, then checked as each format asks. No pickle is opened."""

from __future__ import annotations

import ast
import math
import re
import zipfile
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from feature_tracker.bundles.missing import convert_command
from feature_tracker.errors import TrackerError

N_LATENTS, D_MODEL = "n_latents", "d_model"
"""Dimensions in the shapes that `Tensors.checked` takes."""

_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_LARGEST_HEADER = 10_000  # bytes; one of three settings has about 120
_MOST_COMPRESSED = 20  # times: weights hardly shrink, so a file that unpacks to more is none


@dataclass(frozen=True)
class Tensors:
    """What a file of weights holds, not checked yet.

    Attributes:
        path: for messages.
        stored: tensors by name, as they are stored.
    """

    path: Path
    stored: dict[str, torch.Tensor]

    def checked(
        self,
        shapes: Mapping[str, tuple[str, ...]],
        d_model: int | None,
        *,
        decoder: str = "W_dec",
        ones: Collection[str] = (),
    ) -> dict[str, torch.Tensor]:
        """The tensors that `shapes` names, in float32, and no others.

        Args:
            shapes: by name, the dimensions as `N_LATENTS` and `D_MODEL`, whose sizes the decoder states.
            d_model: width of the model's residual stream; `None` where it is unknown.
            decoder: name of the tensor with both dimensions that gives the sizes.
            ones: names of tensors that may also be there if they are all 1, and so change nothing.

        Raises:
            TrackerError: a tensor is missing, is not one that this kind of SAE has, has another shape or dtype, or
                holds NaN or infinity, or the SAE is for a model of another width.
        """
        lacking = [name for name in shapes if name not in self.stored]
        if lacking:
            raise TrackerError(
                f"{self.path} lacks {', '.join(lacking)}; it holds {', '.join(map(repr, self.stored)) or 'nothing'}."
            )
        self._refuse_others(shapes.keys(), ones)
        sizes = self._sizes(decoder, shapes[decoder])
        tensors = {name: self._checked_tensor(name, dimensions, sizes) for name, dimensions in shapes.items()}
        if d_model is not None and sizes[D_MODEL] != d_model:
            raise TrackerError(
                f"{self.path} reads a residual stream {sizes[D_MODEL]} wide, but the model's is {d_model}. "
                "These SAEs were trained on another model: choose the folder that belongs to this one."
            )
        return tensors

    def _refuse_others(self, known: Collection[str], ones: Collection[str]) -> None:
        neutral = {name for name in ones if name in self.stored and bool((self.stored[name] == 1).all())}
        others = sorted(self.stored.keys() - set(known) - neutral)
        if others:
            raise TrackerError(
                f"{self.path} also holds {', '.join(map(repr, others))}, which an SAE of the kind that its "
                "configuration states doesn't have, so it would be read wrong. State the kind that it is, or take the "
                "tensor out if it changes nothing."
            )

    def _sizes(self, decoder: str, dimensions: tuple[str, ...]) -> dict[str, int]:
        shape = tuple(self.stored[decoder].shape)
        if len(shape) != 2 or 0 in shape:
            raise TrackerError(f"{self.path}: {decoder} must be ({', '.join(dimensions)}), found shape {shape}.")
        return dict(zip(dimensions, shape, strict=True))

    def _checked_tensor(self, name: str, dimensions: tuple[str, ...], sizes: dict[str, int]) -> torch.Tensor:
        stored, shape = self.stored[name], tuple(sizes[dimension] for dimension in dimensions)
        if tuple(stored.shape) != shape:
            raise TrackerError(f"{self.path}: {name} should be {shape}, found {tuple(stored.shape)}.")
        if stored.dtype not in _DTYPES:
            raise TrackerError(
                f"{self.path}: {name} should hold floating-point numbers of 16, 32 or 64 bits, found {stored.dtype}."
            )
        tensor = stored.to(torch.float32)
        if not tensor.isfinite().all():
            raise TrackerError(
                f"{self.path}: {name} holds NaN or infinity. The file is damaged: copy or train it again."
            )
        return tensor


def read_tensors(path: Path) -> Tensors:
    """Read a file of weights, safetensors or npz by its ending.

    Raises:
        TrackerError: it is damaged, or a pickle.
    """
    try:
        return Tensors(path, _read_npz(path) if path.suffix == ".npz" else load_file(path))
    except (
        SafetensorError,
        OSError,
        ValueError,
        EOFError,
        zipfile.BadZipFile,
        zlib.error,
        NotImplementedError,
    ) as error:
        if _is_pickle(path):
            raise TrackerError(
                f"{path} holds a pickle, whatever its name says: it can run any program when it is opened, and is not "
                f"read. {convert_command(path)}"
            ) from None
        raise TrackerError(
            f"{path} can't be read ({error!r}). It may be cut short or damaged: copy or download it again."
        ) from None


def _read_npz(path: Path) -> dict[str, torch.Tensor]:
    """The arrays of an npz file.

    numpy's own reader believes an array's header, and would take any amount of memory for it; here the header must
    agree with the size of the member.

    Raises:
        ValueError: an array is not one of numbers, or its header doesn't fit its size. Other errors are the libraries'.
    """
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if sum(member.file_size for member in members) > _MOST_COMPRESSED * path.stat().st_size + 2**24:
            raise ValueError("it unpacks to far more than weights would")
        return {member.filename.removesuffix(".npy"): _read_npy(archive, member) for member in members}


def _read_npy(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> torch.Tensor:
    if member.flag_bits & 1:
        raise ValueError(f"{member.filename} is encrypted")
    with archive.open(member) as file:
        magic = file.read(8)
        size = int.from_bytes(file.read(2 if magic[6:7] == b"\x01" else 4), "little")
        if magic[:6] != b"\x93NUMPY" or size > _LARGEST_HEADER:
            raise ValueError(f"{member.filename} is no array")
        dtype, shape, order = _npy_header(file.read(size), member.filename)
        if math.prod(shape) * dtype.itemsize != member.file_size - file.tell():
            raise ValueError(f"{member.filename} doesn't have the size that it states")
        array = np.frombuffer(file.read(), dtype).reshape(shape, order=order)
    return torch.from_numpy(array.astype(dtype.newbyteorder("="), order="C"))


def _npy_header(header: bytes, name: str) -> tuple[np.dtype, tuple[int, ...], Literal["C", "F"]]:
    """Dtype, shape and order of an array; numpy's format/NEP 1 has a dict of three, as Python writes it."""
    try:
        stated = ast.literal_eval(header.decode("latin-1"))
        dtype, shape, is_fortran = (stated[key] for key in ("descr", "shape", "fortran_order"))
        is_array = re.fullmatch(r"[<>|][fiub][1248]", dtype) and all(0 <= size < 2**40 for size in map(int, shape))
    except (ValueError, SyntaxError, TypeError, KeyError, RecursionError, MemoryError):
        is_array, dtype, shape, is_fortran = None, "", (), False
    if not is_array:
        raise ValueError(f"{name} is no array of numbers")
    return np.dtype(dtype), tuple(map(int, shape)), "F" if is_fortran else "C"


def _is_pickle(path: Path) -> bool:
    """Whether a file begins as torch.save writes it: a zip archive, or before torch 1.6 a pickle."""
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError:
        return False
    # A safetensors file begins with its header's length in eight bytes, which may be any, and "{". An npz file is a zip
    # archive too.
    is_zip = start[:4] == b"PK\x03\x04" and path.suffix != ".npz"
    return start[8:] not in (b"", b"{") and (is_zip or start[:1] == b"\x80")
