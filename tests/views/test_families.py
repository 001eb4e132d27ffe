from __future__ import annotations

from views.families import family_line

TYPICAL = {
    "rising": ["climbing", "rising", "higher", "up", "growing", "soaring", "gaining"],
    "$": ["$"],
    "a*b": ["c_d"],
}


def test_a_line_gives_each_family_a_few_words_besides_its_name() -> None:
    assert family_line(["rising"], TYPICAL) == "**rising**: climbing, higher, up, growing, soaring"


def test_words_are_shown_letter_by_letter() -> None:
    assert family_line(["a*b"], TYPICAL) == r"**a\*b**: c\_d"


def test_a_family_without_other_words_is_left_out() -> None:
    assert family_line(["$", "unknown"], TYPICAL) == ""
