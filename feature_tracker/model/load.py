"""Load a bundle's language model."""

from __future__ import annotations

import importlib.util
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from feature_tracker.bundles.bundle import Bundle, ModelSource
from feature_tracker.bundles.missing import PICKLES, pickles_in
from feature_tracker.errors import TrackerError
from feature_tracker.model.fetching.folder import ensure_model_folder
from feature_tracker.model.fetching.hub import holds_model
from feature_tracker.model.hooks import blocks_of
from feature_tracker.model.memory import check_fits, free_memory
from feature_tracker.progress import Progress, silent

# While it builds a model, transformers sets torch's default dtype for the whole process.
_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True)
class LanguageModel:
    """A causal language model with its tokenizer, ready to trace.

    Attributes:
        model: with language-model head, in evaluation mode.
        tokenizer: a fast tokenizer, which alone knows each token's characters.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase

    @property
    def decoder(self) -> nn.Module:
        """The stack of decoder blocks without the language-model head."""
        return self.model.get_decoder()

    @property
    def n_layers(self) -> int:
        """Decoder blocks."""
        return self.model.config.get_text_config().num_hidden_layers

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return self.model.config.get_text_config().hidden_size

    @property
    def bos_id(self) -> int:
        """The token every window starts with."""
        return cast(int, self.tokenizer.bos_token_id)  # `load_model_folder` refuses a tokenizer without one

    def window(self, longest: int) -> int:
        """Tokens that a forward takes at once, BOS included: at most `longest`, and no more than it has positions."""
        positions = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        return min(longest, positions) if positions else longest

    def layer_device(self, layer: int) -> torch.device:
        """Where the residual stream after a block lies."""
        device = next(blocks_of(self.decoder)[layer].parameters()).device
        # A block that waits in the host's memory for its turn has no weights of its own: it runs on the GPU.
        return device if device.type != "meta" else torch.device("cuda", 0)


def load_model(bundle: Bundle, progress: Progress = silent, *, dtype: str | None = None) -> LanguageModel:
    """Load a bundle's model, fetching and converting it first where that was never finished.

    Args:
        dtype: another than the bundle's, see `Bundle.dtype`.

    Raises:
        TrackerError: it can't be fetched or stored, doesn't fit into memory, or doesn't fit the bundle.
    """
    folder = ensure_model_folder(bundle, progress)
    source = bundle.model
    name, bos = (bundle.title, "") if isinstance(source, ModelSource) else (source.name, source.bos)
    progress("Loading the model", 0.0)
    loaded = load_model_folder(folder, dtype or bundle.dtype, name=name, bos=bos)
    if bundle.layers[-1] >= loaded.n_layers:
        raise TrackerError(
            f"Bundle {bundle.name} reads layer {bundle.layers[-1]}, but its model has layers 0 to "
            f"{loaded.n_layers - 1}. Correct `layers` in bundles/{bundle.name}.toml."
        )
    return loaded


def load_model_folder(folder: Path, dtype: str = "auto", *, name: str = "", bos: str = "") -> LanguageModel:
    """Load a transformers folder of safetensors; no program that lies in it is run.

    With a GPU, accelerate spreads the blocks over the GPUs and, where they don't suffice, the host's memory.

    Args:
        dtype: see `Bundle.dtype`.
        name: what the model is called in messages.
        bos: the token that windows start with where the tokenizer names none.

    Raises:
        TrackerError: files are missing, damaged or pickles; memory doesn't suffice; transformers doesn't know this kind
            of model; the tokenizer is not a fast one, or there is no BOS token.
    """
    name = name or str(folder)
    _check_files(folder, name)
    tokenizer = _load_tokenizer(folder, name, bos)
    config = _load_config(folder, name)
    dtype = _dtype_name(dtype)
    eight_bit = importlib.util.find_spec("bitsandbytes") is not None and torch.cuda.is_available()
    if dtype == "int8" and not eight_bit:
        raise TrackerError(
            f"{name}: dtype int8 needs a CUDA GPU and bitsandbytes (pip install bitsandbytes), which are not both "
            "here. Use dtype auto."
        )
    with _ONE_AT_A_TIME:
        check_fits(name, folder, dtype, free_memory(), eight_bit=eight_bit)
        return LanguageModel(_load_weights(folder, name, config, dtype), tokenizer)


def model_width(folder: Path) -> int:
    """Width of the residual stream of a folder's model, by its configuration alone.

    Raises:
        TrackerError: the configuration is missing, or transformers doesn't know this kind of model.
    """
    return _load_config(folder, str(folder)).get_text_config().hidden_size


def _dtype_name(name: str) -> str:
    if name != "auto":
        return name
    # Without native instructions half precision is emulated and slower than float32.
    if torch.cuda.is_available():
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bfloat16" if native else "float32"


def _check_files(folder: Path, name: str) -> None:
    if holds_model(folder):
        return
    pickles = [path.name for path in pickles_in(folder)]
    if pickles and not any(folder.glob("*.safetensors")):
        raise TrackerError(f"{name} holds {', '.join(pickles[:3])} and no safetensors. {PICKLES}")
    here = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    raise TrackerError(
        f"{name} is not a whole model: expected config.json and every *.safetensors file in {folder}, found "
        f"{', '.join(here[:8]) or 'nothing'}. Copy or download it again."
    )


def _load_config(folder: Path, name: str) -> PreTrainedConfig:
    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (ValueError, KeyError, OSError) as error:
        raise TrackerError(
            f"{name}: transformers can't read its configuration ({_first_line(error)}). A model that brings a program "
            "of its own is not run; bundles/README.md names the families that are supported."
        ) from None


def _load_tokenizer(folder: Path, name: str, bos: str) -> PreTrainedTokenizerBase:
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except (ValueError, KeyError, OSError, ImportError) as error:
        raise TrackerError(
            f"{name}: its tokenizer can't be read ({_first_line(error)}). Put its tokenizer.json and "
            f"tokenizer_config.json into {folder}."
        ) from None
    if not tokenizer.is_fast:
        raise TrackerError(
            f"{name} has a slow tokenizer, which can't tell a token's characters; put its tokenizer.json into {folder}."
        )
    if bos:
        if bos not in tokenizer.get_vocab():
            raise TrackerError(f"{name}: `bos` is {bos!r}, which is no token of its tokenizer.")
        tokenizer.bos_token = bos
    if tokenizer.bos_token_id is None:
        raise TrackerError(
            f"The tokenizer of {name} names no BOS token. Say in the bundle's TOML file, under [model], which token "
            'windows start with: bos = "<|endoftext|>" for the Qwen family.'
        )
    return tokenizer


def _load_weights(folder: Path, name: str, config: PreTrainedConfig, dtype: str) -> PreTrainedModel:
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
            trust_remote_code=False,
            output_loading_info=True,
            **options,
        )
        model, found = loaded
    except (ValueError, KeyError, OSError, RuntimeError) as error:
        raise TrackerError(f"{name} can't be loaded: {_first_line(error)}") from error
    # transformers fills what it lacks with random numbers, and only warns.
    lacking = sorted([*found["missing_keys"], *(entry[0] for entry in found["mismatched_keys"])])
    if lacking:
        raise TrackerError(
            f"{name} lacks weights that its config.json calls for, or has them in another shape: "
            f"{', '.join(lacking[:4])}{' …' if len(lacking) > 4 else ''}. Copy or download it again."
        )
    return model.eval()


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
