"""`python -m benchmarks.ray_engine --texts FILE`: a corpus run on Ray, a worker a core, against one process."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import pyarrow.parquet as pq

_CHARACTERS_PER_TOKEN = 4.5


@click.command()
@click.option("--texts", required=True, type=click.Path(path_type=Path), help="A .jsonl.gz file with a text a line.")
@click.option("--tokens", default=700_000, show_default=True, help="About how many are run: some three minutes.")
@click.option("--workers", default=os.cpu_count() or 1, show_default="one a core", help="Of Ray.")
def main(texts: Path, tokens: int, workers: int) -> None:
    """Run the same documents through both engines, one after the other, each in a process of its own.

    Times are of the whole command: Python, Ray and the model have to be started, too.
    """
    figures: dict[str, object] = {"workers": workers, "cores": os.cpu_count()}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        _write_documents(texts, root / "texts.jsonl", tokens * _CHARACTERS_PER_TOKEN)
        engines = {"local": ["--engine", "local"], "ray": ["--engine", "ray", "--workers", str(workers)]}
        for engine, options in engines.items():
            figures[f"load_before_{engine}"] = round(os.getloadavg()[0], 1)
            figures[f"{engine}_s"] = round(_run(root / "texts.jsonl", root / engine, options), 1)
        figures |= _differences(root / "local", root / "ray")
    figures["overhead"] = round(figures["ray_s"] / figures["local_s"] - 1, 3)  # pyright: ignore[reportOperatorIssue]
    click.echo(json.dumps(figures))


def _write_documents(texts: Path, path: Path, characters: float) -> None:
    with gzip.open(texts, "rt", encoding="utf-8") as lines, path.open("w", encoding="utf-8") as file:
        for line in lines:
            file.write(line)
            characters -= len(line)
            if characters <= 0:
                return


def _run(texts: Path, out: Path, options: list[str]) -> float:
    command = [sys.executable, "-m", "feature_tracker", "corpus", "run", str(texts), "--out", str(out), *options]
    start = time.perf_counter()
    click.echo(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout, err=True)
    return time.perf_counter() - start


def _differences(folder: Path, other: Path) -> dict[str, object]:
    """How many files hold other tables, how many activations there are, and how many more or fewer the other has."""
    paths = [path.relative_to(folder) for path in sorted(folder.rglob("*.parquet"))]
    differing = [path for path in paths if not pq.read_table(folder / path).equals(pq.read_table(other / path))]
    rows, other_rows = (
        sum(pq.read_metadata(root / path).num_rows for path in paths if path.parts[0] == "activations")
        for root in (folder, other)
    )
    tokens = sum(pq.read_metadata(folder / path).num_rows for path in paths if path.parts[0] == "tokens")
    return {
        "n_tokens": tokens,
        "files": len(paths),
        "files_that_differ": len(differing),
        "activations": rows,
        "activations_more": other_rows - rows,
    }


if __name__ == "__main__":
    main()
