"""What a label means by "like": the typical words of each family that it names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import streamlit as st

from views.plain import plain
from views.state import Scene

_WORDS = 5


def explain_label(scene: Scene) -> None:
    """Draw one line under the chosen feature, if its label names families of words."""
    if scene.feature is None or not scene.engine.typical_words:
        return
    # The rules' room imports torch; the page is drawn before that is there.
    from labels.lexicon import LIKE  # noqa: PLC0415
    from labels.rules import rule_from_json  # noqa: PLC0415

    text = str(scene.engine.labels.find(scene.feature)["rule"])
    if not text:
        return
    rule = rule_from_json(text)
    named = [mention.name.removeprefix(LIKE) for mention in (*rule.like, *rule.unlike) if mention.name.startswith(LIKE)]
    line = family_line(list(dict.fromkeys(named)), scene.engine.typical_words)
    if line:
        st.caption(f"Words like {line}")


def family_line(families: Sequence[str], typical_words: Mapping[str, Sequence[str]]) -> str:
    """Markdown: each family's name and a few of its other words."""
    parts = []
    for family in families:
        others = [word for word in typical_words.get(family, ()) if word != family][:_WORDS]
        if others:
            parts.append(f"**{plain(family)}**: {plain(', '.join(others))}")
    return " · ".join(parts)
