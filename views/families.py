"""What a label means by a pair of words: more words of each family that it names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import streamlit as st

from views.plain import plain
from views.state import Scene

_WORDS = 5


def explain_label(scene: Scene) -> None:
    """Draw one line under the chosen feature, if its label names families of words."""
    if not scene.engine.typical_words:
        return
    # The rules' room imports torch; the page is drawn before that is there.
    from labels.rules import rule_from_json  # noqa: PLC0415

    text = str(scene.engine.labels.find(scene.feature)["rule"])
    if not text:
        return
    rule = rule_from_json(text)
    named = dict.fromkeys(mention.name for mention in (*rule.like, *rule.unlike) if mention.where != "passage")
    line = family_line(list(named), scene.engine.typical_words)
    if line:
        st.caption(line)


def family_line(kinds: Sequence[str], typical_words: Mapping[str, Sequence[str]]) -> str:
    """Markdown: the name of each kind of words that is a family, and a few of its other words."""
    parts = []
    for kind in kinds:
        others = [word for word in typical_words.get(kind, ()) if word not in kind.split("/")][:_WORDS]
        if others:
            parts.append(f"**{plain(kind)}**: {plain(', '.join(others))}")
    return f"Words like {' · '.join(parts)}" if parts else ""
