"""What a feature is."""

from __future__ import annotations

import re
from typing import NamedTuple

ALWAYS_ON = 0.8
"""Density above which a feature counts as always-on."""
SLOW = 0.2
"""Lag-20 autocorrelation above which a feature counts as slow: it fires on what a passage is about, not on a word."""


class Feature(NamedTuple):
    """One latent of one layer; the same index in another layer is another feature."""

    layer: int
    index: int  # pyright: ignore[reportIncompatibleMethodOverride]  # hides tuple.index, which means nothing here

    def __str__(self) -> str:
        return f"L{self.layer}/F{self.index}"

    @classmethod
    def named(cls, text: str) -> Feature | None:
        """The feature that a text such as `L16/F11` names; `None` if it names none."""
        match = re.fullmatch(r"L(\d{1,4})/F(\d{1,9})", text.strip())
        return cls(int(match[1]), int(match[2])) if match else None
