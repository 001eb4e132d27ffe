from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from feature_tracker.page.views.heatmap import stretches
from feature_tracker.page.views.words import excerpt, split_text, strongest_words, word_numbers


def test_pieces_are_the_whole_text_also_where_tokens_leave_characters_out() -> None:
    offsets = np.array([[1, 4], [4, 4], [6, 8]])
    assert split_text(" abc  de!", offsets) == [" abc", "", "  de!"]


def test_a_word_begins_after_white_space() -> None:
    assert word_numbers(["Net", " s", "ales", "\n", "rose", " 5", ".", "4"]).tolist() == [0, 1, 1, 2, 3, 4, 4, 4]
    assert word_numbers([]).tolist() == []


def test_the_strongest_words_are_whole_and_different_and_fire() -> None:
    pieces = ["Net", " s", "ales", ",", " net", " rose", " Sales", " 5", "."]
    activations = np.array([1.0, 0.0, 5.0, 4.0, 3.0, 0.0, 4.5, 0.0, 2.0])
    assert strongest_words(pieces, word_numbers(pieces), activations) == ["sales", "net", "5"]
    assert strongest_words(pieces, word_numbers(pieces), activations, most=1) == ["sales"]
    assert strongest_words([], word_numbers([]), np.zeros(0)) == []


def test_a_line_break_is_a_word_that_can_be_seen() -> None:
    pieces = ["Sales", " rose", "\n", "Costs"]
    assert strongest_words(pieces, word_numbers(pieces), np.array([0.0, 0, 1, 0])) == ["\n"]


def test_a_word_of_signs_alone_keeps_them() -> None:
    assert strongest_words(["a", " --"], np.array([0, 1]), np.array([0.0, 1.0])) == ["--"]


def test_excerpt_shows_gaps_and_keeps_to_its_width() -> None:
    words = ["a", " b", " c", " d"]
    assert excerpt(words, np.array([0, 1, 3]), width=40) == "“a b …  d”"
    assert len(excerpt(["x" * 100], np.array([0]), width=20)) == 22


@given(lengths=st.lists(st.integers(1, 5), min_size=1, max_size=60), most=st.integers(1, 20))
def test_stretches_hold_every_token_once_and_begin_with_a_word(lengths: list[int], most: int) -> None:
    word_of = np.repeat(np.arange(len(lengths)), lengths)
    edges = stretches(word_of, most)
    assert edges[0] == 0
    assert edges[-1] == len(word_of)
    assert (np.diff(edges) > 0).all()
    assert len(edges) - 1 <= most
    begins = set(np.flatnonzero(np.diff(word_of, prepend=-1)).tolist())
    assert set(edges[:-1].tolist()) <= begins


@pytest.mark.browser
@pytest.mark.model
def test_words_are_chosen_by_a_drag_that_ends_between_them_and_by_keys_in_a_browser(served: str, tab: Any) -> None:
    sync_api = pytest.importorskip("playwright.sync_api")
    tab.goto(served)
    tab.get_by_label("Text to analyze").fill("Faced with stress\nmany banks act.\n" + "Nothing here.\n" * 80)
    tab.get_by_role("button", name="Analyze").click()
    tab.get_by_role("tab", name="Words").click(timeout=60_000)
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
