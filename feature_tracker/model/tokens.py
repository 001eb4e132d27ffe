"""A text as tokens, words and windows; every character is in one token, every token in one word and one window."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from transformers import PreTrainedTokenizerBase

from feature_tracker.errors import TrackerError
from feature_tracker.text import TokenWords, words_of_tokens


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

    Characters that the tokenizer's own offsets leave out, such as trimmed spaces, go to the token that follows them;
    those after the last token go to it.

    Args:
        window: longest window, BOS included.
        max_tokens: longest text taken.

    Raises:
        TrackerError: the text is blank, or longer than `max_tokens`.
    """
    if not text.strip():
        raise TrackerError("There is no text to analyze yet. Paste a passage, choose a sample or upload a .txt file.")
    encoded = tokenizer(
        text,
        add_special_tokens=False,
        split_special_tokens=True,  # a text that spells a special token means its characters
        return_offsets_mapping=True,
        verbose=False,
    )
    ids = np.asarray(encoded["input_ids"], dtype=np.int64)
    over = len(ids) - max_tokens
    if over > 0:
        raise TrackerError(
            f"This text has {len(ids):,} tokens; at most {max_tokens:,} are analyzed at once, and nothing is cut "
            f"silently. Shorten it by {over:,} token{'' if over == 1 else 's'}, or analyze it in parts."
        )
    # Tokens that share a character overlap; the first keeps it, so that no view shows a character twice.
    ends = np.maximum.accumulate(np.asarray(encoded["offset_mapping"], dtype=np.int64)[:, 1])
    ends[-1] = len(text)
    offsets = np.stack([np.concatenate([[0], ends[:-1]]), ends], axis=1)
    return TokenizedText(text, ids, offsets, window)
