from __future__ import annotations

import re

import pytest

from feature_tracker.page.errors import WORD_JOINER, plain

# What mdast-util-gfm-autolink-literal, which Streamlit's markdown has, makes links of when the escapes are gone.
_LINK = re.compile(r"(?:https?://|www(?=\.))[-.\w]+|[-.\w+]+@[-\w]+(?:\.[-\w]+)+", re.IGNORECASE)


@pytest.mark.parametrize("text", ["**bold** _it_", "$x^2$", ":red[danger] :smile:", "[a](http://b)", "<b>", "# head"])
def test_every_sign_of_markdown_is_escaped(text: str) -> None:
    shown = plain(text).replace(WORD_JOINER, "")
    assert shown.replace("\\", "") == text
    for place, char in enumerate(shown):
        if char in "*_$:[]<#":
            assert shown[place - 1] == "\\"


@pytest.mark.parametrize(
    "text",
    ["see www.example.com", "WWW.example.com", "mail a.b+c@example.com", "https://example.com", "HTTP://www.example.com",
     "mailto:a@example.com", "a@b.example,c@d.example", "www.www.example.com"],
)  # fmt: skip
def test_no_address_in_a_label_becomes_a_link(text: str) -> None:
    shown = plain(text).replace("\\", "")
    assert _LINK.search(text)
    assert not _LINK.search(shown)
    assert shown.replace(WORD_JOINER, "") == text
