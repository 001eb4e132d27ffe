from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, strategies as st

from feature_tracker.text import is_word, sentence_spans, word_spans, words_of_tokens

ONE_WORD = [
    # numbers, money, units
    "5", "1,234", "$1,234.5", "5.4%", "0.25%", ".5", "$.50", "-5.4%", "−5.4%", "+2.1%", "±2%", "-$1.2", "$-5",
    "-US$3bn", "€1.2bn", "US$3bn", "US$.5bn", "HK$10", "US$", "€m", "M€", "1.234,50€", "¥5", "₹500", "１２％", "50¢",
    "3.5x", "25bps", "4.5pp", "2024E", "100+", "5‰", "1'234.50", "1’234", "½", "5½%", "1,234-", "$10-12",
    "$10-$12", "5%-6%", "$5/share",
    # numbers in brackets
    "(1,234)", "($1.2)", "(5.4%)", "(5.4)%", "$(1,234)", "US$(1.5bn)", "(US$1.5bn)", "(.5)", "(-5.4%)", "(3.5x)", "(1)",
    # dates, times, ratios, periods, forms
    "12/31/2023", "31.12.2023", "2023-12-31", "2022/23", "10:30", "3:1", "Q2'24", "FY’24", "1H24", "10-K", "10-K/A",
    "10b5-1", "20-F", "401(k)", "401(k)s", "13(d)", "13(d)(1)", "4(a)(vii)", "share(s)", "ASC", "842-10-25-3", "24/7",
    # words
    "year-end", "non-GAAP", "non‑GAAP", "mid-single-digit", "5-year", "100%-owned", "don't", "don’t", "company's",
    "AT&T", "AT&T's", "S&P", "R&D", "M&A", "P/E", "and/or", "n/a", "BB-", "AA+", "BBB+/Baa1", "Baa3", "C++",
    "net_sales",
    # abbreviations, names in the web
    "U.S.", "U.S", "U.K.'s", "U.S.-based", "non-U.S.", "e.g.", "i.e.", "p.m.", "N.V.", "U.S.$5", "Amazon.com",
    "www.sec.gov", "a.b.com", "ir@example.com", "https://www.sec.gov/ix?doc=/a_1.htm", "$AAPL",
    # other languages
    "Eigenkapitalrentabilität", "Erträge", "z.B.", "l’entreprise", "d'affaires", "Café", "Cafe\u0301", "выручка",
    "मुद्रास्फीति", "ש״ח", "מניות", "١٬٢٣٤٫٥", "می‌شود", "co\u00adoperate", "H₂O",
]  # fmt: skip

