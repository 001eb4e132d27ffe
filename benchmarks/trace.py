"""`python -m benchmarks.trace`: a trace against the bare forward of the same model, taking turns in one run."""

from __future__ import annotations

import json
import statistics

import click
import numpy as np
import torch

from benchmarks.alternate import alternate
from feature_tracker.bundles.bundle import BUILT_IN
from feature_tracker.model.load import LanguageModel
from feature_tracker.model.tokens import TokenizedText
from feature_tracker.tracing.run import trace_tokens
from feature_tracker.tracker import Tracker


@click.command()
@click.option("--bundle", "bundle_name", default=BUILT_IN, show_default=True, help="Which model and SAEs.")
@click.option("--tokens", default=512, show_default=True, help="Tokens of the one window, BOS included.")
@click.option("--rounds", default=15, show_default=True, help="How often the pair is timed.")
def main(bundle_name: str, tokens: int, rounds: int) -> None:
    """Time a trace (stopped after the last SAE layer) against a bare full forward without head."""
    tracker = Tracker.open(bundle_name)
    language_model = tracker.language_model
    text = _random_text(language_model, tokens)
    row = torch.from_numpy(np.concatenate([np.array([language_model.bos_id], np.int64), text.ids]))[None].to(
        language_model.model.device
    )

    @torch.inference_mode()
    def bare() -> None:
        language_model.decoder(input_ids=row, use_cache=False)

    def trace() -> None:
        trace_tokens(text, language_model, tracker.saes)

    timed = alternate({"bare_forward": bare, "trace": trace}, rounds, warmups=2)
    ratios = [t / b for t, b in zip(timed["trace"], timed["bare_forward"], strict=True)]
    figures = {
        "bundle": tracker.bundle.name,
        "tokens": tokens,
        "dtype": str(language_model.model.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "rounds": rounds,
        "bare_forward_ms": round(1e3 * statistics.median(timed["bare_forward"]), 1),
        "trace_ms": round(1e3 * statistics.median(timed["trace"]), 1),
        "trace_to_bare": round(statistics.median(ratios), 3),
        "trace_to_bare_min": round(min(ratios), 3),
        "trace_to_bare_max": round(max(ratios), 3),
    }
    click.echo(json.dumps(figures))


def _random_text(language_model: LanguageModel, tokens: int) -> TokenizedText:
    """Random tokens in one window: the cost of a forward does not depend on which tokens it gets."""
    ids = np.random.default_rng(0).integers(100, len(language_model.tokenizer), tokens - 1)  # 100: above special tokens
    return TokenizedText("", ids, np.zeros((tokens - 1, 2), np.int64), tokens)


if __name__ == "__main__":
    main()
