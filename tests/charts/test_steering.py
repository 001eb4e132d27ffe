from __future__ import annotations

import html
import json

import pandas as pd

from feature_tracker.charts.steering import plot_sweep
from tests.support import HOSTILE


def test_a_word_is_a_line_named_at_its_end() -> None:
    rows = [(strength, word, p) for strength, p in ((0.0, 0.1), (1.0, 0.2)) for word in ("rates", "the")]
    figure = plot_sweep(pd.DataFrame(rows, columns=["strength", "word", "probability"]))
    assert [list(line.text) for line in figure.data] == [["", "rates"], ["", "the"]]
    assert list(figure.data[0].y) == [0.1, 0.2]
    assert list(figure.layout.xaxis.tickvals) == [0, 1]


def test_words_become_letters() -> None:
    figure = plot_sweep(pd.DataFrame({"strength": 0.5, "word": HOSTILE, "probability": 0.1}))
    drawn = json.loads(figure.to_json())["data"]
    texts = [text for line in drawn for text in (*line["text"], *line["hovertext"])]
    assert not any(sign in text for text in texts for sign in ("<", "$", "\x00"))
    assert any("<script>" in html.unescape(text) for text in texts)
    assert {line["hovertemplate"] for line in drawn} == {"%{hovertext} at strength %{x}<extra></extra>"}