SEVERAL = {
    "Net sales rose 5.4%.": ["Net", "sales", "rose", "5.4%", "."],
    "to $1,234.5 million, and": ["to", "$1,234.5", "million", ",", "and"],
    "sales.": ["sales", "."],
    "end.The": ["end", ".", "The"],
    "in 2023.The": ["in", "2023", ".", "The"],
    "sales.5": ["sales", ".", "5"],
    "in the U.S., too": ["in", "the", "U.S.", ",", "too"],
    "J.P. Morgan": ["J.P.", "Morgan"],
    "J.P.Morgan": ["J.P.", "Morgan"],
    "(unaudited)": ["(", "unaudited", ")"],
    "(in millions)": ["(", "in", "millions", ")"],
    "(up 5.4%)": ["(", "up", "5.4%", ")"],
    "loss (1,234), net": ["loss", "(1,234)", ",", "net"],
    "(1,234": ["(", "1,234"],
    "EBITDA(1)": ["EBITDA", "(1)"],
    "rated BB-, then AA+.": ["rated", "BB-", ",", "then", "AA+", "."],
    "long- and short-term": ["long-", "and", "short-term"],
    "Net–sales—up--again": ["Net", "–", "sales", "—", "up", "--", "again"],
    "2019–2023": ["2019", "–", "2023"],
    "5–10%": ["5", "–", "10%"],
    "--5": ["--", "5"],
    "5+3 = 8": ["5", "+", "3", "=", "8"],
    "+5%/-3%": ["+5%", "/", "-3%"],
    "- Net sales": ["-", "Net", "sales"],
    "•Net": ["•", "Net"],
    "$ 5 %": ["$", "5", "%"],
    "1,234,and": ["1,234", ",", "and"],
    "red,blue": ["red", ",", "blue"],
    "Note:$5": ["Note", ":", "$5"],
    '"Net," he said.': ['"', "Net", ',"', "he", "said", "."],
    "“$1,234”": ["“", "$1,234", "”"],
    "'Net'": ["'", "Net", "'"],
    "banks' own": ["banks", "'", "own"],
    "...": ["..."],
    "#1 §13(d) @sec": ["#", "1", "§", "13(d)", "@", "sec"],
    "<b>5%</b>": ["<", "b", ">", "5%", "</", "b", ">"],
    "see https://sec.gov/a.": ["see", "https://sec.gov/a", "."],
    "(https://sec.gov)": ["(", "https://sec.gov", ")"],
    "1,234\t(5.4%)\t—\n5": ["1,234", "(5.4%)", "—", "5"],
    "act.\nChange in Net\nassets": ["act", ".", "Change", "in", "Net", "assets"],
    "1.234,5 Mio. Euro": ["1.234,5", "Mio", ".", "Euro"],
    "Haupt- und Nebenkosten": ["Haupt-", "und", "Nebenkosten"],
    "«bénéfice» d’un": ["«", "bénéfice", "»", "d’un"],
    "売上高は前年比5.4%増加した。": ["売上高", "は", "前年比", "5.4%", "増加", "した", "。"],
    "トヨタの営業利益": ["トヨタ", "の", "営業利益"],
    "サーバー": ["サーバー"],
    "净销售额增长5.4%至1,234亿美元。": ["净销售额增长", "5.4%", "至", "1,234", "亿美元", "。"],
    "ROE上升": ["ROE", "上升"],
    "売上高1,234.": ["売上高", "1,234", "."],
    "매출은 5.4% 증가": ["매출은", "5.4%", "증가"],
    "מניות עלו 5.4%.": ["מניות", "עלו", "5.4%", "."],
    "up 📈📉!": ["up", "📈📉!"],
    "👩‍💼 CEO": ["👩‍💼", "CEO"],
    "a\x00b": ["a", "\x00", "b"],
    "\ud83dx": ["\ud83d", "x"],
    "\u0301a": ["\u0301", "a"],
    "net\u200bsales": ["net", "\u200b", "sales"],
    "1\u00a0234": ["1", "234"],
    "": [],
    " \n\t\u3000": [],
}

# Text in which brackets, signs and scripts meet; `st.text()` alone would hardly ever write a number.
FINANCIAL = st.text(
    st.sampled_from("Aaéß01٣.,:;/&@_'’()+-−–$€%‰ \n\tßmé\u0301\u200d\u00ad売はカー。📈\x00\ud83d\"!>"), max_size=60
)
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=60) | FINANCIAL


def units(text: str) -> list[str]:
    return [text[start:end] for start, end in word_spans(text)]


@pytest.mark.parametrize("word", ONE_WORD)
def test_an_analysts_word_is_one_word(word: str) -> None:
    assert units(word) == [word]


@pytest.mark.parametrize("word", ONE_WORD)
def test_a_word_stays_one_between_others_and_before_a_comma(word: str) -> None:
    assert units(f"Net {word}, and\t{word}\nNet") == ["Net", word, ",", "and", word, "Net"]


@pytest.mark.parametrize(("text", "words"), SEVERAL.items())
def test_text_is_cut_into_words_and_signs(text: str, words: list[str]) -> None:
    assert units(text) == words


@given(ANY_TEXT)
def test_spans_hold_every_character_but_white_space_once(text: str) -> None:
    spans = word_spans(text)
    assert spans.shape == (len(spans), 2)
    assert spans.dtype == np.int64
    assert (spans[:, 0] < spans[:, 1]).all()
    assert (spans[1:, 0] >= spans[:-1, 1]).all()
    covered = np.zeros(len(text), dtype=int)
    for start, end in spans:
        covered[start:end] += 1
    assert covered.tolist() == [not char.isspace() for char in text]


@given(ANY_TEXT, ANY_TEXT)
def test_what_stands_beyond_white_space_changes_no_word(before: str, after: str) -> None:
    assert units(f"{before}\n{after}") == units(before) + units(after)


