"""A model's configuration, checked before transformers builds anything from it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig

from feature_tracker.bundles.missing import read_config
from feature_tracker.errors import TrackerError
from feature_tracker.model.memory import StoredTensor

NO_PROGRAMS: dict[str, Any] = {
    "trust_remote_code": False,
    "attn_implementation": None,  # a configuration may name a kernel on the hub for these two, which would be run
    "experts_implementation": None,
}
"""Keeps transformers from running a program that a model brings or names."""
_QUANTIZATION_FILES = ("quantize_config.json", "quant_config.json", "hf_quant_config.json")
_FLOATS = frozenset(("F64", "F32", "F16", "BF16"))
_MOST_EXPERTS = 4096  # of one block; some versions of a family make a module of each
_LARGEST_TABLES = 2**30  # elements of masks and rotary tables, which no file holds


def load_config(folder: Path, name: str) -> PreTrainedConfig:
    """A folder's configuration.

    Args:
        name: what the model is called in messages.

    Raises:
        TrackerError: config.json is missing or damaged, transformers doesn't know this kind of model, or its weights
            are quantized.
    """
    stated = read_config(folder)
    _require_unquantized(folder, name, stated)
    try:
        config = AutoConfig.from_pretrained(folder, **NO_PROGRAMS)
        text = config.get_text_config()
        sizes = [text.num_hidden_layers, text.hidden_size, text.vocab_size]
    except Exception as error:  # noqa: BLE001 - what a foreign file makes a library raise is anything
        raise TrackerError(
            f"{name}: transformers can't read its configuration ({first_line(error)}). A model that brings a program "
            "of its own is not run; docs/bundles.md names the supported families."
        ) from None
    if not all(isinstance(size, int) and size > 0 for size in sizes):
        raise TrackerError(
            f"{name}: its config.json should state the numbers of layers, of dimensions and of tokens; found {sizes}. "
            "Copy or download it again."
        )
    return config


def require_plain_weights(name: str, tensors: Sequence[StoredTensor]) -> None:
    """Refuse weights that are stored quantized, whatever the configuration says.

    Raises:
        TrackerError: names a tensor and what it is stored as.
    """
    for tensor in tensors:
        if "weight" in tensor.name and tensor.dtype not in _FLOATS:
            raise TrackerError(_quantized(name, f"{tensor.name} is stored as {tensor.dtype}"))


def require_sizes(name: str, config: PreTrainedConfig, tensors: Sequence[StoredTensor]) -> None:
    """Refuse a configuration of another model, or a damaged one, before memory is taken for what it calls for.

    Raises:
        TrackerError: it calls for far more weights than the files hold.
    """
    text = config.get_text_config()
    stored = sum(tensor.size for tensor in tensors)
    experts = [n for key, n in text.to_dict().items() if "expert" in key and isinstance(n, int)]
    if text.num_hidden_layers > len(tensors) or max(experts, default=0) > _MOST_EXPERTS:
        raise TrackerError(_too_large(name, f"{text.num_hidden_layers:,} layers", f"{len(tensors):,} tensors"))
    try:
        with torch.device("meta"):  # shapes alone
            model = AutoModelForCausalLM.from_config(config, **NO_PROGRAMS)
    except Exception as error:  # noqa: BLE001 - as in `load_config`
        raise TrackerError(f"{name} can't be built from its config.json: {first_line(error)}") from None
    needed = sum(weight.numel() for weight in model.parameters())
    tables = sum(table.numel() for table in model.buffers())
    if needed > 1.5 * stored or tables > max(stored, _LARGEST_TABLES):
        raise TrackerError(_too_large(name, f"{needed:,} weights", f"{stored:,}"))


def first_line(error: BaseException) -> str:
    """What an error says, in one line."""
    return next((line.strip()[:500] for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _require_unquantized(folder: Path, name: str, stated: dict[str, Any]) -> None:
    nested = [stated, *(part for part in stated.values() if isinstance(part, dict))]
    for key in ("quantization_config", "quantization", "compression_config"):  # transformers', MLX's, an older one
        for part in nested:
            if part.get(key):
                method = part[key].get("quant_method", "") if isinstance(part[key], dict) else ""
                raise TrackerError(_quantized(name, f"its config.json has `{key}`{f' ({method})' if method else ''}"))
    for file in _QUANTIZATION_FILES:
        if (folder / file).exists():
            raise TrackerError(_quantized(name, f"its folder holds {file}"))


def _quantized(name: str, found: str) -> str:
    return (
        f"{name} is quantized: {found}. SAEs are read on a model's own weights, and quantized ones (AWQ, GPTQ, "
        "bitsandbytes, FP8 and others) are not supported. Take the model that it was made from; on a GPU, dtype int8 "
        "makes that one smaller."
    )


def _too_large(name: str, needed: str, stored: str) -> str:
    return (
        f"{name}: its config.json calls for {needed}, and its files hold {stored}, so they don't belong together or "
        "are damaged. Copy or download both again."
    )
