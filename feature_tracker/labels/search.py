"""Find features by the words of their labels, or by what these mean."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from feature_tracker.errors import TrackerError

_FIELDS = {"label": 3.0, "top_words": 1.5, "detail": 1.0}
"""Columns that are searched, and what a match in each counts."""
_WORD = re.compile(r"[^\W_]+")
_ENDING = re.compile(r"(?<=...)(?:ies|ing|ed|es|s|y|e)$")
MEANING_MISSING = (
    "Searching by meaning needs the package wordllama, which holds a small sentence model: "
    'pip install "feature-activation-tracker[search]"'
)
"""Message for users where that package isn't installed."""


def search_words(frame: pd.DataFrame, query: str) -> pd.Series:
    """Score features by how many of the query's words their label, top words and detail hold.

    Endings make no difference: *loans* finds *loan* and *lending* finds *lend*. A word of the query may be the
    beginning of a longer one.

    Args:
        frame: rows of a label table.

    Returns:
        The scores of the rows that hold every word of the query, highest first; all rows with 0 for an empty query.
    """
    stems = [_stem(word) for word in _WORD.findall(query.casefold())]
    scores = pd.Series(0.0, index=frame.index)
    holds_all = pd.Series(True, index=frame.index)
    for stem in stems:
        pattern = rf"(?<![^\W_]){re.escape(stem)}"
        found = pd.Series(0.0, index=frame.index)
        for name, weight in _FIELDS.items():
            if name in frame:
                found += weight * frame[name].astype(str).str.casefold().str.contains(pattern, regex=True)
        scores += found
        holds_all &= found > 0
    return scores[holds_all].sort_values(ascending=False, kind="stable")


def search_meaning(frame: pd.DataFrame, query: str) -> pd.Series:
    """Score features by how near their label and detail are to the query in meaning.

    Args:
        frame: rows of a label table.

    Returns:
        Cosines from -1 to 1, highest first.

    Raises:
        TrackerError: the package with the sentence model is not installed.
    """
    details = frame["detail"].astype(str) if "detail" in frame else pd.Series("", index=frame.index)
    texts = (frame["label"].astype(str) + ". " + details).tolist()
    vectors = _embedded(tuple(texts))
    cosine = vectors @ _unit(_sentence_model().embed([query]))[0]
    return pd.Series(cosine, index=frame.index).sort_values(ascending=False, kind="stable")


@cache
def _sentence_model() -> Any:
    try:
        import wordllama  # noqa: PLC0415 - an optional package
    except ImportError:
        raise TrackerError(MEANING_MISSING) from None
    # The wheel holds weights and tokenizer, but the tokenizer is found only where the package is taken for the cache.
    folder = Path(wordllama.__file__).parent
    return wordllama.WordLlama.load(cache_dir=folder, disable_download=True)


@cache
def _embedded(texts: tuple[str, ...]) -> np.ndarray:
    return _unit(_sentence_model().embed(list(texts)))


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def _stem(word: str) -> str:
    return _ENDING.sub("", word)
