"""Load a bundle's language model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from bundles.bundle import Bundle
from bundles.errors import TrackerError
from model.fetch import ensure_builtin_model
from model.progress import Progress, silent


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
        return self.model.config.num_hidden_layers

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return self.model.config.hidden_size

    @property
    def bos_id(self) -> int:
        """The token every window starts with."""
        return cast(int, self.tokenizer.bos_token_id)  # `load_model_folder` refuses a tokenizer without one


def load_model(bundle: Bundle, progress: Progress = silent, *, dtype: str | None = None) -> LanguageModel:
    """Load a bundle's model, fetching and converting it first where that was never finished.

    Args:
        dtype: another than the bundle's, see `Bundle.dtype`.

    Raises:
        TrackerError: it can't be fetched or stored, or doesn't fit the bundle.
    """
    folder = ensure_builtin_model(bundle.model, progress)
    loaded = load_model_folder(folder, dtype or bundle.dtype)
    if bundle.layers[-1] >= loaded.n_layers:
        raise TrackerError(
            f"Bundle {bundle.name} reads layer {bundle.layers[-1]}, but its model has layers 0 to "
            f"{loaded.n_layers - 1}. Correct `layers` in bundles/{bundle.name}.toml."
        )
    return loaded


def load_model_folder(folder: Path, dtype: str = "auto") -> LanguageModel:
    """Load a transformers folder of safetensors.

    Raises:
        TrackerError: the tokenizer is not a fast one, or has no BOS token.
    """
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch_dtype(dtype), use_safetensors=True)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if not tokenizer.is_fast:
        raise TrackerError(
            f"{folder} has a slow tokenizer, which can't tell a token's characters; put its tokenizer.json there."
        )
    if tokenizer.bos_token_id is None:
        raise TrackerError(f"The tokenizer in {folder} names no BOS token; set bos_token in tokenizer_config.json.")
    return LanguageModel(model.eval(), tokenizer)


def torch_dtype(name: str) -> torch.dtype:
    """The dtype a bundle's `dtype` stands for on this machine."""
    if name != "auto":
        return getattr(torch, name)
    # Without native instructions bfloat16 is emulated and slower than float32.
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if native else torch.float32
