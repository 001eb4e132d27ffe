"""`python -m benchmarks.archive --finance FILE`: a run into an archive against the bare stopped forward of its text.

Both take turns in one run. Padding, bytes by column and peak memory of few and of ten times as many documents beside.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import click
import numpy as np
import pyarrow.parquet as pq
import torch

from benchmarks.alternate import alternate
from feature_tracker.archive.inputs import Inputs
from feature_tracker.archive.run import RunReport, run_corpus
from feature_tracker.bundles.bundle import BUILT_IN
from feature_tracker.corpus.documents import read_documents, windows_of
from feature_tracker.model.hooks import read_residuals
from feature_tracker.tracing.run import batched
from feature_tracker.tracker import Tracker

_BATCH_SIZES = (1024, 2048, 4096)
_STRIDE = 37  # of the documents that are taken, so that all kinds of text are among them


@click.command()
@click.option("--finance", required=True, type=click.Path(path_type=Path), help="The text: a .jsonl(.gz) file.")
@click.option("--bundle", "bundle_name", default=BUILT_IN, show_default=True, help="Which model and SAEs.")
@click.option("--characters", default=250_000, show_default=True, help="Of the text that is run in each round.")
@click.option("--rounds", default=5, show_default=True, help="How often the pair is timed.")
@click.option(
    "--memory-documents",
    default=20,
    show_default=True,
    help="And ten times as many; they should fill two parts. 0: none.",
)
def main(finance: Path, bundle_name: str, characters: int, rounds: int, memory_documents: int) -> None:
    """Measure throughput, padding, size and memory of archives."""
    tracker = Tracker.open(bundle_name)
    texts = _some_texts(finance, characters)
    windows = list(windows_of(texts, tracker.language_model.tokenizer, window=tracker.bundle.window))
    n_tokens = sum(map(len, windows))
    best = _best_batch_size(tracker, windows)
    with tempfile.TemporaryDirectory() as folder:
        text_file = Path(folder) / "texts.jsonl"
        text_file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
        reports: list[RunReport] = []

        def archive() -> None:
            out = Path(folder) / str(len(reports))
            reports.append(run_corpus(tracker, Inputs(paths=(text_file,)), out))

        timed = alternate({"bare": lambda: _bare(tracker, windows, best), "archive": archive}, rounds)
        by_column = bytes_by_column(Path(folder) / "0")
    ratios = [bare / archived for bare, archived in zip(timed["bare"], timed["archive"], strict=True)]
    figures = {
        "bundle": tracker.bundle.name,
        "dtype": str(tracker.language_model.model.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "documents": len(texts),
        "tokens": n_tokens,
        "rounds": rounds,
        "best_batch_size": best,
        "bare_tokens_per_s": round(n_tokens / statistics.median(timed["bare"])),
        "archive_tokens_per_s": round(n_tokens / statistics.median(timed["archive"])),
        "archive_to_bare": round(statistics.median(ratios), 3),
        "archive_to_bare_min": round(min(ratios), 3),
        "archive_to_bare_max": round(max(ratios), 3),
        # BOS belongs to a window, not to its padding.
        "padding": round(1 - (n_tokens + len(windows)) / reports[0].n_positions, 4),
        "bytes_per_token": round(sum(by_column.values()) / n_tokens, 1),
        "bytes_per_token_by_column": {name: round(n / n_tokens, 2) for name, n in by_column.most_common()},
    }
    if memory_documents:
        few, many = (_peak_mb(finance, bundle_name, n) for n in (memory_documents, 10 * memory_documents))
        figures |= {"memory_documents": memory_documents, "peak_mb": few, "peak_mb_of_ten_times": many}
    click.echo(json.dumps(figures, indent=1))


def bytes_by_column(archive: Path) -> Counter[str]:
    """Compressed bytes of each table's columns, and what is left of the files: their footers and heads."""
    sizes: Counter[str] = Counter()
    for path in archive.rglob("*.parquet"):
        table = path.relative_to(archive).parts[0].removesuffix(".parquet")
        metadata = pq.read_metadata(path)
        sizes["footers"] += path.stat().st_size
        for group in range(metadata.num_row_groups):
            for column in range(metadata.num_columns):
                chunk = metadata.row_group(group).column(column)
                sizes[f"{table}.{chunk.path_in_schema}"] += chunk.total_compressed_size
                sizes["footers"] -= chunk.total_compressed_size
    return sizes


def _some_texts(path: Path, characters: int) -> list[str]:
    """Documents of all kinds, until they have so many characters."""
    texts: list[str] = []
    for document in islice(read_documents(path, None), 0, None, _STRIDE):
        texts.append(document.text)
        if sum(map(len, texts)) >= characters:
            break
    return texts


def _bare(tracker: Tracker, windows: Sequence[np.ndarray], tokens: int) -> None:
    """The forward alone, up to the last layer that has an SAE."""
    language_model = tracker.language_model
    last = max(tracker.saes)
    by_length = sorted(windows, key=len, reverse=True)
    for batch in batched(by_length, window=tracker.bundle.window, bos_id=language_model.bos_id, tokens=tokens):
        device_ids = batch.token_ids.to(language_model.model.device)
        read_residuals(language_model.decoder, device_ids, [last], lambda _layer, _resid: None)


def _best_batch_size(tracker: Tracker, windows: Sequence[np.ndarray]) -> int:
    whole = [ids for ids in windows if len(ids) == tracker.bundle.window - 1]
    whole = whole[: max(_BATCH_SIZES) // tracker.bundle.window]
    timed = alternate({str(size): lambda size=size: _bare(tracker, whole, size) for size in _BATCH_SIZES}, 2)
    return int(min(timed, key=lambda size: statistics.median(timed[size])))


def _peak_mb(finance: Path, bundle_name: str, n_documents: int) -> int:
    """Peak resident memory of the command on so many documents."""
    with tempfile.TemporaryDirectory() as folder:
        text_file = Path(folder) / "texts.jsonl"
        with text_file.open("w", encoding="utf-8") as file:
            for document in islice(read_documents(finance, None), n_documents):
                file.write(json.dumps({"text": document.text}) + "\n")
        command = [sys.executable, "-m", "feature_tracker", "corpus", "run", text_file, "--out", Path(folder) / "out"]
        process = subprocess.Popen([*command, "--bundle", bundle_name], stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise click.ClickException(f"the run of {n_documents} documents failed")
        return usage.ru_maxrss // 1024


if __name__ == "__main__":
    main()
