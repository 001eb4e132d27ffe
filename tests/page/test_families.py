from __future__ import annotations

from feature_tracker.page.families import family_line

RISING = ["climbing", "rising", "higher", "growth", "up", "growing", "soaring", "gaining"]


def test_a_line_gives_each_family_a_few_words_besides_those_the_label_shows() -> None:
    assert family_line({"rising/growth": RISING}) == (
        "Words like **rising/growth**: climbing, higher, up, growing, soaring"
    )


def test_a_sign_whose_name_has_two_words_is_not_shown_twice() -> None:
    assert family_line({"full stop/dash": ["full stop", "dash", "colon"]}) == "Words like **full stop/dash**: colon"


def test_words_are_shown_letter_by_letter() -> None:
    assert family_line({"digits": [], "words in a*b-": ["c_d"]}) == r"Words like **words in a\*b\-**: c\_d"


def test_a_family_without_other_words_is_left_out() -> None:
    assert family_line({"$": ["$"], "unknown": []}) == ""
