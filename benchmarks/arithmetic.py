"""How many tokens a second a card's arithmetic allows."""

from __future__ import annotations

from transformers import LlamaConfig

# Dense bf16 FLOP/s on tensor cores, from NVIDIA's data sheets of each product (half of the figure "with sparsity").
PEAK_FLOPS = {
    "H200": 989.4e12,
    "H100 PCIe": 756.5e12,
    "H100": 989.4e12,  # SXM
    "A100": 312e12,
    "L40S": 362e12,
    "L4": 121e12,
}


def peak_flops(device_name: str) -> float | None:
    """A card's dense bf16 FLOP/s by the name that CUDA gives it; None for one that isn't in the table."""
    words = device_name.replace("-", " ").split()
    fitting = [known for known in PEAK_FLOPS if set(known.split()) <= set(words)]
    return PEAK_FLOPS[max(fitting, key=len)] if fitting else None


def block_parameters(config: LlamaConfig) -> int:
    """Weights of one Llama block's matrices: attention and gated MLP."""
    d_model, heads = config.hidden_size, config.num_attention_heads
    kv_width = (config.num_key_value_heads or heads) * (d_model // heads)
    return 2 * d_model * d_model + 2 * d_model * kv_width + 3 * d_model * config.intermediate_size


def flops_per_token(config: LlamaConfig, *, blocks: int, window: int) -> float:
    """Mean FLOPs a token of the first `blocks` blocks: 2 a weight, and causal attention's two products.

    A token at position t attends to t + 1 tokens, (window + 1) / 2 at the mean; each costs 2 d_model FLOPs for its
    score and as many for its value (Hoffmann et al. 2022, appendix F, but for the causal half).
    """
    attention = 4 * config.hidden_size * (window + 1) / 2
    return blocks * (2 * block_parameters(config) + attention)
