"""`python -m benchmarks.gpu`: a trace of a model of random weights in Llama-2-7B's shape, against its bare forward.

The cost of a forward does not depend on the values of the weights. Without a GPU, a small shape runs on the CPU: that
shows that the command works, and says nothing about a GPU.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import click
import numpy as np
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

from benchmarks.alternate import alternate
from benchmarks.arithmetic import flops_per_token, peak_flops
from feature_tracker.model.load import LanguageModel
from feature_tracker.model.tokens import TokenizedText
from feature_tracker.sae.topk import Sae
from feature_tracker.tracing.run import trace_tokens

N_LATENTS, K = 400, 32
_BOS = 1


@dataclass(frozen=True)
class Shape:
    """The model and the inputs to measure.

    Attributes:
        config: configuration of the model.
        dtype: dtype of the model.
        layers: layers with an SAE (400 latents, k = 32), ascending.
        cases: (windows, tokens per window with BOS) of each text.
    """

    config: LlamaConfig
    dtype: torch.dtype
    layers: tuple[int, ...]
    cases: tuple[tuple[int, int], ...]


def llama_7b() -> Shape:
    """Llama-2-7B's shape, spelled out so that a change of transformers' defaults doesn't change it."""
    config = LlamaConfig(
        hidden_size=4096, num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=32,
        intermediate_size=11008, vocab_size=32000, max_position_embeddings=4096,
    )  # fmt: skip
    return Shape(config, torch.bfloat16, (4, 10, 16, 22, 28), ((1, 512), (16, 2048)))


def small() -> Shape:
    """A shape that a CPU runs in seconds."""
    config = LlamaConfig(
        hidden_size=256, num_hidden_layers=8, num_attention_heads=4, num_key_value_heads=4,
        intermediate_size=688, vocab_size=1000, max_position_embeddings=512,
    )  # fmt: skip
    return Shape(config, torch.float32, (1, 2, 4, 5, 6), ((1, 128), (4, 256)))


@click.command()
@click.option("--rounds", default=15, show_default=True, help="How often each pair is timed.")
@click.option("--peak-tflops", type=float, help="The GPU's dense bf16 peak, if this script doesn't know it.")
def main(rounds: int, peak_tflops: float | None) -> None:
    """Measure time and memory of a trace and of a bare full forward without head.

    The last line printed is a JSON object.
    """
    on_gpu = torch.cuda.is_available()
    device = torch.device("cuda" if on_gpu else "cpu")
    name = torch.cuda.get_device_name() if on_gpu else "cpu"
    peak = 1e12 * peak_tflops if peak_tflops else peak_flops(name)
    if not on_gpu:
        click.echo("No GPU: a small shape runs on the CPU. GPU memory and the GPU's limit are not measured.", err=True)
    click.echo(json.dumps({"device": name, **measure(llama_7b() if on_gpu else small(), device, rounds, peak)}))


def measure(shape: Shape, device: torch.device, rounds: int, peak: float | None) -> dict[str, object]:
    """Measure all cases of a shape; memory only on a GPU, and the limit only if its peak FLOP/s is known."""
    model = random_model(shape, device)
    bare_peaks = [_peak_bytes(_bare(model, *case), device) for case in shape.cases]  # before the SAEs take memory
    saes = random_saes(shape, device)
    cases = [
        measure_case(shape, model, saes, case, bare_peak, rounds, peak)
        for case, bare_peak in zip(shape.cases, bare_peaks, strict=True)
    ]
    parameters = sum(parameter.numel() for parameter in model.model.parameters())
    return {
        "parameters": parameters,
        "dtype": str(shape.dtype).removeprefix("torch."),
        "rounds": rounds,
        "cases": cases,
    }


