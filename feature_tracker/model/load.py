"""The language model: its loading, and what the tracker asks of it."""

from __future__ import annotations

import importlib.util
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from feature_tracker.bundles.bundle import Bundle
from feature_tracker.bundles.missing import require_model
from feature_tracker.errors import TrackerError
from feature_tracker.model.blocks import block_device, blocks_of, install_hooks
from feature_tracker.model.config import NO_PROGRAMS, first_line, load_config, require_plain_weights, require_sizes
from feature_tracker.model.fetching import ensure_model_folder
from feature_tracker.model.memory import check_fits, free_memory, stored_tensors
from feature_tracker.progress import Progress, silent

_TABLES = ("inv_freq", ".attn.bias", ".masked_bias")
"""Endings of masks and position tables, which older files store beside the weights."""
# On a CPU, PyTorch and oneDNN compile kernels for every shape of a batch, 2 MB of them, and keep the last 1,024, so
# that texts of many lengths would grow a process by half a gigabyte. Both read this once, when they first multiply.
_KERNEL_CACHES = ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY")
# While it builds a model, transformers sets torch's default dtype for the whole process.
_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True)
class LanguageModel:
    """A causal language model with its tokenizer, ready to trace.

    Attributes:
        model: with language-model head, in evaluation mode.
        tokenizer: a fast one; only these know each token's characters.
        prepend_bos: whether every window starts with BOS.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    prepend_bos: bool = True

    def __post_init__(self) -> None:
        install_hooks(self.decoder)

    @property
    def decoder(self) -> nn.Module:
        """The stack of decoder blocks without the language-model head."""
        return self.model.get_decoder()

    @property
    def n_layers(self) -> int:
        """Number of decoder blocks."""
        return self.model.config.get_text_config().num_hidden_layers

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return self.model.config.get_text_config().hidden_size

    @property
    def layer_norm(self) -> bool:
        """Whether the blocks have LayerNorm, and not RMSNorm."""
        return _has_layer_norm(self.model.config)

    @property
    def bos_id(self) -> int | None:
        """Id of the token that starts every window; `None` where windows start without one."""
        return cast(int, self.tokenizer.bos_token_id) if self.prepend_bos else None  # see `load_model_folder`

    @property
    def first_token(self) -> int:
        """Position of a window's first token: 1 after BOS, 0 where windows start without it."""
        return 1 if self.prepend_bos else 0

    def inputs(self, token_ids: torch.Tensor) -> torch.Tensor:
        """What the model is given for stored windows (n_windows, window), which have BOS's place first in any case."""
        return token_ids if self.prepend_bos else token_ids[:, 1:]

    def window(self, longest: int) -> int:
        """Tokens of one forward pass, BOS included: `longest`, or the model's positions where they are fewer.

        BOS keeps its place where windows start without it: they have as many tokens of text.
        """
        positions = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        return min(longest, positions) if isinstance(positions, int) and positions > 1 else longest

    def layer_device(self, layer: int) -> torch.device:
        """Device of the residual stream after a block."""
        return block_device(self.decoder, layer)


def load_model(bundle: Bundle, progress: Progress = silent, *, dtype: str | None = None) -> LanguageModel:
    """Load a bundle's model, fetched and converted first where that was never finished.

    Args:
        dtype: replaces the bundle's; see `Bundle.dtype`.

    Raises:
        TrackerError: it can't be fetched or stored, doesn't fit into memory, or has too few layers for the bundle.
    """
    folder = ensure_model_folder(bundle, progress)
    require_model(folder, bundle.model.name)
    model_width(folder, bundle.layers)
    progress("Loading the model", 0.0)
    return load_model_folder(
        folder,
        dtype or bundle.dtype,
        name=bundle.model.name,
        bos=bundle.model.bos,
        prepend_bos=bundle.prepend_bos is not False,
    )


def model_width(folder: Path, layers: Sequence[int]) -> int:
    """Width of the residual stream of a folder's model; its weights are not read.

    Args:
        layers: 0-based blocks, ascending, that the model must have.

    Raises:
        TrackerError: the configuration is missing, transformers doesn't know this kind of model, or it lacks a layer.
    """
    config = load_config(folder, str(folder)).get_text_config()
    if layers[-1] >= config.num_hidden_layers:
        raise TrackerError(
            f"The bundle has an SAE for layer {layers[-1]}, but its model has layers 0 to "
            f"{config.num_hidden_layers - 1} ({folder}). Correct `layers` or the model in the bundle's TOML file."
        )
    return config.hidden_size


def has_layer_norm(folder: Path) -> bool:
    """Whether the blocks of a folder's model have LayerNorm, and not RMSNorm; its weights are not read.

    Raises:
        TrackerError: the configuration is missing, or transformers doesn't know this kind of model.
    """
    return _has_layer_norm(load_config(folder, str(folder)))


def _has_layer_norm(config: PreTrainedConfig) -> bool:
    return not hasattr(config.get_text_config(), "rms_norm_eps")


