from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, strategies as st
from transformers import PreTrainedTokenizerFast

from feature_tracker.errors import TrackerError
from feature_tracker.model.load import LanguageModel
from feature_tracker.model.tokens import TokenizedText, tokenize


@pytest.mark.parametrize("text", ["", " ", "\n\t\n "])
def test_blank_text_is_refused_with_what_to_do(tiny_tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    with pytest.raises(TrackerError, match="Paste a passage"):
        tokenize(text, tiny_tokenizer, window=16, max_tokens=100)


def test_too_long_text_is_refused_with_both_numbers(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    text = "x " * 101
    n_tokens = len(tiny_tokenizer(text, add_special_tokens=False)["input_ids"])
    assert tokenize(text, tiny_tokenizer, window=16, max_tokens=n_tokens).n_tokens == n_tokens
    for over, said in ((1, "1 token,"), (2, "2 tokens,")):
        with pytest.raises(TrackerError, match=rf"{n_tokens} tokens; at most {n_tokens - over} .* by {said}"):
            tokenize(text, tiny_tokenizer, window=16, max_tokens=n_tokens - over)


@given(text=st.text(min_size=1, max_size=200).filter(lambda text: text.strip() != ""), window=st.integers(2, 20))
def test_every_token_is_in_one_window_and_every_character_in_one_token(
    tiny_tokenizer: PreTrainedTokenizerFast, text: str, window: int
) -> None:
    tokens = tokenize(text, tiny_tokenizer, window=window, max_tokens=5000)
    assert "".join(tokens.token_texts) == text
    assert np.array_equal(np.concatenate(list(tokens.windows())), tokens.ids)
    assert all(len(ids) <= window - 1 for ids in tokens.windows())
    assert tiny_tokenizer.bos_token_id not in tokens.ids


@pytest.mark.parametrize("text", ["a\x00b", "📈📉 up", "מניות עלו", "x" + "\n" * 10_000, "<script>alert(1)</script>"])
def test_unusual_text_survives_whole(tiny_tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    tokens = tokenize(text, tiny_tokenizer, window=64, max_tokens=20_000)
    assert "".join(tokens.token_texts) == text


def test_text_that_spells_a_special_token_is_not_one(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    tokens = tokenize("before <bos> after", tiny_tokenizer, window=64, max_tokens=100)
    assert tiny_tokenizer.bos_token_id not in tokens.ids


def test_a_tokenizer_that_trims_spaces_off_its_offsets_loses_no_character() -> None:
    def trimming(text: str, **_: object) -> dict[str, object]:
        spans = [match.span() for match in re.finditer(r"\S+", text)]
        return {"input_ids": list(range(len(spans))), "offset_mapping": spans}

    tokens = tokenize(" Net  sales\nrose\n", trimming, window=16, max_tokens=100)
    assert tokens.token_texts == [" Net", "  sales", "\nrose\n"]
    assert [tokens.word_at(position) for position in range(3)] == ["Net", "sales", "rose"]


def test_a_further_token_of_a_character_shows_the_character() -> None:
    assert TokenizedText("up 📈", np.arange(3), np.array([[0, 2], [2, 4], [4, 4]]), 16).word_at(2) == "📈"


@pytest.mark.parametrize(
    ("position", "word"),
    [(0, "Impairment"), (1, "Impairment"), (2, "tests"), (3, ","), (4, "\n"), (5, "x" * 90 + "y" * 90)],
)
def test_the_word_of_a_token_is_whole(position: int, word: str) -> None:
    text = "Impairment tests,\n" + "x" * 90 + "y" * 90
    ends = [6, 10, 16, 17, 18, 109, 198]
    offsets = np.stack([[0, *ends[:-1]], ends], axis=1)
    offsets[5, 0] = 108  # a token amid a word of 180 letters
    assert TokenizedText(text, np.arange(7), offsets, 16).word_at(position) == word


@pytest.mark.model
def test_words_of_the_built_in_tokenizer_are_an_analysts(builtin_model: LanguageModel) -> None:
    text = "Net sales rose 5.4% to $1,234 million (unaudited).\nChange in AT&T's year-end loss: (1,234)."
    tokens = tokenize(text, builtin_model.tokenizer, window=64, max_tokens=100)
    words = [text[start:end] for start, end in tokens.words.spans]
    assert [word for word in words if word != " "] == [  # this tokenizer makes the space before a digit a token
        "Net", "sales", "rose", "5.4%", "to", "$1,234", "million", "(", "unaudited", ").", "\n",
        "Change", "in", "AT&T's", "year-end", "loss", ":", "(1,234)",
    ]  # fmt: skip
    assert tokens.token_texts[-1] == ")."
    assert tokens.word_at(tokens.n_tokens - 1) == "(1,234)"
