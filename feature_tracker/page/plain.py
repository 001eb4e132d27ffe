"""Text of the analyst or of a file, made harmless for Streamlit's markdown."""

from __future__ import annotations

import re

# What markdown, LaTeX, emoji shortcodes (`:smile:`) and Streamlit's directives (`:red[...]`) are made of.
_SPECIAL = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~$:&])")


def plain(text: str) -> str:
    """Markdown that shows `text` letter by letter."""
    return _SPECIAL.sub(r"\\\1", text)