def measure_case(
    shape: Shape,
    model: LanguageModel,
    saes: Mapping[int, Sae],
    case: tuple[int, int],
    bare_peak: int | None,
    rounds: int,
    peak: float | None,
) -> dict[str, object]:
    """One case: times over alternating rounds, peak memory, and tokens per second against the arithmetic limit."""
    windows, window = case
    text = random_text(shape, windows, window)
    device = next(iter(saes.values())).b_dec.device

    def trace() -> None:
        trace_tokens(text, model, saes)

    trace_peak = _peak_bytes(trace, device)
    timed = alternate(
        {"bare": _waited(_bare(model, *case), device), "trace": _waited(trace, device)}, rounds, warmups=2
    )
    ratios = [t / b for t, b in zip(timed["trace"], timed["bare"], strict=True)]
    seconds = {name: statistics.median(each) for name, each in timed.items()}
    figures: dict[str, object] = {
        "windows": windows,
        "window": window,
        "bare_forward_ms": round(1e3 * seconds["bare"], 2),
        "trace_ms": round(1e3 * seconds["trace"], 2),
        "trace_to_bare": round(statistics.median(ratios), 3),
        "trace_to_bare_range": [round(min(ratios), 3), round(max(ratios), 3)],
        "trace_tokens_per_second": round(windows * window / seconds["trace"]),
    }
    if bare_peak is not None and trace_peak is not None:
        figures |= {
            "bare_peak_gb": round(bare_peak / 1e9, 3),
            "trace_peak_gb": round(trace_peak / 1e9, 3),
            "memory_to_bare": round(trace_peak / bare_peak, 3),
        }
    if peak is not None:
        limit = peak / flops_per_token(shape.config, blocks=shape.layers[-1] + 1, window=window)
        figures |= {
            "limit_tokens_per_second": round(limit),
            "share_of_limit": round(windows * window / seconds["trace"] / limit, 3),
        }
    return figures


def random_model(shape: Shape, device: torch.device) -> LanguageModel:
    """A model of random weights, with a tokenizer whose only token is BOS."""
    torch.manual_seed(0)
    with device:
        model = AutoModelForCausalLM.from_config(shape.config, dtype=shape.dtype).eval()
    tokenizer = Tokenizer(WordLevel({"<unk>": 0, "<s>": _BOS}, unk_token="<unk>"))
    return LanguageModel(model, PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>"))


def random_saes(shape: Shape, device: torch.device) -> dict[int, Sae]:
    """An SAE of random weights for each layer, in float32 as when loaded from a file."""
    generator = torch.Generator().manual_seed(0)
    d_model = shape.config.hidden_size

    def sae() -> Sae:
        encoder = torch.randn(N_LATENTS, d_model, generator=generator)
        return Sae(encoder, torch.zeros(N_LATENTS), encoder.clone(), torch.zeros(d_model), K).to(device)

    return {layer: sae() for layer in shape.layers}


def random_text(shape: Shape, windows: int, window: int) -> TokenizedText:
    """Random tokens that fill the windows, without each window's BOS."""
    ids = np.random.default_rng(0).integers(2, shape.config.vocab_size, windows * (window - 1))
    return TokenizedText("", ids, np.zeros((len(ids), 2), np.int64), window)


def _bare(model: LanguageModel, windows: int, window: int) -> Callable[[], None]:
    """A full forward of all windows in one batch."""
    ids = np.random.default_rng(0).integers(2, model.model.config.get_text_config().vocab_size, (windows, window))
    rows = torch.from_numpy(ids).to(model.model.device)

    @torch.inference_mode()
    def run() -> None:
        model.decoder(input_ids=rows, use_cache=False)

    return run


def _waited(run: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """A run that waits for the GPU, which otherwise still computes when the call returns."""
    if device.type != "cuda":
        return run

    def waited() -> None:
        run()
        torch.cuda.synchronize(device)

    return waited


def _peak_bytes(run: Callable[[], None], device: torch.device) -> int | None:
    """Peak memory allocated on the GPU during a run, weights included; `None` on a CPU."""
    if device.type != "cuda":
        return None
    run()  # the first run allocates the workspaces that libraries keep
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    run()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device)


if __name__ == "__main__":
    main()
