"""What all charts share: one colour a layer, text made harmless for Plotly, margins, PNG download.

Plotly reads pseudo-HTML (`<b>`, `<a href>`, `&amp;`) and, where MathJax is loaded, TeX between dollar signs in every
label and hover. Text of the analyst or of a label table passes `plotly_text` first.
"""

from __future__ import annotations

import html
import math
import re
import textwrap
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from feature_tracker.charts.measure import activation_text, one_in
from feature_tracker.labels.columns import BY_NAME
from feature_tracker.tracing.rank import Aggregation
from feature_tracker.tracing.rows import Row, feature_of

# Chosen so that each has a contrast of at least 3 on white and on the dark theme's background, and each pair stays
# apart (CIE76 above 15) in simulated protanopia, deuteranopia and tritanopia.
_PALETTE = ("#1F6FC4", "#16A085", "#B98700", "#C2410C", "#C46FB0")

POSITIVE = "#3D8BD9"
NEGATIVE = "#D9574A"
MUTED = "#8A8F98"
UNRELIABLE_ALPHA = 0.4

# Fonts of the system: a downloaded image can't hold the page's own, and one of other width would cut labels off.
FONT = "Arial, Helvetica, sans-serif"

_ISOLATE, _END_ISOLATE = "\u2068", "\u2069"


def layer_colours(layers: Sequence[int]) -> dict[int, str]:
    """One colour a layer, by its place among the bundle's layers; the sixth layer starts over."""
    return {layer: _PALETTE[place % len(_PALETTE)] for place, layer in enumerate(sorted(layers))}


def with_alpha(colour: str, alpha: float) -> str:
    """`#rrggbb` as rgba with an opacity between 0 and 1."""
    red, green, blue = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha:g})"


def visible(text: str) -> str:
    """Text on one line: line breaks and tabs as signs, other control characters as a replacement mark."""
    shown = text.replace("\r\n", "↵").replace("\n", "↵").replace("\r", "↵").replace("\t", "⇥")
    # Cf holds direction overrides, which would turn the rest of a label around, but also the joiners emoji need.
    return "".join(
        "\ufffd" if unicodedata.category(char) in ("Cc", "Cs") or char in "\u202a\u202b\u202c\u202d\u202e" else char
        for char in shown
    )


def _has_right_to_left(text: str) -> bool:
    return any(unicodedata.bidirectional(char) in ("R", "AL") for char in text)


def shorten(text: str, width: int) -> str:
    """At most `width` characters, the last an ellipsis where something is left out; blanks alone as a sign."""
    shown = visible(text).strip() or "␣" * bool(text)
    return shown if len(shown) <= width else shown[: width - 1].rstrip(" …") + "…"


def plotly_text(text: str) -> str:
    """Text that Plotly shows letter by letter: no pseudo-HTML, no TeX, no effect on its neighbours' direction."""
    escaped = html.escape(visible(text)).replace("$", "&#36;")
    return f"{_ISOLATE}{escaped}{_END_ISOLATE}" if _has_right_to_left(text) else escaped


def wrapped(text: str, width: int = 56) -> str:
    """Plotly text broken into lines of about `width` characters."""
    lines = textwrap.wrap(visible(text), width) or [""]
    return "<br>".join(plotly_text(line) for line in lines)


def axis_label(label: str, *, reliable: bool, width: int) -> str:
    """A label for an axis: cut to `width`, and marked `?` where its F1 doesn't beat a judge who always says yes."""
    return plotly_text(shorten(label, width)) + ("" if reliable else " ?")


class _Wrapper(textwrap.TextWrapper):
    """Breaks lines after strokes and hyphens, too."""

    wordsep_re = re.compile(r"(\s+|(?<=[/-])(?=\w))")


