from __future__ import annotations

import html
import itertools
import math
import re

import numpy as np
import pytest

from feature_tracker.charts.theme import (
    axis_label,
    feature_hover,
    layer_colours,
    number,
    plotly_text,
    shorten,
    stacked_label,
    visible,
    with_alpha,
    wrapped,
)
from tests.support import HOSTILE, make_ranked

TAG = re.compile(r"<(?!/?(b|br)>)")


@pytest.mark.parametrize("text", HOSTILE)
def test_text_reaches_plotly_without_tags_tex_or_control_characters(text: str) -> None:
    shown = plotly_text(text)
    assert "<" not in shown
    assert "$" not in shown
    assert not any(ord(char) < 32 for char in shown)
    assert "\u202e" not in shown


@pytest.mark.parametrize("text", ["<b>&amp;", "cost $5", "a 'quote' \"here\""])
def test_escaped_text_reads_as_it_was_written(text: str) -> None:
    assert html.unescape(plotly_text(text)) == text


def test_right_to_left_text_is_isolated_from_its_neighbours() -> None:
    assert plotly_text("שלום") == "\u2068שלום\u2069"


def test_emoji_joiners_survive() -> None:
    assert visible("👩‍👩‍👧") == "👩‍👩‍👧"


def test_shortened_text_says_so_and_keeps_to_its_width() -> None:
    assert shorten("interest rates", 8) == "interes…"
    assert shorten("rates", 8) == "rates"
    assert len(shorten("x" * 1000, 30)) == 30


def test_unreliable_labels_are_marked() -> None:
    assert axis_label("rates", reliable=True, width=20) == "rates"
    assert axis_label("rates", reliable=False, width=20) == "rates ?"
    assert stacked_label("rates", reliable=False, width=20).endswith(" ?")


def test_stacked_label_breaks_at_a_stroke_rather_than_within_a_word() -> None:
    assert stacked_label("billion/million", reliable=True, width=10) == "billion/<br>million"
    assert stacked_label("rose; our/excluding", reliable=True, width=10, lines=2) == "rose; our/<br>excluding"
    assert stacked_label("our/excluding", reliable=True, width=8, lines=1) == "our/exc…"
    assert stacked_label("respectively/each", reliable=True, width=10) == "respectiv…<br>each"


def test_stacked_label_keeps_to_its_lines_and_width() -> None:
    lines = stacked_label("numbers after a dollar sign in a table", reliable=True, width=12).split("<br>")
    assert len(lines) == 2
    assert all(len(html.unescape(line)) <= 12 for line in lines)
    assert lines[-1].endswith("…")


@pytest.mark.parametrize("label", HOSTILE)
def test_labels_of_any_text_hold_no_tag_but_line_breaks(label: str) -> None:
    assert not TAG.search(wrapped(label))
    assert not TAG.search(stacked_label(label, reliable=False, width=11))


def test_hover_names_the_feature_its_measures_and_its_peak_word() -> None:
    row = make_ranked((4,), 3).iloc[2]
    hover = feature_hover(row)
    scores = ("F1 0.90; guessing scores 0.67", "Precision 0.80, recall 0.70, balanced accuracy 0.75")
    measures = ("Distinctiveness +4.0 standard deviations", "Peak: 1 in 33 passages is as high")
    for part in ("L4/F24", *measures, *scores, "Specialization", "Density 10.0%", "Peaks on"):
        assert part in hover
    assert "Unreliable" not in hover


def test_hover_counts_the_sample_and_what_was_not_answered() -> None:
    row = make_ranked((4,), 3).iloc[2].to_dict()
    assert "Scored on 1,000 firing, 900 silent examples" in feature_hover(row)
    assert "1,000 firing, 900 silent, 12 unanswered examples" in feature_hover(row | {"n_unanswered": 12.0})
    unknown = dict.fromkeys(("n_positive", "n_negative", "n_unanswered"), math.nan)
    assert "Scored on" not in feature_hover(row | unknown)


def test_hover_says_why_a_label_is_not_reliable() -> None:
    unscored, guessed = (feature_hover(make_ranked((4,), 2).iloc[place]) for place in (0, 1))
    assert "Label F1 not measured<br><b>Unreliable</b>: not scored" in unscored
    assert "<b>Unreliable</b>: no better than always yes" in guessed


def test_hover_of_an_unmeasured_feature_says_so() -> None:
    missing = ("rarity", "distinctiveness", "precision", "recall", "balanced_accuracy", "f1_always_yes", "density")
    row = make_ranked((4,), 3).iloc[2].to_dict() | dict.fromkeys(missing, math.nan)
    hover = feature_hover(row)
    for part in (
        "Rarity of the peak not measured<br>",
        "Distinctiveness not measured",
        "guessing scores an unknown F1",
        "Density not measured",
    ):
        assert part in hover
    assert "nan" not in hover


def test_hovers_hold_no_tag_but_bold_and_breaks() -> None:
    for row in make_ranked((4,), 10).to_dict("records"):
        assert not TAG.search(feature_hover(row))


def test_missing_numbers_are_words() -> None:
    assert number(math.nan) == "not measured"
    assert number(0.5) == "0.50"


def test_each_layer_keeps_its_colour_whatever_else_is_shown() -> None:
    assert layer_colours((4, 10, 16, 22, 28)) == layer_colours((28, 22, 16, 10, 4))
    assert len(set(layer_colours((4, 10, 16, 22, 28)).values())) == 5
    assert layer_colours(range(7))[5] == layer_colours(range(7))[0]


def _linear(colour: str) -> np.ndarray:
    share = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def _contrast(a: str, b: str) -> float:
    light, dark = sorted((float(_linear(c) @ [0.2126, 0.7152, 0.0722]) for c in (a, b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _lab(linear: np.ndarray) -> np.ndarray:
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = to_xyz @ np.clip(linear, 0, 1) / [0.95047, 1, 1.08883]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("background", ["#ffffff", "#171614"])
def test_layer_colours_stand_out_on_both_themes(background: str) -> None:
    # WCAG 2.1, 1.4.11: graphical objects need a contrast of 3.
    assert all(_contrast(colour, background) >= 3 for colour in layer_colours((4, 10, 16, 22, 28)).values())


@pytest.mark.parametrize(
    "seen",
    [
        np.eye(3),
        # Machado, Oliveira and Fernandes 2009, severity 1: protanopia, deuteranopia, tritanopia.
        np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]),
        np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]),
        np.array([[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]),
    ],
)
def test_layer_colours_stay_apart_for_the_colour_blind(seen: np.ndarray) -> None:
    colours = [_lab(seen @ _linear(colour)) for colour in layer_colours((4, 10, 16, 22, 28)).values()]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(colours, 2)) > 12


def test_alpha_keeps_the_colour() -> None:
    assert with_alpha("#1F6FC4", 0.5) == "rgba(31,111,196,0.5)"
