"""The GPU benchmark: its arithmetic, and the whole of it on the processor."""

from __future__ import annotations

import json

import pytest
import torch
from click.testing import CliRunner
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, LlamaModel

from benchmarks.arithmetic import block_parameters, flops_per_token, peak_flops
from benchmarks.gpu import llama_7b, main, measure, small

GROUPED = LlamaConfig(
    hidden_size=64,
    num_hidden_layers=3,
    num_attention_heads=8,
    num_key_value_heads=2,
    intermediate_size=96,
    vocab_size=50,
)


@pytest.mark.parametrize("config", [GROUPED, small().config])
def test_block_parameters_are_those_of_a_real_block_but_for_its_norms(config: LlamaConfig) -> None:
    block = LlamaModel(config).layers[0]
    assert block_parameters(config) == sum(p.numel() for p in block.parameters() if p.dim() == 2)


def test_llama_7b_has_its_parameters() -> None:
    config = llama_7b().config
    embedding_and_head = 2 * config.vocab_size * config.hidden_size
    norms = (2 * config.num_hidden_layers + 1) * config.hidden_size
    assert config.num_hidden_layers * block_parameters(config) + embedding_and_head + norms == 6_738_415_616


def test_flops_are_those_that_torch_counts() -> None:
    window = 16
    model = LlamaModel(LlamaConfig(**{**GROUPED.to_dict(), "attn_implementation": "eager"})).eval()
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(input_ids=torch.zeros(1, window, dtype=torch.long), use_cache=False)
    # torch counts whole attention matrices; the masked half is work that need not be done.
    whole = 3 * 4 * GROUPED.hidden_size * window * window
    causal = 3 * 4 * GROUPED.hidden_size * window * (window + 1) / 2
    expected = flops_per_token(GROUPED, blocks=3, window=window) * window
    assert counter.get_total_flops() - whole == pytest.approx(expected - causal, rel=0.01)


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989.4e12),
        ("NVIDIA H100 PCIe", 756.5e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA L4", 121e12),
        ("NVIDIA L40S", 362e12),
        ("NVIDIA A10G", None),
    ],
)
def test_a_cards_peak_is_known_by_its_name(name: str, peak: float | None) -> None:
    assert peak_flops(name) == peak


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="would run the 7B shape on this machine's GPU")
def test_the_command_runs_a_small_shape_without_a_gpu_and_says_so() -> None:
    result = CliRunner().invoke(main, ["--rounds", "1", "--peak-tflops", "1"], catch_exceptions=False)
    assert "No GPU" in result.stderr
    figures = json.loads(result.stdout.splitlines()[-1])
    assert (figures["device"], figures["dtype"]) == ("cpu", "float32")
    assert [(case["windows"], case["window"]) for case in figures["cases"]] == [(1, 128), (4, 256)]
    for case in figures["cases"]:
        assert case["trace_ms"] > 0 and case["share_of_limit"] > 0 and "memory_to_bare" not in case


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_trace_needs_hardly_more_memory_than_a_bare_forward() -> None:
    shape = small()
    for case in measure(shape, torch.device("cuda"), rounds=2, peak=None)["cases"]:
        assert case["trace_peak_gb"] > 0
        assert case["memory_to_bare"] <= 1.5  # SAEs of a small model weigh more beside it than those of a large one
