from __future__ import annotations

import re
import unicodedata

import numpy as np
import pytest
from hypothesis import given, strategies as st
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
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


def test_ten_megabytes_are_refused_before_they_are_tokenized() -> None:
    def never(*_args: object, **_options: object) -> None:
        pytest.fail("tokenized")

    with pytest.raises(TrackerError, match=r"10,000,000 characters; at most 20,000 tokens .*400,000 char"):
        tokenize("x" * 10_000_000, never, window=64, max_tokens=20_000)


@pytest.mark.parametrize("text", ["\x04", "\x04 \x05\n", "\u200b"])
def test_a_text_of_no_token_is_refused(text: str) -> None:
    def knows_nothing(_text: str, **_: object) -> dict[str, object]:
        return {"input_ids": [], "offset_mapping": []}

    with pytest.raises(TrackerError, match="knows none of the characters"):
        tokenize(text, knows_nothing, window=16, max_tokens=100)


def test_a_text_of_no_token_is_refused_with_a_tokenizer_that_drops_signs() -> None:
    tokenizer = make_tokenizer(normalizers.Replace(Regex(r"\p{C}"), ""))
    with pytest.raises(TrackerError, match="knows none of the characters"):
        tokenize("\x04", tokenizer, window=16, max_tokens=100)


@pytest.mark.parametrize("text", ["ab\ud83d", "\udcff", "a \ude00\ud83d b"])
def test_half_a_character_is_refused_by_its_place(tiny_tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    place = next(number for number, char in enumerate(text, start=1) if "\ud800" <= char <= "\udfff")
    with pytest.raises(TrackerError, match=f"Character {place} of this text is half of one"):
        tokenize(text, tiny_tokenizer, window=16, max_tokens=100)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le"])
def test_utf16_that_was_read_as_something_else_is_refused(
    tiny_tokenizer: PreTrainedTokenizerFast, encoding: str
) -> None:
    pasted = "Net sales rose.".encode(encoding).decode("latin-1")
    with pytest.raises(TrackerError, match="are NULs: it is UTF-16"):
        tokenize(pasted, tiny_tokenizer, window=16, max_tokens=100)


def test_an_error_of_the_tokenizers_own_is_ours(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"a": 0}, unk_token="[UNK]")))
    with pytest.raises(TrackerError, match=r"can't read this text \(WordLevel error"):
        tokenize("b", tokenizer, window=16, max_tokens=100)


def make_tokenizer(normalizer: normalizers.Normalizer) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer that knows some French words and normalizes before it splits."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(vocab_size=500, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(["The Société Générale gained 5% déjà vu "] * 3, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


NORMALIZERS = {
    "NFC": normalizers.NFC(),
    "NFKC": normalizers.NFKC(),
    "NFD": normalizers.NFD(),
    "without accents": normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents(), normalizers.Lowercase()]),
}


@pytest.mark.parametrize("normalizer", NORMALIZERS)
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_what_a_normalizer_changes_is_shown_as_the_user_wrote_it(normalizer: str, form: str) -> None:
    text = unicodedata.normalize(form, "The Société Générale gained 5% ﬁnally ½ 한국 déjà")
    tokens = tokenize(text, make_tokenizer(NORMALIZERS[normalizer]), window=200, max_tokens=300)
    assert "".join(tokens.token_texts) == text
    words = [text[start:end] for start, end in tokens.words.spans]
    assert [word for word in words if word.strip()] == text.split()
    for start, end in tokens.offsets:  # no token begins in the middle of a letter with its accent
        assert start == end or normalizer == "NFD" or not unicodedata.combining(text[start])


@given(
    text=st.text(st.sampled_from("eé\u0301ᄒ\u1161\u11ab ½ﬁ\n5"), min_size=1).filter(lambda text: text.strip() != ""),
    normalizer=st.sampled_from(sorted(NORMALIZERS)),
)
def test_every_character_is_in_one_token_whatever_is_normalized(text: str, normalizer: str) -> None:
    try:
        tokens = tokenize(text, make_tokenizer(NORMALIZERS[normalizer]), window=200, max_tokens=2000)
    except TrackerError:  # nothing but accents, which one of them takes away
        return
    assert "".join(tokens.token_texts) == text


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