@pytest.mark.parametrize(
    "part",
    [
        "1", "1,", "(", "(1", "((1,1", "$(1", "AAA$(1", "(1,1'1.", "-", "-$", "--1", "+", "$", "a", "a.", "A.B", "a-",
        "a(", "a(a", "a(s)(1", "a://", "a:///(", "a://売", "://", "'", ".", "1.", "%", "売", "売は", "📈",
        "\u0301", "a\u0301", " ", "\n",
    ],
)  # fmt: skip
def test_time_is_linear_in_the_text(part: str) -> None:
    for text in (part * (100_000 // len(part)), part + "(" * 100_000, part + "1" * 100_000):
        began = time.process_time()
        word_spans(text)
        assert time.process_time() - began < 1


def cut(*tokens: str) -> tuple[str, np.ndarray]:
    """A text and the offsets of its tokens."""
    ends = np.cumsum([len(token) for token in tokens], dtype=np.int64)
    return "".join(tokens), np.stack([ends - [len(token) for token in tokens], ends], axis=1)


def words(*tokens: str) -> list[str]:
    """The word of each token."""
    text, offsets = cut(*tokens)
    spans, word_of = words_of_tokens(text, offsets)
    return [text[slice(*spans[word])] for word in word_of]


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        (["to", " $", "1", ",", "234", "."], ["to", *["$1,234"] * 4, "."]),
        ([" (", "1", ",", "234", "),"], ["(1,234)"] * 5),
        (["Net", " sales", "\n", "Change", " in"], ["Net", "sales", "\n", "Change", "in"]),
        (["up", "\n\n", "\n", "  ", " down"], ["up", "\n\n", "\n", "  ", "down"]),
        (
            ["rose", " ", "5", ".", "4", "%", " ", " ", "up", "\n", "10"],
            ["rose", *["5.4%"] * 5, " ", "up", "up", "\n", "10"],
        ),
        (["sales", '."', "The"], ["sales", '."', "The"]),
        (["sales", '."The', " end"], ["sales", "The", "end"]),
        (["sales", " --", "“", "\n"], ["sales", "--“", "--“", "\n"]),
        (["AT", "&", "T", "'s"], ["AT&T's"] * 4),
        (["\n\nNet", " as", "sets"], ["Net", "assets", "assets"]),
        (["up ", "📈", "", "", "!"], ["up", *["📈!"] * 4]),
        (["", "\n", "", "Net"], ["\n", "\n", "\n", "Net"]),
        (["of the", " end"], ["of", "end"]),
        ([], []),
    ],
)
def test_a_token_belongs_to_the_word_it_overlaps(tokens: list[str], expected: list[str]) -> None:
    assert words(*tokens) == expected


def test_words_of_tokens_that_leave_characters_out_are_whole() -> None:
    spans, word_of = words_of_tokens(" $1,234 up.", np.array([[2, 3], [4, 7], [8, 10]]))
    assert spans.tolist() == [[1, 7], [8, 10]]
    assert word_of.tolist() == [0, 0, 1]


@given(st.data())
def test_every_token_has_a_word_and_words_ascend(data: st.DataObject) -> None:
    text = data.draw(ANY_TEXT)
    edges = data.draw(st.lists(st.integers(0, len(text)), max_size=20).map(sorted))
    offsets = np.stack([[0, *edges], [*edges, len(text)]], axis=1)
    spans, word_of = words_of_tokens(text, offsets)
    assert len(word_of) == len(offsets)
    assert np.unique(word_of).tolist() == list(range(len(spans)))
    assert (np.diff(word_of) >= 0).all()
    assert (spans[1:, 0] >= spans[:-1, 1]).all()
    for (start, end), (first, last) in zip(offsets, spans[word_of], strict=True):
        token = text[start:end]
        if token and not token.strip():
            assert (first, last) == (start, end) or (first == end and not token.strip(" "))
        elif token:
            assert first < end
            assert last > start
            assert is_word(text[first:last]) or not is_word(token)


def test_words_need_neither_torch_nor_transformers() -> None:
    code = (
        "import sys, feature_tracker.text; sys.exit(bool({'torch', 'transformers', 'streamlit'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("Sales rose. Costs fell.", ["Sales rose.", "Costs fell."]),
        ("Sales rose 5.4% to $1,234.5 million. Good!", ["Sales rose 5.4% to $1,234.5 million.", "Good!"]),
        ("It rose (a lot.) \u201cWhy?\u201d he said.", ["It rose (a lot.)", "\u201cWhy?\u201d he said."]),
        ("Acme Inc. Common stock fell. Mr. Smith left.", ["Acme Inc. Common stock fell.", "Mr. Smith left."]),
        ("the U.S. economy grew", ["the U.S. economy grew"]),
        ("A heading\n\nA line\nthat goes on", ["A heading", "A line\nthat goes on"]),
        ("no end", ["no end"]),
        ("  \n ", []),
        ("", []),
    ],
)
def test_sentences_end_where_a_reader_would_end_them(text: str, sentences: list[str]) -> None:
    assert [text[start:end] for start, end in sentence_spans(text)] == sentences
