from __future__ import annotations

import pytest

from feature_tracker.page.errors import plain


@pytest.mark.parametrize("text", ["**bold** _it_", "$x^2$", ":red[danger] :smile:", "[a](http://b)", "<b>", "# head"])
def test_every_sign_of_markdown_is_escaped(text: str) -> None:
    shown = plain(text)
    assert shown.replace("\\", "") == text
    for place, char in enumerate(shown):
        if char in "*_$:[]<#":
            assert shown[place - 1] == "\\"
