"""`python -m benchmarks.peers`: a trace against other libraries on the same task, taking turns in one run."""

from __future__ import annotations

import importlib.metadata
import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import click
import numpy as np
import torch

from benchmarks.agreement import Encoded, same_features
from benchmarks.alternate import alternate
from benchmarks.peer_runs import PEERS, Run, Task
from feature_tracker.bundles.bundle import BUILT_IN
from feature_tracker.errors import TrackerError
from feature_tracker.model.fetching import ensure_model_folder
from feature_tracker.model.hooks import read_residuals
from feature_tracker.model.load import LanguageModel, load_model
from feature_tracker.model.tokens import TokenizedText, tokenize
from feature_tracker.page.samples import SAMPLES
from feature_tracker.sae.topk import Sae, TopK
from feature_tracker.tracing.run import trace_tokens
from feature_tracker.tracker import Tracker

NEEDED_AGREEMENT = 0.99
"""Share of (token, layer) pairs on which a peer needs a trace's features in float32; ties and rounding cost a few."""

_LIBRARIES = ("torch", "transformers", "eai-sparsify", "nnsight", "transformer-lens", "sae-lens")


@click.command()
@click.option("--bundle", "bundle_name", default=BUILT_IN, show_default=True, help="Which model and SAEs.")
@click.option("--tokens", default=512, show_default=True, help="Tokens of the one window, BOS included.")
@click.option("--rounds", default=15, show_default=True, help="How often everything is timed.")
@click.option("--only", type=click.Choice(list(PEERS)), multiple=True, help="Time these peers; without it, all.")
def main(bundle_name: str, tokens: int, rounds: int, only: tuple[str, ...]) -> None:
    """Time how long a trace and its peers take to find the active features of the same text.

    A peer is timed only if it finds the features that a trace finds. The last line printed is a JSON object.
    """
    tracker = Tracker.open(bundle_name)
    folder = ensure_model_folder(tracker.bundle)
    peers = {name: PEERS[name] for name in (only or PEERS)}
    agreement, refused = check_peers(peers, tracker, folder, tokens)
    runs = prepare_runs([name for name in peers if name not in refused], tracker, folder, tokens)
    timed = alternate(runs, rounds, warmups=2)
    figures = {
        "bundle": tracker.bundle.name,
        "tokens": tokens,
        "dtype": str(tracker.language_model.model.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "rounds": rounds,
        "versions": versions_of(_LIBRARIES),
        "same_features_float32": {name: round(share, 4) for name, share in agreement.items()},
        "left_out": refused,
        **summarize(timed),
    }
    click.echo(json.dumps(figures))


def check_peers(
    peers: Mapping[str, Callable[[Task], Run]], tracker: Tracker, folder: Path, tokens: int
) -> tuple[dict[str, float], dict[str, str]]:
    """By peer, the share of (token, layer) pairs with a trace's features; by refused peer, the reason.

    Every model is float32 here, whatever the bundle's dtype: in bfloat16 rounding alone changes features.
    """
    saes = tracker.saes
    reference = load_model(tracker.bundle, dtype="float32")
    text = sample_text(reference, tokens)
    expected = traced_features(text, reference, saes)
    n_latents = {layer: sae.n_latents for layer, sae in saes.items()}
    agreement: dict[str, float] = {}
    refused: dict[str, str] = {}
    for name, peer in peers.items():
        try:
            task = Task(row_of(text, reference), as_stored(saes), load_model(tracker.bundle, dtype="float32"), folder)
            agreement[name] = same_features(expected, peer(task)(), n_latents)
        except Exception as error:  # noqa: BLE001  a library may fail in any way on a model that it doesn't support
            refused[name] = f"{type(error).__name__}: {error}".splitlines()[0]
            continue
        if agreement[name] < NEEDED_AGREEMENT:
            refused[name] = f"gives a trace's features on {agreement[name]:.1%} of tokens, not {NEEDED_AGREEMENT:.0%}"
    return agreement, refused


def prepare_runs(names: Sequence[str], tracker: Tracker, folder: Path, tokens: int) -> dict[str, Callable[[], None]]:
    """What is timed: two bare forwards, the trace, and the named peers, all in the bundle's dtype."""
    language_model, saes = tracker.language_model, tracker.saes
    text = sample_text(language_model, tokens)
    row = row_of(text, language_model)

    @torch.inference_mode()
    def bare() -> None:
        language_model.decoder(input_ids=row, use_cache=False)

    def stopped() -> None:
        read_residuals(language_model.decoder, row, list(saes), lambda _layer, _resid: None)

    def trace() -> None:
        trace_tokens(text, language_model, saes)

    runs: dict[str, Callable[[], None]] = {"bare_forward": bare, "stopped_forward": stopped, "trace": trace}
    for name in names:
        runs[name] = _discarding(PEERS[name](Task(row, as_stored(saes), load_model(tracker.bundle), folder)))
    return runs


def summarize(timed: Mapping[str, list[float]]) -> dict[str, object]:
    """Median times, and the ratio of the trace to every other run: median and range of the rounds' ratios."""
    ratios = {
        name: [trace / other for trace, other in zip(timed["trace"], seconds, strict=True)]
        for name, seconds in timed.items()
        if name != "trace"
    }
    peers = [name for name in ratios if name in PEERS]
    fastest = min(peers, key=lambda name: statistics.median(timed[name]), default=None)
    return {
        "ms": {name: round(1e3 * statistics.median(seconds), 1) for name, seconds in timed.items()},
        "trace_to": {name: round(statistics.median(each), 3) for name, each in ratios.items()},
        "trace_to_range": {name: [round(min(each), 3), round(max(each), 3)] for name, each in ratios.items()},
        "fastest_peer": fastest,
    }


def sample_text(language_model: LanguageModel, tokens: int) -> TokenizedText:
    """The page's samples, as one window of `tokens` tokens, BOS included.

    Raises:
        TrackerError: the samples have fewer tokens.
    """
    text = tokenize(" ".join(SAMPLES.values()), language_model.tokenizer, window=tokens, max_tokens=100_000)
    if text.n_tokens < tokens - 1:
        raise TrackerError(
            f"--tokens {tokens:,} asks for more than the sample texts have; use at most {text.n_tokens + 1:,}."
        )
    return TokenizedText("", text.ids[: tokens - 1], text.offsets[: tokens - 1], tokens)


def row_of(text: TokenizedText, language_model: LanguageModel) -> torch.Tensor:
    """(1, window) token ids of the text's one window, BOS first, on the model's device."""
    ids = np.concatenate([np.array([language_model.bos_id], np.int64), text.ids])
    return torch.from_numpy(ids)[None].to(language_model.model.device)


def as_stored(saes: Mapping[int, Sae]) -> dict[int, Sae]:
    """SAEs with the weights of their files, which every library chooses by."""
    return {layer: sae.as_stored() for layer, sae in saes.items()}


def traced_features(text: TokenizedText, language_model: LanguageModel, saes: Mapping[int, Sae]) -> Encoded:
    """The activations that a trace finds, in the form in which peers return theirs."""
    trace = trace_tokens(text, language_model, saes)
    return {
        layer: TopK(torch.from_numpy(layer_trace.values), torch.from_numpy(layer_trace.indices).long())
        for layer, layer_trace in trace.layers.items()
    }


def _discarding(run: Run) -> Callable[[], None]:
    def discard() -> None:
        run()

    return discard


def versions_of(libraries: Sequence[str]) -> dict[str, str]:
    """The installed version of each library."""
    versions: dict[str, str] = {}
    for name in libraries:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions


if __name__ == "__main__":
    main()
