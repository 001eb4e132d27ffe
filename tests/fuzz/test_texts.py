"""Texts and files of text with anything in them: read whole, or refused in a sentence."""

from __future__ import annotations

import contextlib
import unicodedata
from functools import cache

import pytest
from hypothesis import given, strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from feature_tracker.cli.text import text_or_file
from feature_tracker.errors import TrackerError
from feature_tracker.model.tokens import tokenize
from feature_tracker.reading import read_document
from feature_tracker.text import sentence_spans
from tests.fuzz.limits import FUZZ, within_limits
from tests.support import SENTENCES

pytestmark = pytest.mark.slow
NORMALIZERS = {
    "none": None,
    "NFC": normalizers.NFC(),
    "NFKC": normalizers.NFKC(),
    "NFD": normalizers.NFD(),
    "no accents": normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents(), normalizers.Lowercase()]),
    "SentencePiece": normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]),
}
PIECES = st.sampled_from(
    [
        "Net sales ",
        "5.4%",
        "$1,234 ",
        "(1,234)",
        "(",
        ")",
        "((",
        "401(k)",
        "U.S.",
        "a.",
        "1,",
        "-",
        "--",
        "'",
        "&",
        "@",
        "http://",
        "é",
        "e\u0301",
        "\u0301",
        "ﬁ",
        "½",
        "한국",
        "\u1112\u1161\u11ab",
        "净销售额",
        "売上高は",
        "שיעורי",
        "\u202e",
        "\u200b",
        "\u200d",
        "😀",
        "👩‍👩‍👧",
        "\ud800",
        "\udfff",
        "\0",
        "\x04",
        "\x1b",
        "\ufffd",
        "\ufeff",
        "\ue000",
        "\n",
        "\r\n",
        "\u2028",
        "\t",
        " ",
        "\u00a0",
        "<bos>",
        "<s>",
        "▁",
        "<b>",
        "&amp;",
        "İ",
        "ß",
        "̇" * 9,
        "９",
        "Ⅻ",
        "\U0010ffff",
    ]
)
TEXTS = st.one_of(
    st.text(st.characters(codec=None, exclude_categories=[]), max_size=200),
    st.lists(PIECES, max_size=40).map("".join),
    st.builds(lambda piece, other, n: (piece * n + other) * 2, PIECES, PIECES, st.sampled_from([1, 100, 20_000])),
)
ENCODINGS = st.sampled_from(
    [
        "utf-8",
        "utf-8-sig",
        "utf-16",
        "utf-16-le",
        "utf-16-be",
        "utf-32",
        "utf-32-be",
        "cp1252",
        "latin-1",
        "cp1251",
        "koi8-r",
        "shift_jis",
        "gb18030",
        "big5",
        "euc-kr",
        "utf-7",
    ]
)
NAMES = st.sampled_from(["a.txt", "a.md", "a.html", "a.htm", "a.pdf", "a.docx", "a", "a.csv"])


@cache
def tokenizer_with(normalizer: str) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    if NORMALIZERS[normalizer] is not None:
        tokenizer.normalizer = NORMALIZERS[normalizer]
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=["<bos>"], initial_alphabet=alphabet)
    tokenizer.train_from_iterator([SENTENCES], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<bos>")


@FUZZ
@given(text=TEXTS, normalizer=st.sampled_from(sorted(NORMALIZERS)), window=st.integers(2, 512))
def test_a_text_is_tokenized_whole_or_refused(text: str, normalizer: str, window: int) -> None:
    tokenizer = tokenizer_with(normalizer)
    with within_limits(), contextlib.suppress(TrackerError):
        tokens = tokenize(text, tokenizer, window=window, max_tokens=20_000)
        assert "".join(tokens.token_texts) == text
        assert sum(map(len, tokens.windows())) == tokens.n_tokens
        assert len(tokens.words.word_of) == tokens.n_tokens
        assert tokenizer.bos_token_id not in tokens.ids
        sentence_spans(text)


@FUZZ
@given(text=TEXTS, encoding=ENCODINGS, name=NAMES, cut=st.integers(0, 3), noise=st.binary(max_size=3))
def test_a_file_is_read_or_refused(text: str, encoding: str, name: str, cut: int, noise: bytes) -> None:
    raw = text.encode(encoding, "ignore")
    raw = noise + raw[: len(raw) - cut]
    with within_limits(), contextlib.suppress(TrackerError):
        document = read_document(name, raw)
        assert "\0" not in document.text
        document.text.encode()


@FUZZ
@given(raw=st.binary(max_size=2_000), name=NAMES)
def test_bytes_of_any_kind_are_read_or_refused(raw: bytes, name: str) -> None:
    with within_limits(), contextlib.suppress(TrackerError):
        assert read_document(name, raw).text.strip()


@FUZZ
@given(text=TEXTS.filter(lambda text: len(text) < 10_000))
def test_an_argument_is_a_text_or_refused(text: str) -> None:
    with within_limits(), contextlib.suppress(TrackerError):
        text_or_file(text)


@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKC", "NFKD"])
@FUZZ
@given(letters=st.text(st.characters(codec="utf-8"), min_size=1, max_size=60))
def test_tokens_of_a_normalizer_end_between_letters(form: str, letters: str) -> None:
    text = unicodedata.normalize(form, letters)
    with contextlib.suppress(TrackerError):
        tokens = tokenize(text, tokenizer_with("NFC"), window=64, max_tokens=20_000)
        assert "".join(tokens.token_texts) == text