def stacked_label(label: str, *, reliable: bool, width: int, lines: int = 2) -> str:
    """A label on up to `lines` short lines, for narrow columns; marked as `axis_label` marks it."""
    parts = _Wrapper(width, break_long_words=False).wrap(visible(label)) or [""]
    if len(parts) > lines:
        last, next_ = parts[lines - 1 : lines + 1]
        parts = [*parts[: lines - 1], last + ("" if last[-1] in "/-" else " ") + next_]
    return "<br>".join(plotly_text(shorten(part, width)) for part in parts) + ("" if reliable else " ?")


def number(value: float | None, form: str = ".2f", missing: str = "not measured") -> str:
    """A number in words: what was never measured is said to be so."""
    return missing if value is None or math.isnan(value) else format(value, form)


def stated(row: Mapping[str, Any], name: str) -> str:
    """A number of the label table in words, such as `Specialization +0.42`.

    Args:
        row: a row of `rank_features`.
        name: one of `labels.columns.SHOWN`.
    """
    column = BY_NAME[name]
    return f"{column.title} {number(row[name], column.format)}"


def feature_hover(row: Row, aggregation: Aggregation = "max") -> str:
    """What every chart says about a feature under the pointer.

    Args:
        row: one row of `rank_features`.
        aggregation: what its activation is.
    """
    rare = one_in(row["percentile"])
    lines = [
        f"<b>{wrapped(str(row['label']))}</b>",
        str(feature_of(row)),
        activation_text(row["activation"], aggregation),
        f"Percentile {number(row['percentile'])}" + f" ({rare})" * bool(rare),
        *_label_scores(row),
        stated(row, "specialization_index"),
        stated(row, "density"),
        f"Peak word “{plotly_text(shorten(str(row['peak_word']), 40))}”",
    ]
    return "<br>".join(lines)


def _label_scores(row: Row) -> list[str]:
    """How far the label can be trusted, a line each: its scores, the sample they come from, and what speaks against."""
    lines = [f"Label {stated(row, 'f1')}; guessing scores {number(row['f1_always_yes'], missing='an unknown F1')}"]
    if math.isnan(row["f1"]):
        lines = ["Label F1 not measured"]
    else:
        measures = ("precision", "recall", "balanced_accuracy")
        measured = [stated(row, name) for name in measures if not math.isnan(row[name])]
        lines += [", ".join(measured).capitalize()] * bool(measured)
        counts = (("n_positive", "firing"), ("n_negative", "silent"), ("n_unanswered", "unanswered"))
        asked = [f"{row[name]:,.0f} {what}" for name, what in counts if row[name] > 0]
        lines += [f"Scored on {', '.join(asked)} examples"] * bool(asked)
    if not row["reliable"]:
        lines.append(f"<b>Unreliable</b>: {plotly_text(str(row['mark']))}")
    return lines


def unfaded(opacity: float) -> dict[str, Any]:
    """For a trace whose clicks choose: the chart shows the choice itself, so Plotly's own fading stays out."""
    return {"selected": {"marker": {"opacity": opacity}}, "unselected": {"marker": {"opacity": opacity}}}


def finish(figure: go.Figure, *, height: int, **layout: Any) -> go.Figure:
    """Give a figure its height and the margins and hover box all charts have."""
    settings: dict[str, Any] = {
        "height": height,
        "margin": {"l": 8, "r": 16, "t": 8, "b": 8},
        "hoverlabel": {"align": "left", "namelength": -1},
        "font": {"size": 12, "family": FONT},
        "showlegend": False,
    }
    figure.update_layout(**(settings | layout))
    return figure


def empty_figure(sentence: str) -> go.Figure:
    """A figure without data that says why."""
    figure = go.Figure()
    figure.add_annotation(text=plotly_text(sentence), showarrow=False, x=0.5, y=0.5, xref="paper", yref="paper")
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    return finish(figure, height=160)


def download_config(name: str) -> dict[str, Any]:
    """Plotly's settings for a chart that downloads as `name`.png, at twice the screen's resolution."""
    return {
        "displaylogo": False,
        "typesetMath": False,
        "toImageButtonOptions": {"format": "png", "filename": name, "scale": 2},
        "modeBarButtonsToRemove": ["lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d"],
    }
