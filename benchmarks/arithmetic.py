"""How many tokens per second the arithmetic of a GPU allows."""

from __future__ import annotations

from transformers import LlamaConfig

# Dense bf16 FLOP/s on tensor cores, from NVIDIA's data sheet of each product (half of its figure "with sparsity").
PEAK_FLOPS = {
    "H200": 989.4e12,
    "H100 PCIe": 756.5e12,
    "H100": 989.4e12,  # SXM
    "A100": 312e12,
    "L40S": 362e12,
    "L4": 121e12,
}


def peak_flops(device_name: str) -> float | None:
    """Dense bf16 FLOP/s of a GPU by its CUDA name, or `None` if it isn't in the table."""
    words = set(device_name.replace("-", " ").split())
    products = [product for product in PEAK_FLOPS if set(product.split()) <= words]
    return PEAK_FLOPS[max(products, key=len)] if products else None  # the longest: "H100 PCIe" before "H100"


def block_parameters(config: LlamaConfig) -> int:
    """Number of weights in the matrices of one Llama block: attention and gated MLP."""
    d_model, heads = config.hidden_size, config.num_attention_heads
    kv_width = (config.num_key_value_heads or heads) * (d_model // heads)
    return 2 * d_model * d_model + 2 * d_model * kv_width + 3 * d_model * config.intermediate_size


def flops_per_token(config: LlamaConfig, *, blocks: int, window: int) -> float:
    """Mean FLOPs per token of the first `blocks` blocks: 2 per weight, plus the two products of causal attention.

    A token at position t attends to t + 1 tokens, (window + 1) / 2 on average. Each of these costs 2 d_model FLOPs for
    its score and as many for its value. Source: Hoffmann et al. 2022, appendix F, with only the causal half of
    attention counted.
    """
    attention = 4 * config.hidden_size * (window + 1) / 2
    return blocks * (2 * block_parameters(config) + attention)
