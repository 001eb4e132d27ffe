from __future__ import annotations

import pytest

from feature_tracker.rule_labels.words import word_form


@pytest.mark.parametrize(
    ("text", "form"),
    [
        (" Rate", "rate"),
        ("Rate", "rate"),
        ("rate", "-rate"),
        (" ", "space"),
        ("\n", "line break"),
        ("7", "7"),
        (" $", "dollar sign"),
    ],
)
def test_word_forms(text: str, form: str) -> None:
    assert word_form(text) == form
