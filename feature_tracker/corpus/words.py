"""The words of a corpus, read from the token ids of its windows.

Words are the units of `feature_tracker.text`: words proper, runs of signs, and white space that stands alone. Two units
are one word where they differ in nothing but case, in the kind of apostrophe or in the amount of white space.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

import numpy as np
from transformers import PreTrainedTokenizerBase

from feature_tracker.text import is_word, words_of_tokens
from feature_tracker.tracing.run import Batch

NO_WORD = -1
"""Number of what no label can show, such as a part of a character, and of words that were not met before."""
PASSAGE = 24
"""Tokens to either side of a token that make up its passage, with itself; a passage ends with its window."""
_UNREADABLE = "\ufffd"
_FOLD_AT = 2000  # windows
_LONGEST = 40  # characters: longer ones are web addresses, rules of tables and text in scripts without spaces


class BatchWords(NamedTuple):
    """The words of a batch, for each of its tokens in order, BOS and padding left out.

    Attributes:
        words: (n_tokens,) int64 number of the token's word, or `NO_WORD`.
        occurrences: (n_tokens,) int64, ascending: tokens of one occurrence of a word have the same number.
        windows: (n_tokens,) int64, ascending: which window of the batch the token is in.
    """

    words: np.ndarray
    occurrences: np.ndarray
    windows: np.ndarray


class WordReader:
    """Numbers the words of a corpus in the order in which they are met, and counts their spellings.

    Args:
        tokenizer: of the model that runs the corpus.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._pieces = Pieces(tokenizer)
        self._counts: Counter[str] = Counter()  # of spellings, as the text has them
        self._numbers: dict[str, int] = {}  # of words, by what makes two spellings one word
        self._pairs = np.zeros(0, np.int64)  # word << 32 | document, of every word and document with it, ascending
        self._waiting: list[np.ndarray] = []  # pairs to be merged with these

    @property
    def n_words(self) -> int:
        """Different words met so far."""
        return len(self._numbers)

    def read(self, batch: Batch, documents: Sequence[int] | None = None) -> BatchWords:
        """The words of a batch.

        Args:
            documents: number of each window's document, to learn and count the words. Where it lacks, the text is held
                out: words that were not met before are `NO_WORD`.
        """
        learn = documents is not None
        words, occurrences, windows, n_occurrences = [], [], [], 0
        for window, (ids, length) in enumerate(zip(batch.text_ids.tolist(), batch.lengths, strict=True)):
            units, unit_of = self._pieces.units(ids[:length])
            numbers = np.array([self._number(unit, learn=learn) for unit in units], np.int64)
            if documents is not None:
                self._counts.update(unit for unit, number in zip(units, numbers, strict=True) if number != NO_WORD)
                self._waiting.append(np.unique(numbers[numbers != NO_WORD]) << 32 | documents[window])
            words.append(numbers[unit_of])
            occurrences.append(unit_of + n_occurrences)
            windows.append(np.full(length, window))
            n_occurrences += len(units)
        if len(self._waiting) > _FOLD_AT:
            self._fold()
        return BatchWords(np.concatenate(words), np.concatenate(occurrences), np.concatenate(windows))

    def documents(self) -> np.ndarray:
        """(n_words,) in how many documents each word occurs."""
        self._fold()
        return np.bincount(self._pairs >> 32, minlength=self.n_words)

    def shown(self) -> list[str]:
        """Each word in its most frequent spelling; signs and white space as somebody can read them."""
        most_frequent: dict[int, str] = {}
        for spelling, _ in self._counts.most_common():
            most_frequent.setdefault(self._number(spelling, learn=False), spelling)
        return [_readable(most_frequent[number]) for number in range(self.n_words)]

    def state(self) -> dict[str, np.ndarray]:
        """Everything met so far, as arrays for `restore`."""
        self._fold()
        spellings, counts = np.array(list(self._counts), str), np.array([*self._counts.values()], np.int64)
        return {"spellings": spellings, "counts": counts, "pairs": self._pairs}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Continue from the `state` of an earlier run."""
        spellings = state["spellings"].tolist()
        self._counts = Counter(dict(zip(spellings, state["counts"].tolist(), strict=True)))
        self._numbers, self._pairs, self._waiting = {}, state["pairs"], []
        for spelling in spellings:
            self._number(spelling, learn=True)

    def _fold(self) -> None:
        self._pairs = np.unique(np.concatenate([self._pairs, *self._waiting]))
        self._waiting = []

    def _number(self, unit: str, *, learn: bool) -> int:
        if not unit.isspace() and (_UNREADABLE in unit or not unit.isprintable() or len(unit) > _LONGEST):
            return NO_WORD
        key = ("\n" if "\n" in unit or "\r" in unit else " ") if unit.isspace() else unit.casefold().replace("’", "'")
        return self._numbers.setdefault(key, self.n_words) if learn else self._numbers.get(key, NO_WORD)


class Pieces(dict[int, str]):
    """Token id to text, filled as ids are met; a token that is a part of a character has `_UNREADABLE` in it.

    Each token is decoded after BOS where there is one, because some tokenizers leave out the space that begins a text.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        super().__init__()
        self._tokenizer = tokenizer
        self._bos_text = self._decode([])

    def __missing__(self, token_id: int) -> str:
        piece = self[token_id] = self._decode([token_id])[len(self._bos_text) :]
        return piece

    def texts(self, ids: list[int]) -> list[str]:
        """The text of each token of a window; a character of several tokens belongs to the first of them."""
        pieces = [self[token_id] for token_id in ids]
        if any(_UNREADABLE in piece for piece in pieces):
            self._join_characters(ids, pieces)
        return pieces

    def units(self, ids: list[int]) -> tuple[list[str], np.ndarray]:
        """The units of a window's text, and which of them each token belongs to, (n_tokens,) int64."""
        pieces = self.texts(ids)
        text = "".join(pieces)
        ends = np.cumsum([len(piece) for piece in pieces], dtype=np.int64)
        spans, unit_of = words_of_tokens(text, np.stack([np.concatenate([[0], ends[:-1]]), ends], axis=1))
        return [text[start:end] for start, end in spans.tolist()], unit_of

    def _join_characters(self, ids: list[int], pieces: list[str]) -> None:
        """Give a character of several tokens to the first of them, as `model.tokens.tokenize` does."""
        start = 0
        while start < len(ids):
            end = start + 1
            while _UNREADABLE in pieces[start] and end < len(ids) and _UNREADABLE in pieces[end]:
                end += 1
                joined = self._decode(ids[start:end])[len(self._bos_text) :]
                if _UNREADABLE not in joined:
                    pieces[start:end] = [joined, *[""] * (end - start - 1)]
                    break
            start = end

    def _decode(self, ids: list[int]) -> str:
        bos = cast("int | None", self._tokenizer.bos_token_id)
        before = [] if bos is None else [bos]
        return str(self._tokenizer.decode([*before, *ids], clean_up_tokenization_spaces=False))


def _readable(unit: str) -> str:
    """A sign by its name in Unicode, several signs in quotation marks, white space in words."""
    if unit.isspace():
        return "line break" if "\n" in unit or "\r" in unit else "space"
    if is_word(unit):
        return unit
    return unicodedata.name(unit, f"“{unit}”").lower() if len(unit) == 1 else f"“{unit}”"


def passage_means(values: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """(n_tokens, n) float64 means of `values` (n_tokens, n) over the passage around each token; see `PASSAGE`.

    Args:
        windows: (n_tokens,) of `BatchWords`.
    """
    positions = np.arange(len(windows))
    first = np.maximum(positions - PASSAGE, np.searchsorted(windows, windows, side="left"))
    end = np.minimum(positions + PASSAGE + 1, np.searchsorted(windows, windows, side="right"))
    sums = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0, dtype=float)])
    return (sums[end] - sums[first]) / (end - first)[:, None]
