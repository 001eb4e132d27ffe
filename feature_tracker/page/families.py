"""What a label means by a pair of words: more words of each family that it names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import streamlit as st

from feature_tracker.page.plain import plain
from feature_tracker.page.state import Scene

_WORDS = 5


def explain_label(scene: Scene) -> None:
    """Draw one line under the chosen feature, if its label names families of words."""
    if not scene.engine.typical_words:
        return
    # The rules' room imports torch; the page is drawn before that is there.
    from feature_tracker.rule_labels.rules import rule_from_json  # noqa: PLC0415

    text = str(scene.engine.labels.find(scene.feature)["rule"])
    if not text:
        return
    rule = rule_from_json(text)
    known = scene.engine.typical_words
    mentions = [mention for mention in (*rule.like, *rule.unlike) if mention.where != "passage"]
    line = family_line({mention.shown or mention.name: known.get(mention.name, ()) for mention in mentions})
    if line:
        st.caption(line)


def family_line(families: Mapping[str, Sequence[str]]) -> str:
    """Markdown: what each family of words is called, and a few of its other words.

    Args:
        families: the typical words, by what the label calls the family; none for a kind that is no family.
    """
    parts = []
    for called, words in families.items():
        others = [word for word in words if word not in called.split("/")][:_WORDS]
        if others:
            parts.append(f"**{plain(called)}**: {plain(', '.join(others))}")
    return f"Words like {' · '.join(parts)}" if parts else ""
