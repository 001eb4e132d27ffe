"""`python -m benchmarks.peers`: a trace against the ways that other libraries take, alternating, in one run."""

from __future__ import annotations

import importlib.metadata
import json
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path

import click
import numpy as np
import torch

from benchmarks.agreement import Found, same_features
from benchmarks.alternate import alternate
from benchmarks.peer_runs import WAYS, Run, Task
from feature_tracker.bundles.bundle import BUILT_IN, Bundle, load_bundle
from feature_tracker.errors import TrackerError
from feature_tracker.model.fetching import ensure_model_folder
from feature_tracker.model.hooks import read_residuals
from feature_tracker.model.load import LanguageModel, load_model
from feature_tracker.model.tokens import TokenizedText, tokenize
from feature_tracker.page.samples import SAMPLES
from feature_tracker.sae.load import load_saes
from feature_tracker.sae.topk import Sae, TopK
from feature_tracker.tracing.run import trace_tokens

NEEDED_AGREEMENT = 0.99
"""Share of tokens whose features must be the same, in float32, for a way to be timed; ties and rounding move a few."""

_LIBRARIES = ("torch", "transformers", "eai-sparsify", "nnsight", "transformer-lens", "sae-lens")


@click.command()
@click.option("--bundle", "bundle_name", default=BUILT_IN, show_default=True, help="Which model and SAEs.")
@click.option("--tokens", default=512, show_default=True, help="Tokens of the one window, BOS included.")
@click.option("--rounds", default=15, show_default=True, help="How often all ways are timed.")
@click.option("--only", type=click.Choice(list(WAYS)), multiple=True, help="Time these peers; all where none is named.")
def main(bundle_name: str, tokens: int, rounds: int, only: tuple[str, ...]) -> None:
    """Time every way to the same text's active features; each must first give the features that a trace gives.

    The last line printed is one JSON object.
    """
    bundle = load_bundle(bundle_name)
    folder = ensure_model_folder(bundle)
    saes = load_saes(bundle.sae_folder, bundle.layers)
    peers = {name: WAYS[name] for name in (only or WAYS)}
    agreement, refused = check_peers(peers, bundle, saes, folder, tokens)
    own = load_model(bundle)
    runs = prepare_runs([name for name in peers if name not in refused], own, bundle, saes, folder, tokens)
    timed = alternate(runs, rounds, warmups=2)
    figures = {
        "bundle": bundle.name,
        "tokens": tokens,
        "dtype": str(own.model.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "rounds": rounds,
        "versions": _versions(),
        "same_features_float32": {name: round(share, 4) for name, share in agreement.items()},
        "left_out": refused,
        **summarize(timed),
    }
    click.echo(json.dumps(figures))


def check_peers(
    peers: Mapping[str, Callable[[Task], Run]], bundle: Bundle, saes: dict[int, Sae], folder: Path, tokens: int
) -> tuple[dict[str, float], dict[str, str]]:
    """By way, the share of tokens with a trace's features, in float32; by way left out, the reason."""
    reference = load_model(bundle, dtype="float32")
    text = sample_text(reference, tokens)
    expected = as_found(text, reference, saes)
    n_latents = {layer: sae.n_latents for layer, sae in saes.items()}
    agreement: dict[str, float] = {}
    refused: dict[str, str] = {}
    for name, way in peers.items():
        try:
            found = way(Task(row_of(text, reference), saes, load_model(bundle, dtype="float32"), folder))()
            agreement[name] = same_features(expected, found, n_latents)
        except Exception as error:  # noqa: BLE001  what a library makes of a model it doesn't take is its own affair
            refused[name] = f"{type(error).__name__}: {error}".splitlines()[0]
            continue
        if agreement[name] < NEEDED_AGREEMENT:
            refused[name] = f"gives a trace's features on {agreement[name]:.1%} of tokens, not {NEEDED_AGREEMENT:.0%}"
    return agreement, refused


def prepare_runs(
    names: list[str], own: LanguageModel, bundle: Bundle, saes: dict[int, Sae], folder: Path, tokens: int
) -> dict[str, Callable[[], None]]:
    """What is timed: the bare forwards, the trace, and the peers, in the bundle's dtype."""
    text = sample_text(own, tokens)
    row = row_of(text, own)

    @torch.inference_mode()
    def bare() -> None:
        own.decoder(input_ids=row, use_cache=False)

    def stopped() -> None:
        read_residuals(own.decoder, row, list(saes), lambda _layer, _resid: None)

    def trace() -> None:
        trace_tokens(text, own, saes)

    runs: dict[str, Callable[[], None]] = {"bare_forward": bare, "stopped_forward": stopped, "trace": trace}
    for name in names:
        runs[name] = _discarding(WAYS[name](Task(row, saes, load_model(bundle), folder)))
    return runs


def summarize(timed: Mapping[str, list[float]]) -> dict[str, object]:
    """Median times, and the trace's ratio to every other run: the median of the rounds' ratios, and their range."""
    ratios = {
        name: [trace / other for trace, other in zip(timed["trace"], seconds, strict=True)]
        for name, seconds in timed.items()
        if name != "trace"
    }
    peers = [name for name in ratios if name in WAYS]
    fastest = min(peers, key=lambda name: statistics.median(timed[name]), default=None)
    return {
        "ms": {name: round(1e3 * statistics.median(seconds), 1) for name, seconds in timed.items()},
        "trace_to": {name: round(statistics.median(each), 3) for name, each in ratios.items()},
        "trace_to_range": {name: [round(min(each), 3), round(max(each), 3)] for name, each in ratios.items()},
        "fastest_peer": fastest,
    }


def sample_text(language_model: LanguageModel, tokens: int) -> TokenizedText:
    """The page's samples, as one window of `tokens` tokens, BOS included."""
    text = tokenize(" ".join(SAMPLES.values()), language_model.tokenizer, window=tokens, max_tokens=100_000)
    if text.n_tokens < tokens - 1:
        raise TrackerError(f"The sample texts have {text.n_tokens:,} tokens: --tokens can be {text.n_tokens + 1:,}.")
    return TokenizedText("", text.ids[: tokens - 1], text.offsets[: tokens - 1], tokens)


def row_of(text: TokenizedText, language_model: LanguageModel) -> torch.Tensor:
    """(1, window) token ids of the text's one window, BOS first, where the model is."""
    ids = np.concatenate([[language_model.bos_id], text.ids])
    return torch.from_numpy(ids)[None].to(language_model.model.device)


def as_found(text: TokenizedText, language_model: LanguageModel, saes: dict[int, Sae]) -> Found:
    """A trace's features, for comparison."""
    trace = trace_tokens(text, language_model, saes)
    return {
        layer: TopK(torch.from_numpy(each.values), torch.from_numpy(each.indices).long())
        for layer, each in trace.layers.items()
    }


def _discarding(run: Run) -> Callable[[], None]:
    def discard() -> None:
        run()

    return discard


def _versions() -> dict[str, str]:
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


if __name__ == "__main__":
    main()