def load_model_folder(
    folder: Path, dtype: str = "auto", *, name: str = "", bos: str = "", prepend_bos: bool = True
) -> LanguageModel:
    """Load a folder as `ensure_model_folder` returns it; no program in it is run.

    With a GPU, accelerate spreads the blocks over the GPUs and, where they don't suffice, the host's memory.

    Args:
        dtype: see `Bundle.dtype`.
        name: what the model is called in messages.
        bos: the token that starts every window where the tokenizer names none.
        prepend_bos: see `LanguageModel`.

    Raises:
        TrackerError: files are damaged; memory doesn't suffice; transformers doesn't know this kind of model; the
            tokenizer is not a fast one, or there is no BOS token.
    """
    name = name or str(folder)
    dtype = _dtype_name(dtype)
    eight_bit = importlib.util.find_spec("bitsandbytes") is not None and torch.cuda.is_available()
    if dtype == "int8" and not eight_bit:
        raise TrackerError(
            f"{name}: dtype int8 needs a CUDA GPU and bitsandbytes (pip install bitsandbytes), and at least one of "
            "them is missing. Use dtype auto."
        )
    for variable in _KERNEL_CACHES:
        os.environ.setdefault(variable, "64")
    with _ONE_AT_A_TIME:
        check_fits(name, folder, dtype, free_memory(), eight_bit=eight_bit)
        tokenizer = _load_tokenizer(folder, name, bos)
        if prepend_bos and tokenizer.bos_token_id is None:
            raise TrackerError(
                f"The tokenizer of {name} names no BOS token. Say in the bundle's TOML file, under [model], which "
                'token starts every window: bos = "<|endoftext|>" for the Qwen family. Where the SAEs were trained '
                "without one, say prepend_bos = false above [model]."
            )
        return LanguageModel(_load_weights(folder, name, dtype), tokenizer, prepend_bos)


def _dtype_name(name: str) -> str:
    if name != "auto":
        return name
    # Without native instructions half precision is emulated and slower than float32.
    if torch.cuda.is_available():
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
    processor = torch.cpu.get_capabilities()
    return "bfloat16" if processor.get("avx512_bf16") or processor.get("amx_tile") else "float32"


def _load_tokenizer(folder: Path, name: str, bos: str) -> PreTrainedTokenizerBase:
    try:
        tokenizer = _read_tokenizer(folder)
    except BaseException as error:
        # On a damaged file the tokenizers library raises anything, its own panic too, which is no Exception.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise TrackerError(
            f"{name}: its tokenizer can't be read ({first_line(error)}). {_tokenizer_advice(folder)}"
        ) from None
    if not tokenizer.is_fast:
        raise TrackerError(
            f"{name} has a slow tokenizer, which can't tell a token's characters. Put its tokenizer.json into {folder}."
        )
    if bos:
        if bos not in tokenizer.get_vocab():
            raise TrackerError(
                f"{name}: `bos` is {bos!r}, which is no token of its tokenizer. Correct it in the bundle's TOML file."
            )
        tokenizer.bos_token = bos
    return tokenizer


def _read_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """A folder's tokenizer, with the rules of its tokenizer.json where it has one.

    The class that tokenizer_config.json names may put rules of its own in their place: transformers' `LlamaTokenizer`
    takes nothing but vocabulary and merges from the file. The model was trained with the file's.
    """
    if not (folder / "tokenizer.json").is_file():
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    if tokenizer.bos_token_id is None:  # some families' classes know theirs
        tokenizer.bos_token = AutoTokenizer.from_pretrained(folder, trust_remote_code=False).bos_token
    return tokenizer


def _tokenizer_advice(folder: Path) -> str:
    if (folder / "tokenizer.json").is_file():
        return "Copy or download tokenizer.json and tokenizer_config.json again."
    if (folder / "tokenizer.model").is_file():
        return (
            "tokenizer.model alone takes more libraries: pip install sentencepiece protobuf (for Llama 3, "
            f"tiktoken). Or put the model's tokenizer.json into {folder}."
        )
    return f"Put its tokenizer.json and tokenizer_config.json into {folder}."


def _load_weights(folder: Path, name: str, dtype: str) -> PreTrainedModel:
    config, tensors = load_config(folder, name), list(stored_tensors(folder))
    require_plain_weights(name, tensors)
    require_sizes(name, config, tensors)
    options: dict[str, Any] = {"dtype": torch.float16 if dtype == "int8" else getattr(torch, dtype)}
    if torch.cuda.is_available():
        options["device_map"] = "auto"
    if dtype == "int8":
        options["quantization_config"] = BitsAndBytesConfig(load_in_8bit=True)
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            config=config,
            use_safetensors=True,
            output_loading_info=True,
            **NO_PROGRAMS,
            **options,
        )
        model, report = loaded
    except Exception as error:
        raise TrackerError(f"{name} can't be loaded: {first_line(error)}") from error
    _require_exact(name, model, report)
    # Weights that needed no conversion are still their files' pages: what changes a file would change them, and a file
    # that is cut short would end the process.
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.device.type == "cpu":
            tensor.data = tensor.data.clone()
    return model.eval()


def _require_exact(name: str, model: PreTrainedModel, report: dict[str, Any]) -> None:
    """Refuse weights that don't fit the configuration: transformers makes up the missing ones and drops the others."""
    lacking = sorted([*report["missing_keys"], *(entry[0] for entry in report["mismatched_keys"])])
    if lacking:
        raise TrackerError(
            f"{name} lacks weights that its config.json calls for, or has them in another shape: "
            f"{', '.join(lacking[:4])}{' …' if len(lacking) > 4 else ''}. Copy or download it again."
        )
    blocks = blocks_of(model.get_decoder())
    prefix = next(path for path, module in model.named_modules() if module is blocks)
    begins = tuple(f"{start}.{layer}." for start in (prefix, prefix.split(".")[-1]) for layer in range(len(blocks)))
    dropped = sorted(
        weight for weight in report["unexpected_keys"] if weight.startswith(begins) and not weight.endswith(_TABLES)
    )
    if dropped:
        raise TrackerError(
            f"{name} has weights in its blocks that its config.json doesn't call for, such as {dropped[0]}: without "
            "them the model is another one. Merge adapters into it, or copy or download it again."
        )
