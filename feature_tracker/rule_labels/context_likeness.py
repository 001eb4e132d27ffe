"""How like the kinds of a lexicon a token is, and the tokens before it."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from feature_tracker.rule_labels.lexicon import MOST, Lexicon

Where = Literal["token", "previous", "near", "passage"]
WHERE: tuple[Where, ...] = get_args(Where)

NEAR = 6
"""How many tokens before the current one are near it."""

PASSAGE = 64
"""How many tokens up to the current one make its passage."""

_ONE_OF_NEAR = 1 / NEAR


class ContextLikeness:
    """Likeness at chosen positions of a text cut into windows; nothing looks beyond its window's start."""

    def __init__(self, token_ids: np.ndarray, positions: np.ndarray, lexicon: Lexicon) -> None:
        """See `Firings` for positions; token_ids (n_windows, window) start with BOS."""
        body = token_ids.shape[1] - 1
        self._lexicon = lexicon
        self._rows, self._columns = positions // body, 1 + positions % body
        self._token_ids = token_ids

    def __len__(self) -> int:
        """How many positions."""
        return len(self._rows)

    def likeness(self, where: Where) -> np.ndarray:
        """(n_positions, n) float32 likeness to every kind, or for `passage` to every topic, 0 to about 1.

        `token` looks at the token itself and `previous` at the one before. `near` and `passage` take the mean of
        several, scaled so that 1 is what the fullest hundredth, or three hundredths, of the training text has.
        """
        if where == "token":
            return self._lexicon.kind_table[self._token_ids[self._rows, self._columns]]
        if where == "previous":
            return self._lexicon.kind_table[self._token_ids[self._rows, self._columns - 1]]
        if where == "near":
            low, high = self._lexicon.near_low, self._lexicon.near_high
            # A kind so rare that the scale would be a sliver of one token's share counts from one such token on.
            return np.clip((self.mean_near() - low) / np.maximum(high - low, _ONE_OF_NEAR), 0, MOST)
        return np.clip(self.mean_passage() / np.maximum(self._lexicon.passage_high, 1e-3), 0, MOST)

    def mean_near(self) -> np.ndarray:
        """(n_positions, n_kinds) float32 mean likeness of the `NEAR` tokens before, nothing being before BOS."""
        return self._sum(self._lexicon.kind_table, range(1, NEAR + 1)) * np.float32(_ONE_OF_NEAR)

    def mean_passage(self) -> np.ndarray:
        """(n_positions, n_topics) float32 mean over the passage, by a third of `PASSAGE` where it is shorter."""
        lengths = np.clip(self._columns, PASSAGE / 3, PASSAGE).astype(np.float32)
        return self._sum(self._lexicon.topic_table, range(PASSAGE)) / lengths[:, None]

    def _sum(self, table: np.ndarray, steps_back: range) -> np.ndarray:
        total = np.zeros((len(self._rows), table.shape[1]), np.float32)
        for back in steps_back:
            inside = self._columns >= back  # BOS, in column 0, counts as a token before
            total[inside] += table[self._token_ids[self._rows[inside], self._columns[inside] - back]]
        return total
