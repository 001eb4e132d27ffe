"""Where in an archive's documents a feature fires: along each document, and in sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from feature_tracker.archive.archive import Archive
from feature_tracker.archive.schema import EXCERPTS
from feature_tracker.errors import TrackerError
from feature_tracker.feature import Feature
from feature_tracker.text import sentence_spans

_AROUND = 240  # characters before and after a peak, of which whole sentences are kept


@dataclass(frozen=True)
class Excerpt:
    """A sentence in which a feature fires.

    Attributes:
        document: its number.
        text: the sentence, or what of a long one is near the peak.
        share: of the feature's strongest activation in the archive.
        marks: (start, end, tenths) characters of the text and how strongly the feature fires there.
    """

    document: int
    text: str
    share: float
    marks: list[tuple[int, int, int]]


def strongest_excerpts(archive: Archive, feature: Feature, *, most: int = 5) -> list[Excerpt]:
    """Where a feature fires most, in different documents, the strongest first; none in an archive that isn't finished.

    Raises:
        TrackerError: the archive is damaged.
    """
    path = archive.folder / "excerpts.parquet"
    if not path.exists():
        return []
    chosen = (pc.field("layer") == feature.layer) & (pc.field("feature") == feature.index) & (pc.field("kind") == "top")
    try:
        table = pq.read_table(path, columns=EXCERPTS.names, filters=chosen)
    except (OSError, pa.ArrowInvalid) as error:
        raise TrackerError(f"{path} is damaged ({error}). Run the documents again into a new folder.") from None
    rows = table.sort_by([("activation", "descending")]).slice(0, most).to_pylist()
    documents = [row["document"] for row in rows]
    texts, spans = archive.texts(documents), _token_spans(archive, documents)
    firing = _firings(archive, feature, documents)
    excerpts = []
    for row in rows:
        document = row["document"]
        start, end = _sentence(texts[document], *spans[row["token"]])
        marks = [
            (from_ - start, to - start, int(10 * value / rows[0]["activation"]))
            for token, value in firing[document]
            for from_, to in [_without_spaces(texts[document], *spans[token])]
            if start <= from_ < to <= end
        ]
        share = row["activation"] / rows[0]["activation"]
        excerpts.append(Excerpt(document, texts[document][start:end], share, marks))
    return excerpts


def along_documents(archive: Archive, features: Sequence[Feature], *, n_bins: int = 20) -> np.ndarray:
    """(n_documents, n_bins) float32 how much features fire from the beginning to the end of each document.

    A number is the mean over the tokens of a piece, and over the features, of sqrt(activation) as a share of the
    feature's largest. Attention sinks count as silent.
    """
    n_tokens = np.maximum(archive.documents["n_tokens"].to_numpy(), 1)
    first = archive.documents["first_token"].to_numpy()
    values = np.zeros((len(n_tokens), n_bins), dtype=np.float32)
    sinks = _sinks(archive)
    for feature in features:
        found = archive.activations(feature.layer).to_table(
            columns=["document", "token", "activation"], filter=pc.field("feature") == feature.index
        )
        document, token, activation = (found[name].to_numpy() for name in ("document", "token", "activation"))
        counts = ~np.isin(token, sinks)
        document, token, root = document[counts], token[counts], np.sqrt(activation[counts])
        if len(root):
            bins = (token - first[document]) * n_bins // n_tokens[document]
            np.add.at(values, (document, bins), root / root.max())
    return values * (n_bins / n_tokens / max(len(features), 1))[:, None].astype(np.float32)


def beginning(archive: Archive, document: int, n_tokens: int) -> str:
    """A document's text up to the end of the last whole sentence within so many tokens."""
    text = archive.texts([document])[document]
    spans = _token_spans(archive, [document])
    if len(spans) <= n_tokens:
        return text
    limit = spans[min(spans) + n_tokens - 1][1]
    ends = [int(end) for _, end in sentence_spans(text) if end <= limit]
    return text[: ends[-1] if ends else limit]


def _sinks(archive: Archive) -> np.ndarray:
    return archive.dataset("tokens").to_table(columns=["token"], filter=pc.field("attention_sink"))["token"].to_numpy()


def _token_spans(archive: Archive, documents: Sequence[int]) -> dict[int, tuple[int, int]]:
    """(start, end) characters of every token of some documents, by its number in the archive."""
    table = archive.dataset("tokens").to_table(
        columns=["token", "start", "end"], filter=pc.field("document").isin([int(n) for n in documents])
    )
    token, start, end = (column.to_pylist() for column in table.columns)
    return dict(zip(token, zip(start, end, strict=True), strict=True))


def _firings(archive: Archive, feature: Feature, documents: Sequence[int]) -> dict[int, list[tuple[int, float]]]:
    chosen = (pc.field("feature") == feature.index) & pc.field("document").isin([int(n) for n in documents])
    table = archive.activations(feature.layer).to_table(columns=["document", "token", "activation"], filter=chosen)
    firings: dict[int, list[tuple[int, float]]] = {document: [] for document in documents}
    for row in table.sort_by("token").to_pylist():
        firings[row["document"]].append((row["token"], row["activation"]))
    return firings


def _without_spaces(text: str, start: int, end: int) -> tuple[int, int]:
    """Characters of a token without the white space before and after its word."""
    word = text[start:end]
    return end - len(word.lstrip()), start + len(word.rstrip())


def _sentence(text: str, start: int, end: int) -> tuple[int, int]:
    """Characters of the sentence around a token, or of what of it is near the token."""
    before, after = max(start - _AROUND, 0), min(end + _AROUND, len(text))
    near = text[before:after]
    for from_, to in sentence_spans(near):
        if from_ <= start - before < to:
            return before + int(from_), before + int(to)
    return before, after
