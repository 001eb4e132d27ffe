"""The lexicon that labels are written in: which words are alike, and which passages are about what."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from scipy.sparse import csr_array

from feature_tracker.errors import TrackerError
from feature_tracker.rule_labels.classes import token_classes
from feature_tracker.rule_labels.words import word_forms

SPELLING = "words in "
"""How the name of a family begins whose words begin alike."""

STEP = 0.01
"""Likeness is kept in steps of this size, as bytes."""

MOST = 1.5
"""Largest likeness: of a word that is more typical than the typical ones of its family."""


@dataclass(frozen=True)
class Lexicon:
    """Families of words, classes of tokens and topics of passages, each with a name.

    Attributes:
        words: (n_words,) str, the word forms that are in it, see `words.word_form`.
        families: (n_words, n_families) uint8, how like a family's typical words each word is, in steps of `STEP`.
        typical_words: words that stand best for each family, by its name, in the order of `families`.
        topics: (n_words, n_topics) uint8, how telling a word is of a topic, in steps of `STEP`.
        topic_names: two telling words each.
        near_low, near_high: (n_kinds,) mean likeness of few tokens in a row that counts as none, and as full.
        passage_high: (n_topics,) mean of a passage's words that counts as full.
        classes: (vocabulary,) bool of each named class.
        word_of: (vocabulary,) index of each token's word, n_words where the lexicon lacks it.
    """

    words: np.ndarray
    families: np.ndarray
    typical_words: dict[str, list[str]]
    topics: np.ndarray
    topic_names: list[str]
    near_low: np.ndarray
    near_high: np.ndarray
    passage_high: np.ndarray
    classes: dict[str, np.ndarray]
    word_of: np.ndarray

    @cached_property
    def kinds(self) -> list[str]:
        """Names of the kinds of words: families first, as "rising/growing", then classes, as "digits"."""
        return [*self.typical_words, *self.classes]

    @cached_property
    def place_of(self) -> dict[str, int]:
        """Where in `words` each word is."""
        return {str(word): place for place, word in enumerate(self.words)}

    @cached_property
    def families_of(self) -> dict[str, set[str]]:
        """Names of the families that a word is typical of."""
        found = defaultdict(set)
        for name, words in self.typical_words.items():
            for word in words:
                found[word].add(name)
        return found

    @cached_property
    def kind_table(self) -> np.ndarray:
        """(vocabulary, n_kinds) float32, how like each kind a token is: up to `MOST`, for classes 0 or 1."""
        none = np.zeros((1, self.families.shape[1]), np.uint8)
        families = np.concatenate([self.families, none])[self.word_of] * np.float32(STEP)
        return np.concatenate([families, np.stack(list(self.classes.values()), axis=1)], axis=1, dtype=np.float32)

    @cached_property
    def topic_table(self) -> np.ndarray:
        """(vocabulary, n_topics) float32, how telling of each topic a token is."""
        none = np.zeros((1, self.topics.shape[1]), np.uint8)
        return np.concatenate([self.topics, none])[self.word_of] * np.float32(STEP)


def lexicon_path(labels: Path) -> Path:
    """Where the lexicon lies that a table of labels is written in."""
    return labels.with_suffix(".lexicon.safetensors")


def save_lexicon(lexicon: Lexicon, path: Path) -> None:
    """Write all but the classes, which are defined in code. Families are written as a sparse matrix.

    Raises:
        TrackerError: it can't be written.
    """
    names = {"words": lexicon.words.tolist(), "typical": lexicon.typical_words, "topics": lexicon.topic_names}
    arrays = {name: getattr(lexicon, name) for name in ("topics", "near_low", "near_high", "passage_high")}
    families = csr_array(lexicon.families)
    arrays |= {"families": families.data, "family_of": families.indices.astype(np.uint16), "begins": families.indptr}
    try:
        save_file(arrays, path, {name: json.dumps(value, ensure_ascii=False) for name, value in names.items()})
    except SafetensorError as error:
        raise TrackerError(f"{path} can't be written ({error}).") from None


def load_lexicon(path: Path, texts: Sequence[str], bos_id: int) -> Lexicon:
    """Read what `save_lexicon` wrote.

    Args:
        texts: (vocabulary,) what each token reads.

    Raises:
        TrackerError: there is no such file, or it is no lexicon.
    """
    try:
        with safe_open(path, "np") as file:
            names = {name: json.loads(value) for name, value in (file.metadata() or {}).items()}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        words, typical = np.array(names["words"], dtype=str), names["typical"]
        sparse = arrays.pop("families"), arrays.pop("family_of").astype(np.int32), arrays.pop("begins")
        families = csr_array(sparse, shape=(len(words), len(typical))).toarray()
        return assemble(
            texts, bos_id, words=words, families=families, typical_words=typical, topic_names=names["topics"], **arrays
        )
    except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
        raise _no_lexicon(path, error) from None


def load_typical_words(path: Path) -> dict[str, list[str]]:
    """`Lexicon.typical_words` from a lexicon's file, whatever the vocabulary; nothing where there is no such file.

    Raises:
        TrackerError: the file is no lexicon.
    """
    if not path.is_file():
        return {}
    try:
        with safe_open(path, "np") as file:
            return json.loads((file.metadata() or {})["typical"])
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise _no_lexicon(path, error) from None


def assemble(
    texts: Sequence[str],
    bos_id: int,
    *,
    words: np.ndarray,
    families: np.ndarray,
    typical_words: dict[str, list[str]],
    topics: np.ndarray,
    topic_names: list[str],
    near_low: np.ndarray,
    near_high: np.ndarray,
    passage_high: np.ndarray,
) -> Lexicon:
    """A lexicon for a vocabulary, with the classes of its tokens."""
    forms = word_forms(list(texts))
    order = np.argsort(words)
    found = order[np.minimum(np.searchsorted(words, forms, sorter=order), len(words) - 1)]
    word_of = np.where(words[found] == forms, found, len(words))
    classes = token_classes(texts, bos_id)
    return Lexicon(
        words, families, typical_words, topics, topic_names, near_low, near_high, passage_high, classes, word_of
    )


def as_steps(likeness: np.ndarray | torch.Tensor) -> np.ndarray:
    """Likeness in steps of `STEP`, as bytes."""
    return np.rint(np.clip(np.asarray(likeness), 0, MOST) / STEP).astype(np.uint8)


def _no_lexicon(path: Path, error: Exception) -> TrackerError:
    return TrackerError(
        f"Expected the lexicon of the labels at {path}: {error}. `feature-tracker labels make` writes it beside the "
        "table."
    )
