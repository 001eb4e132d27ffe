"""`python -m benchmarks.caching --texts FILE`: an archive against other libraries' ways of writing activations to disk.

Each run has a process of its own, and the ways take turns.
"""

from __future__ import annotations

import json
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from benchmarks.agreement import Encoded, same_features
from benchmarks.caching_runs import WAYS, Corpus, Task
from benchmarks.peers import NEEDED_AGREEMENT, as_stored, traced_features, versions_of
from feature_tracker.bundles.bundle import BUILT_IN
from feature_tracker.corpus.documents import read_documents
from feature_tracker.errors import TrackerError
from feature_tracker.labels.table import latents_of
from feature_tracker.model.fetching import ensure_model_folder
from feature_tracker.model.load import load_model
from feature_tracker.model.tokens import TokenizedText, tokenize
from feature_tracker.tracing.run import TOKENS_PER_FORWARD
from feature_tracker.tracker import Tracker

_STRIDE = 37  # of the documents that are taken, so that all kinds of text are among them
_CHECKED_BATCHES = 2  # and as many warm up a run that is timed
_LIBRARIES = ("torch", "transformers", "eai-sparsify", "eai-delphi", "transformer-lens", "sae-lens")


class Measured(NamedTuple):
    """One run.

    Attributes:
        seconds: without loading the model.
        n_bytes: that it wrote.
    """

    seconds: float
    n_bytes: int


