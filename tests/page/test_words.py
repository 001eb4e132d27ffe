from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st
from transformers import PreTrainedTokenizerFast

from feature_tracker.charts.bars import plot_layer
from feature_tracker.charts.heatmap import plot_heatmap
from feature_tracker.charts.theme import feature_hover
from feature_tracker.feature import Feature
from feature_tracker.labels.csv_files import to_csv
from feature_tracker.labels.table import LabelTable
from feature_tracker.model.tokens import TokenizedText, tokenize
from feature_tracker.page.views.features import page_columns, table_of
from feature_tracker.page.views.heatmap import sentence_edges
from feature_tracker.page.views.words import excerpt, strongest_words, uncounted_reasons
from feature_tracker.tracing.rank import rank_features
from feature_tracker.tracing.rows import rows_of
from feature_tracker.tracing.trace import LayerTrace, Trace


def tokens_of(*texts: str) -> TokenizedText:
    ends = np.cumsum([len(text) for text in texts], dtype=np.int64)
    offsets = np.stack([ends - [len(text) for text in texts], ends], axis=1)
    return TokenizedText("".join(texts), np.arange(len(texts)), offsets, 512)


def test_the_strongest_words_are_whole_and_different_and_fire() -> None:
    tokens = tokens_of("Net", " s", "ales", ",", " net", " rose", " Sales", " 5", ".")
    activations = np.array([1.0, 0.0, 5.0, 4.0, 3.0, 0.0, 4.5, 0.0, 2.0])
    assert strongest_words(tokens, activations) == ["sales", ",", "net", "."]
    assert strongest_words(tokens, activations, most=1) == ["sales"]
    assert strongest_words(tokens_of(), np.zeros(0)) == []


def test_a_line_break_is_a_word_that_can_be_seen() -> None:
    tokens = tokens_of("Sales", " rose", "\n", "Costs")
    assert strongest_words(tokens, np.array([0.0, 0, 1, 0])) == ["\n"]


def test_a_word_of_signs_alone_keeps_them() -> None:
    assert strongest_words(tokens_of("a", " --"), np.array([0.0, 1.0])) == ["--"]


def test_excerpt_shows_whole_words_and_gaps_and_keeps_to_its_width() -> None:
    tokens = tokens_of("a", " b", " $", "1", ",", "2", " d", "\n", "e")
    assert excerpt(tokens, np.array([0, 1, 6]), width=40) == "“a b … d”"
    assert excerpt(tokens, np.array([3]), width=40) == "“$1,2”"
    assert excerpt(tokens, np.array([4, 6, 7, 8]), width=40) == "“$1,2 d↵e”"
    assert len(excerpt(tokens_of("x" * 100), np.array([0]), width=20)) == 22


@given(
    texts=st.lists(
        st.sampled_from([" Net", "Net", " as", "sets", " $", "1", ",", "234", ".", '."', "\n", "\n\n", " ", "売"]),
        min_size=1,
        max_size=60,
    ),
    most=st.integers(1, 20),
)
def test_sentences_hold_every_token_once(texts: list[str], most: int) -> None:
    tokens = tokens_of(*texts)
    edges = sentence_edges(tokens, most)
    assert edges[0] == 0
    assert edges[-1] == tokens.n_tokens
    assert (np.diff(edges) > 0).all()
    assert len(edges) - 1 <= most + 1


def test_a_heatmaps_columns_begin_with_sentences() -> None:
    tokens = tokens_of("Sales", " rose", ".", " Costs", " fell", ".", "\n\n", "Outlook", "\n\n", "Good", ".")
    starts = [tokens.token_texts[edge] for edge in sentence_edges(tokens, 60)[:-1]]
    assert starts == ["Sales", " Costs", "Outlook", "Good"]
    assert len(sentence_edges(tokens, 2)) == 3


