"""Example sentences in which each feature fires, written for this project: they show a feature without a corpus."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from feature_tracker.bundles.bundle import Bundle
from feature_tracker.errors import TrackerError
from feature_tracker.files import data_root, numbered_lines, replacing
from feature_tracker.labels.columns import KEYS
from feature_tracker.progress import Progress, silent
from feature_tracker.tracing.trace import Trace
from feature_tracker.tracker import Tracker

MOST_EXAMPLES = 6
STRONG = 0.5
"""An example is strong above this share of the feature's largest activation in a large body of text."""
_SPREAD = (0.5, 0.3, 0.15)
"""After the strongest three, the examples nearest to these shares of the strongest are taken."""
_TENTHS = 10
COLUMNS = [*KEYS, "sentence", "share", "marks"]


def read_sentences() -> list[str]:
    """The sentences of `labels/sentences.txt`, one a line; lines that begin with `#` are headings and left out.

    Raises:
        TrackerError: the file can't be read.
    """
    path = data_root() / "labels" / "sentences.txt"
    return [line.strip() for _, line in numbered_lines(path) if not line.startswith("#")]


def find_examples(sentences: Sequence[str], tracker: Tracker, progress: Progress = silent) -> pd.DataFrame:
    """Up to six sentences for each feature, from strong to weak.

    Args:
        sentences: each is run alone.

    Returns:
        One row an example, in the order of features and of falling strength: `layer`, `feature`, `sentence`, its number
        from 0, `share` of the feature's largest activation (that of the label table, else that on these sentences),
        and `marks`, each word on which it fires as `start:end:tenths`, with spaces between; tenths are
        those of the same largest activation, at most 10.
    """
    peaks: dict[int, list[np.ndarray]] = {layer: [] for layer in tracker.saes}
    traces: list[Trace] = []
    for number, sentence in enumerate(sentences):
        trace = tracker.trace(sentence)
        traces.append(trace)
        for layer, part in trace.layers.items():
            peaks[layer].append(part.dense()[trace.counted].max(axis=0))
        progress("Reading the sentences", (number + 1) / len(sentences))
    rows = []
    for layer, maxima in peaks.items():
        strongest = np.stack(maxima)
        largest = _largest(tracker, layer, strongest)
        for latent in range(strongest.shape[1]):
            for number in _choose(strongest[:, latent]):
                marks = _marks(traces[number], layer, latent, largest[latent])
                share = round(float(strongest[number, latent] / largest[latent]), 3)
                rows.append((layer, latent, number, share, marks))
    return pd.DataFrame(rows, columns=COLUMNS)


def examples_path(bundle: Bundle) -> Path:
    """Where the index of a bundle's examples is: beside its label table."""
    return bundle.labels.with_name(f"{bundle.labels.stem}.examples.csv")


def save_examples(examples: pd.DataFrame, sentences: Sequence[str], path: Path) -> None:
    """Write an index of examples as CSV, below a line that says of which sentences it is.

    Raises:
        TrackerError: it can't be written.
    """
    with replacing(path) as beside, beside.open("w", encoding="utf-8", newline="") as file:
        file.write(_first_line(sentences))
        examples.to_csv(file, index=False, lineterminator="\n")


def load_examples(path: Path, sentences: Sequence[str]) -> pd.DataFrame:
    """Read an index of examples, indexed by (layer, feature).

    Raises:
        TrackerError: the file can't be read, is no index, or one of other sentences.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            is_of_these = file.readline() == _first_line(sentences)
            frame = pd.read_csv(file, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise TrackerError(f"{path} can't be read ({error}). Make it with: feature-tracker labels examples") from None
    if not is_of_these or list(frame.columns) != COLUMNS:
        raise TrackerError(f"{path} is no index of these sentences. Make it anew: feature-tracker labels examples")
    return frame.set_index(KEYS)


def coverage(examples: pd.DataFrame, n_latents: Mapping[int, int]) -> dict[int, float]:
    """Share of each layer's features with at least three strong examples."""
    strong = examples[examples["share"] > STRONG].groupby(KEYS).size()
    enough = strong[strong >= 3].groupby("layer").size()
    return {layer: float(enough.get(layer, 0)) / n for layer, n in n_latents.items()}


def _first_line(sentences: Sequence[str]) -> str:
    return f"# {hashlib.sha256(chr(10).join(sentences).encode()).hexdigest()[:12]}, which these sentences hash to\n"


def _largest(tracker: Tracker, layer: int, strongest: np.ndarray) -> np.ndarray:
    """(n_latents,) each latent's largest activation as far as anybody knows; 1 where it never fires."""
    here = strongest.max(axis=0)
    index = pd.MultiIndex.from_product([[layer], range(strongest.shape[1])])
    measured = tracker.labels.frame["max_activation"].reindex(index).to_numpy(dtype=float)
    largest = np.where(np.isnan(measured), here, measured)
    return np.where(largest > 0, largest, 1.0)


def _choose(strongest: np.ndarray) -> list[int]:
    """Sentences to show, strongest first."""
    order = np.argsort(-strongest, kind="stable")
    order = order[strongest[order] > 0]
    chosen = order[: MOST_EXAMPLES - len(_SPREAD)].tolist()
    rest = order[MOST_EXAMPLES - len(_SPREAD) :]
    for share in _SPREAD[: len(rest)]:
        nearest = int(rest[np.abs(strongest[rest] - share * strongest[order[0]]).argmin()])
        chosen.append(nearest)
        rest = rest[rest != nearest]
    return sorted(chosen, key=lambda number: -strongest[number])


def _marks(trace: Trace, layer: int, latent: int, largest: float) -> str:
    by_word = trace.by_word(trace.layers[layer].column(latent))
    tenths = np.minimum(np.ceil(_TENTHS * by_word / largest), _TENTHS).astype(int)
    return " ".join(
        f"{start}:{end}:{n}" for (start, end), n in zip(trace.tokens.words.spans.tolist(), tenths, strict=True) if n
    )


def parse_marks(marks: str) -> list[tuple[int, int, int]]:
    """(start, end, tenths) of each marked word, from a cell of the index."""
    return [(int(a), int(b), int(c)) for a, b, c in (mark.split(":") for mark in marks.split())]
