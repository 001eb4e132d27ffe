"""A text as tokens, words and windows; every character is in one token, every token in one word and one window."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from transformers import PreTrainedTokenizerBase

from feature_tracker.errors import TrackerError
from feature_tracker.text import TokenWords, words_of_tokens

CHARACTERS_PER_TOKEN = 20
"""Of a text, at most: a longer one is refused before it is tokenized, which takes seconds a megabyte. English prose has
4.5 characters a token; filings in plain text, with their runs of spaces and dashes, have up to 10."""

_SURROGATE = re.compile("[\ud800-\udfff]")
_WHITE_SPACE = re.compile(r"\s")
_UTF16_NULS = 0.45  # of all characters; half of them in UTF-16 of Latin letters
_SHORTEST_UTF16 = 8


@dataclass(frozen=True)
class TokenizedText:
    """A text with its tokens, BOS not among them.

    Attributes:
        text: as the user wrote it.
        ids: (n_tokens,) int64.
        offsets: (n_tokens, 2) int64, each token's first and one-past-last character in `text`. A character of several
            tokens (an emoji) belongs to the first; the others are empty.
        window: longest window, BOS included.
        is_cut: whether it continues other text, so that its first token had words before it.
    """

    text: str
    ids: np.ndarray
    offsets: np.ndarray
    window: int
    is_cut: bool = False

    @property
    def n_tokens(self) -> int:
        """Tokens without BOS."""
        return len(self.ids)

    @property
    def window_starts(self) -> tuple[int, ...]:
        """First token of each window."""
        return tuple(range(0, self.n_tokens, self.window - 1))

    def windows(self) -> Iterator[np.ndarray]:
        """The ids window by window, without BOS."""
        for start in self.window_starts:
            yield self.ids[start : start + self.window - 1]

    @property
    def token_texts(self) -> list[str]:
        """The characters of each token; those of a text from `tokenize` join to the whole text."""
        return [self.text[start:end] for start, end in self.offsets]

    @cached_property
    def words(self) -> TokenWords:
        """The words that tokens belong to; runs of other signs and blank tokens are words of their own."""
        return words_of_tokens(self.text, self.offsets)

    def word_at(self, position: int) -> str:
        """The whole word that a token belongs to, without white space around it; a blank token is itself."""
        start, end = self.words.spans[self.words.word_of[position]]
        return self.text[start:end]

    def excerpt_at(self, position: int, *, before: int = 26, after: int = 16) -> str:
        """The word that a token belongs to and its neighbours, on one line.

        Args:
            before: characters that words before it may take. They are more than those after it, which the model had not
                read yet.
            after: characters that words after it may take.
        """
        spans = self.words.spans
        start, end = spans[self.words.word_of[position]]
        first = int(np.searchsorted(spans[:, 0], start - before))
        last = int(np.searchsorted(spans[:, 1], end + after, side="right")) - 1
        text = " ".join(self.text[spans[first, 0] : spans[last, 1]].split())
        return f"{'… ' if first > 0 else ''}{text}{' …' if last < len(spans) - 1 else ''}"


def tokenize(text: str, tokenizer: PreTrainedTokenizerBase, *, window: int, max_tokens: int) -> TokenizedText:
    """Tokenize a whole text, without special tokens and without truncation.

    The tokenizer may see other characters than the user wrote, as where it puts accents and their letters together: its
    offsets then leave some out. Those go to the token before them, as an accent does, and from the first white space on
    to the token that follows; those after the last token go to it.

    Args:
        window: longest window, BOS included.
        max_tokens: longest text taken.

    Raises:
        TrackerError: the text is blank, damaged, longer than `max_tokens`, or of no token.
    """
    _require_text(text, max_tokens)
    try:
        encoded = tokenizer(
            text,
            add_special_tokens=False,
            split_special_tokens=True,  # a text that spells a special token means its characters
            return_offsets_mapping=True,
            verbose=False,
        )
    except Exception as error:  # noqa: BLE001 - the tokenizers library raises nothing narrower
        raise TrackerError(f"This model's tokenizer can't read this text ({error}). Leave out unusual signs.") from None
    ids = np.asarray(encoded["input_ids"], dtype=np.int64)
    if not len(ids):
        raise TrackerError(
            "This model's tokenizer knows none of the characters of this text, so there is nothing to analyze. Paste "
            "a passage of words."
        )
    over = len(ids) - max_tokens
    if over > 0:
        raise TrackerError(
            f"This text has {len(ids):,} tokens; at most {max_tokens:,} are analyzed at once, and nothing is cut "
            f"silently. Shorten it by {over:,} token{'' if over == 1 else 's'}, or analyze it in parts."
        )
    return TokenizedText(text, ids, _whole_offsets(text, np.asarray(encoded["offset_mapping"], dtype=np.int64)), window)


def _require_text(text: str, max_tokens: int) -> None:
    """Refuse a text that isn't worth a tokenizer's time."""
    if not text.strip():
        raise TrackerError("There is no text to analyze yet. Paste a passage, choose a sample or upload a .txt file.")
    longest = max_tokens * CHARACTERS_PER_TOKEN
    if len(text) > longest:
        raise TrackerError(
            f"This text has {len(text):,} characters; at most {max_tokens:,} tokens are analyzed at once, in at most "
            f"{longest:,} characters, and nothing is cut silently. Analyze it in parts."
        )
    damaged = _SURROGATE.search(text)
    if damaged:
        raise TrackerError(
            f"Character {damaged.start() + 1:,} of this text is half of one (a lone surrogate): the text was damaged "
            "when it was copied. Delete that character, or copy the text again."
        )
    if text.count("\0") > _UTF16_NULS * len(text) and len(text) >= _SHORTEST_UTF16:
        raise TrackerError(
            "Half of the characters of this text are NULs: it is UTF-16 that was read in another encoding. Upload the "
            "file itself, or save it as UTF-8 and copy the text again."
        )


def _whole_offsets(text: str, offsets: np.ndarray) -> np.ndarray:
    """Offsets in which each character is in exactly one token; see `tokenize`."""
    # Tokens that share a character overlap; the first keeps it, so that no view shows a character twice.
    ends = np.maximum.accumulate(offsets[:, 1])
    for token in np.flatnonzero(offsets[1:, 0] > ends[:-1]):
        start, stop = ends[token], offsets[token + 1, 0]
        attached = _WHITE_SPACE.search(text, start, stop)
        ends[np.searchsorted(ends, start) : token + 1] = stop if attached is None else attached.start()
    ends[-1] = len(text)
    return np.stack([np.concatenate([[0], ends[:-1]]), ends], axis=1)