@click.command()
@click.option("--texts", required=True, type=click.Path(path_type=Path), help="A .jsonl(.gz) file with a text a line.")
@click.option("--bundle", "bundle_name", default=BUILT_IN, show_default=True, help="Which model and SAEs.")
@click.option("--tokens", default=30_000, show_default=True, help="Of all windows, BOS included, about.")
@click.option("--rounds", default=3, show_default=True, help="How often each way is timed.")
@click.option(
    "--only", type=click.Choice(list(WAYS)), multiple=True, help="Time these and the archive; without it, all."
)
def main(texts: Path, bundle_name: str, tokens: int, rounds: int, only: tuple[str, ...]) -> None:
    """Time how long an archive and its peers take to write the activations of the same windows to disk.

    A way is timed only if what it wrote has the features that a trace finds. The last line printed is a JSON object.
    """
    names = dict.fromkeys(("archive", *(only or WAYS)))
    tracker = Tracker.open(bundle_name)
    window, language_model = tracker.bundle.window, tracker.language_model
    batch_size = max(1, TOKENS_PER_FORWARD // window)
    with tempfile.TemporaryDirectory() as folder:
        few, corpus = (
            make_corpus(
                (document.text for document in islice(read_documents(texts, None), 0, None, _STRIDE)),
                language_model.tokenizer,
                Path(folder) / f"{n_batches}.jsonl",
                window=window,
                n_windows=n_batches * batch_size,
                batch_size=batch_size,
            )
            for n_batches in (_CHECKED_BATCHES, max(_CHECKED_BATCHES + 1, tokens // (batch_size * window)))
        )
        agreement, refused = check_ways(names, bundle_name, few)
        timed: dict[str, list[Measured]] = {name: [] for name in names if name not in refused}
        for _ in range(rounds):
            for name, runs in timed.items():
                runs.append(_in_process(time_way, name, bundle_name, [few, corpus]))
    figures = {
        "bundle": tracker.bundle.name,
        "dtype": str(language_model.model.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "tokens": corpus.ids.size,
        "windows_at_once": batch_size,
        "rounds": rounds,
        "versions": versions_of(_LIBRARIES),
        "same_features_float32": {name: round(share, 4) for name, share in agreement.items()},
        "left_out": refused,
        **summarize(timed, corpus.ids.size),
    }
    click.echo(json.dumps(figures))


def make_corpus(
    texts: Iterable[str],
    tokenizer: PreTrainedTokenizerBase,
    path: Path,
    *,
    window: int,
    n_windows: int,
    batch_size: int,
) -> Corpus:
    """Write texts, each cut where its last whole window ends, so that all ways read the same windows and pad none.

    Raises:
        TrackerError: the texts have fewer whole windows.
    """
    documents: list[str] = []
    ids: list[np.ndarray] = []
    for text in filter(str.strip, texts):
        whole = tokenize(text, tokenizer, window=window, max_tokens=sys.maxsize)
        n_whole = min(whole.n_tokens // (window - 1), n_windows - len(ids))
        if not n_whole:
            continue
        cut = text[: whole.offsets[n_whole * (window - 1) - 1, 1]]
        windows = list(tokenize(cut, tokenizer, window=window, max_tokens=sys.maxsize).windows())
        if len(windows) == n_whole and len(windows[-1]) == window - 1:  # a cut within a word may change its tokens
            documents.append(cut)
            ids.extend(windows)
        if len(ids) == n_windows:
            path.write_text("".join(json.dumps({"text": text}) + "\n" for text in documents), encoding="utf-8")
            bos = np.full((n_windows, 1), tokenizer.bos_token_id)
            return Corpus(path, np.concatenate([bos, np.stack(ids)], axis=1), batch_size)
    raise TrackerError(f"The texts fill {len(ids):,} windows; {n_windows:,} are asked for. Ask for fewer --tokens.")


def check_ways(names: Iterable[str], bundle_name: str, corpus: Corpus) -> tuple[dict[str, float], dict[str, str]]:
    """By way, the share of (token, layer) pairs with a trace's features; by refused way, the reason."""
    agreement: dict[str, float] = {}
    refused: dict[str, str] = {}
    for name in names:
        checked = _in_process(check_way, name, bundle_name, corpus)
        if isinstance(checked, str):
            refused[name] = checked
            continue
        agreement[name] = checked
        if checked < NEEDED_AGREEMENT:
            refused[name] = f"gives a trace's features on {checked:.1%} of tokens, not {NEEDED_AGREEMENT:.0%}"
    return agreement, refused


def check_way(name: str, bundle_name: str, corpus: Corpus) -> float | str:
    """The share of (token, layer) pairs on which a way wrote a trace's features in float32, or why it fails."""
    try:
        time_way(name, bundle_name, [corpus])  # may fail in the bundle's dtype alone
        task = make_task(bundle_name, corpus, "float32")
        expected = trace_of(task)  # before a library wraps the model
        with tempfile.TemporaryDirectory() as folder:
            WAYS[name].prepare(task)(Path(folder))
            return same_features(expected, WAYS[name].read(Path(folder), task), latents_of(task.saes))
    except Exception as error:  # noqa: BLE001  a library may fail in any way on a model that it doesn't support
        return f"{type(error).__name__}: {error}".splitlines()[0]


def trace_of(task: Task) -> Encoded:
    """The activations that a trace finds in a task's windows."""
    ids = task.corpus.ids[:, 1:].ravel()
    text = TokenizedText("", ids, np.zeros((len(ids), 2), np.int64), task.corpus.ids.shape[1])
    return traced_features(text, task.tracker.language_model, task.tracker.saes)


def time_way(name: str, bundle_name: str, corpora: Sequence[Corpus]) -> Measured:
    """Run a way on all of the corpora, in the bundle's dtype, and measure it on the last."""
    measured = Measured(0, 0)
    for corpus in corpora:
        cache = WAYS[name].prepare(make_task(bundle_name, corpus))
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            cache(Path(folder))
            seconds = time.perf_counter() - start
            n_bytes = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
            measured = Measured(seconds, n_bytes)
    return measured


def make_task(bundle_name: str, corpus: Corpus, dtype: str | None = None) -> Task:
    """A corpus with a model of its own, in the bundle's dtype or another."""
    tracker = Tracker.open(bundle_name)
    if dtype is not None:
        tracker = replace(tracker, language_model=load_model(tracker.bundle, dtype=dtype))
    return Task(corpus, tracker, as_stored(tracker.saes), ensure_model_folder(tracker.bundle))


def summarize(timed: Mapping[str, Sequence[Measured]], n_tokens: int) -> dict[str, object]:
    """Medians of each way, and the ratio of the archive's time to every other's: median and range of the rounds'."""
    seconds = {name: [run.seconds for run in runs] for name, runs in timed.items()}
    ratios = {
        name: [ours / peer for ours, peer in zip(seconds["archive"], others, strict=True)]
        for name, others in seconds.items()
        if name != "archive"
    }
    return {
        "tokens_per_s": {name: round(n_tokens / statistics.median(each)) for name, each in seconds.items()},
        "bytes_per_token": {name: round(runs[-1].n_bytes / n_tokens) for name, runs in timed.items()},
        "archive_to": {name: round(statistics.median(each), 3) for name, each in ratios.items()},
        "archive_to_range": {name: [round(min(each), 3), round(max(each), 3)] for name, each in ratios.items()},
    }


def _in_process(function: Callable[..., Any], *args: object) -> Any:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *args).result()


if __name__ == "__main__":
    main()