def test_all_views_name_the_same_word(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    text = "Net sales to $1,234 million act\nChange in Net assets"
    tokens = tokenize(text, tiny_tokenizer, window=64, max_tokens=100)
    word_at = {text.index("234"): "$1,234", text.index("Change") + 4: "Change"}
    positions = [int(np.flatnonzero(tokens.offsets[:, 1] > start)[0]) for start in word_at]
    assert all(tokens.token_texts[p].strip() != word for p, word in zip(positions, word_at.values(), strict=True))

    values = np.zeros((tokens.n_tokens, 2), np.float32)
    values[positions, [0, 1]] = 1
    trace = Trace(tokens, {4: LayerTrace(4, values, np.tile(np.arange(2, dtype=np.int32), (tokens.n_tokens, 1)), 2)})
    labels = pd.DataFrame(
        {"label": ["numbers", "changes"], "f1": 0.9, "density": 0.1, "q50": 1.0, "q90": 2.0, "q99": 3.0}
        | {"max_activation": 4.0, "n_positive": 50, "n_negative": 50, "finance_tokens": 6000, "general_tokens": 4000},
        index=pd.MultiIndex.from_tuples([(4, 0), (4, 1)], names=["layer", "feature"]),
    )
    ranked = rank_features(trace, LabelTable(labels), layers=[4], top=2, by="activation")
    bars = plot_layer(ranked, layer=4, colour="#1F6FC4", by="activation").data[0].text
    words = [tokens.word_at(position) for position in range(tokens.n_tokens)]
    cells = plot_heatmap(ranked, values.T, tokens.token_texts, colours={4: "#1F6FC4"}, words=words).data[-1].hovertext
    table = pd.read_csv(BytesIO(to_csv(ranked)))
    for row, (position, word) in enumerate(zip(positions, word_at.values(), strict=True)):
        shown = word.replace("$", "&#36;")  # Plotly would take a dollar sign for TeX
        assert table["peak_word"][row] == word
        assert table_of(ranked, page_columns("max"))["Peak word"][row] == word
        assert bars[row] == f"“{shown}”"
        assert f"“{shown}”" in feature_hover(rows_of(ranked)[row])
        assert f"in “{shown}”<br>" in cells[row * tokens.n_tokens + position]
        assert strongest_words(tokens, trace.column(Feature(4, row))) == [word]
        assert excerpt(tokens, np.array([position]), width=40) == f"“{word}”"


@pytest.mark.browser
@pytest.mark.model
def test_words_are_chosen_by_a_drag_that_ends_between_them_and_by_keys_in_a_browser(served: str, tab: Any) -> None:
    sync_api = pytest.importorskip("playwright.sync_api")
    tab.goto(served)
    tab.get_by_label("Text to analyze").fill("Faced with stress\nmany banks act.\n" + "Nothing here.\n" * 80)
    tab.get_by_role("button", name="Analyze").click()
    words = tab.locator(".words span")
    words.first.scroll_into_view_if_needed(timeout=60_000)
    for tries_left in (2, 1, 0):
        try:
            start, end = (words.filter(has_text=text).first.bounding_box() for text in ("with", "stress"))
            tab.mouse.move(start["x"] + 3, start["y"] + 9)
            tab.mouse.down()
            tab.mouse.move(end["x"] + 3, end["y"] + 9, steps=5)
            tab.mouse.move(end["x"] + 400, end["y"] + 9, steps=5)  # beyond the line's end
            tab.mouse.up()
            tab.get_by_text("“with stress”").wait_for(timeout=15_000)
            tab.locator(".words").focus()
            for key in ("ArrowRight", "Shift+ArrowRight", "Enter"):
                tab.keyboard.press(key)
            tab.get_by_text("“many banks”").wait_for(timeout=15_000)
            break
        except sync_api.TimeoutError:  # the page was still moving while the pointer did
            if not tries_left:
                raise


def test_what_does_not_count_says_why() -> None:
    tokens = TokenizedText("a b c d", np.arange(4), np.array([[0, 1], [1, 3], [3, 5], [5, 7]]), 3)  # windows of two
    layer = LayerTrace(4, np.ones((4, 1), np.float32), np.zeros((4, 1), np.int32), 1)
    reasons = uncounted_reasons(Trace(tokens, {4: layer}, np.array([False, True, False, False])))
    assert set(reasons) == {1, 2}
    assert "parks its attention" in reasons[1]
    assert "was cut" in reasons[2]
