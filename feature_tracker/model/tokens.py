"""Text to tokens and windows; every token of the text is in exactly one window."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerBase

from feature_tracker.errors import TrackerError

_LONGEST_PART = 40  # characters of a word before or after a token of it


@dataclass(frozen=True)
class TokenizedText:
    """A text with its tokens, BOS not among them.

    Attributes:
        text: as the user wrote it.
        ids: (n_tokens,) int64.
        offsets: (n_tokens, 2) int64, each token's first and one-past-last character in `text`. A character of several
            tokens (an emoji) belongs to the first; the others are empty.
        window: longest window, BOS included.
        is_cut: whether it goes on from other text, so that its first token had words before it.
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
        """What each token reads in the text; joined, they give every character of tokenized text once."""
        return [self.text[start:end] for start, end in self.offsets]

    def word_at(self, position: int) -> str:
        """The word that a token is part of, or the token itself where it is no letter or digit; no blanks around."""
        while position and self.offsets[position, 0] == self.offsets[position, 1]:
            position -= 1  # a further token of a character that belongs to the one before
        first, last = (int(edge) for edge in self.offsets[position])
        token = self.text[first:last]
        before = re.search(r"\w*$", self.text[max(first - _LONGEST_PART, 0) : first])
        after = re.match(r"\w*", self.text[last : last + _LONGEST_PART])
        whole = (before[0] if before and token[:1].isalnum() else "") + token
        return (whole + (after[0] if after and token[-1:].isalnum() else "")).strip() or token


def tokenize(text: str, tokenizer: PreTrainedTokenizerBase, *, window: int, max_tokens: int) -> TokenizedText:
    """Tokenize a whole text, without special tokens and without truncation.

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
    offsets = np.asarray(encoded["offset_mapping"], dtype=np.int64)
    # Tokens that share a character overlap; the first keeps it, so that shading never shows a character twice.
    taken = np.maximum.accumulate(np.concatenate([[0], offsets[:-1, 1]]))
    offsets[:, 0] = np.maximum(offsets[:, 0], taken)
    offsets[:, 1] = np.maximum(offsets[:, 1], offsets[:, 0])
    return TokenizedText(text, ids, offsets, window)
