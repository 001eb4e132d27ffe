"""What all charts share: layer colours, escaping of text for Plotly, hover texts, margins, PNG download.

In every label and hover, Plotly interprets pseudo-HTML (`<b>`, `<a href>`, `&amp;`) and, where MathJax is loaded, TeX
between dollar signs. Text from the analyst or from a label table has to pass through `plotly_text` first.
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

# Each colour has a contrast of at least 3 on white and on the dark theme's background, and any two remain distinct
# (CIE76 above 15) in simulated protanopia, deuteranopia and tritanopia.
_PALETTE = ("#1F6FC4", "#16A085", "#B98700", "#C2410C", "#C46FB0")

POSITIVE = "#3D8BD9"
NEGATIVE = "#D9574A"
MUTED = "#8A8F98"
UNRELIABLE_ALPHA = 0.4

# System fonts: a downloaded image can't embed the page's web font, and a substitute of another width would cut labels.
FONT = "Arial, Helvetica, sans-serif"

_ISOLATE, _END_ISOLATE = "\u2068", "\u2069"


def layer_colours(layers: Sequence[int]) -> dict[int, str]:
    """One colour per layer, in ascending order of the bundle's layers; from the sixth on, colours repeat."""
    return {layer: _PALETTE[number % len(_PALETTE)] for number, layer in enumerate(sorted(layers))}


def with_alpha(colour: str, alpha: float) -> str:
    """A colour `#rrggbb` as rgba, with an opacity between 0 and 1."""
    red, green, blue = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha:g})"


def visible(text: str) -> str:
    """Text on one line: line breaks and tabs become visible signs, other control characters U+FFFD."""
    shown = text.replace("\r\n", "↵").replace("\n", "↵").replace("\r", "↵").replace("\t", "⇥")
    # Direction overrides would reverse the rest of a label. Their category, Cf, also holds the joiners that emoji need,
    # so the overrides are listed one by one.
    return "".join(
        "\ufffd" if unicodedata.category(char) in ("Cc", "Cs") or char in "\u202a\u202b\u202c\u202d\u202e" else char
        for char in shown
    )


def _has_right_to_left(text: str) -> bool:
    return any(unicodedata.bidirectional(char) in ("R", "AL") for char in text)


def shorten(text: str, width: int) -> str:
    """At most `width` characters, ending in an ellipsis if anything is cut; text of spaces only becomes `␣`."""
    shown = visible(text).strip()
    if text and not shown:
        return "␣"
    return shown if len(shown) <= width else shown[: width - 1].rstrip(" …") + "…"


def plotly_text(text: str) -> str:
    """Text escaped so that Plotly shows it as it is: no pseudo-HTML, no TeX, no change of its neighbours' direction."""
    escaped = html.escape(visible(text)).replace("$", "&#36;")
    return f"{_ISOLATE}{escaped}{_END_ISOLATE}" if _has_right_to_left(text) else escaped


def wrapped(text: str, width: int = 56) -> str:
    """Escaped text, broken into lines of at most `width` characters."""
    lines = textwrap.wrap(visible(text), width) or [""]
    return "<br>".join(plotly_text(line) for line in lines)


def axis_label(label: str, *, reliable: bool, width: int) -> str:
    """A label for an axis, shortened to `width`; ` ?` marks one whose F1 doesn't beat always answering yes."""
    return plotly_text(shorten(label, width)) + ("" if reliable else " ?")


class _Wrapper(textwrap.TextWrapper):
    """Also breaks lines after slashes and hyphens."""

    wordsep_re = re.compile(r"(\s+|(?<=[/-])(?=\w))")


def stacked_label(label: str, *, reliable: bool, width: int, lines: int = 2) -> str:
    """A label on up to `lines` short lines, for narrow columns; unreliable labels are marked as in `axis_label`."""
    parts = _Wrapper(width, break_long_words=False).wrap(visible(label)) or [""]
    if len(parts) > lines:  # what follows joins the last line, where `shorten` cuts it
        last, next_ = parts[lines - 1 : lines + 1]
        parts = [*parts[: lines - 1], last + ("" if last[-1] in "/-" else " ") + next_]
    return "<br>".join(plotly_text(shorten(part, width)) for part in parts) + ("" if reliable else " ?")


def number(value: float | None, form: str = ".2f", missing: str = "not measured") -> str:
    """A formatted number, or `missing` if it is NaN or `None`."""
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
    """The hover text of a feature, the same in every chart.

    Args:
        row: one row of `rank_features`.
        aggregation: how its activations were aggregated.
    """
    unusual = one_in(row["rarity"], at_least=bool(row["is_rarest"]))
    peak_word = plotly_text(shorten(str(row["peak_word"]), 40))
    lines = [
        f"<b>{wrapped(str(row['label']))}</b>",
        f"{feature_of(row)}, {row['kind']}" if row["kind"] else str(feature_of(row)),
        activation_text(row["activation"], aggregation),
        f"Distinctiveness {number(row['distinctiveness'], '+.1f')} standard deviations",
        f"Peak: {unusual} passages is as high" if unusual else "Rarity of the peak not measured",
        *_label_scores(row),
        stated(row, "specialization_index"),
        stated(row, "density"),
        f"Peaks on “{peak_word}”: {plotly_text(shorten(row['peak_excerpt'], 90))}",
    ]
    return "<br>".join(lines)


def _label_scores(row: Row) -> list[str]:
    """How far the label can be trusted, one fact per line: its scores, the sample behind them, why it is unreliable."""
    if math.isnan(row["f1"]):
        lines = ["Label F1 not measured"]
    else:
        guessing = number(row["f1_always_yes"], missing="an unknown F1")
        lines = [f"Label {stated(row, 'f1')}; guessing scores {guessing}"]
        readings = ("f1_strong", "f1_uniform", "f1_hard")
        lines += [stated(row, name) for name in readings if not math.isnan(row[name])]
        measures = ("precision", "recall", "balanced_accuracy")
        measured = [stated(row, name) for name in measures if not math.isnan(row[name])]
        if measured:
            lines.append(", ".join(measured).capitalize())
        counts = (
            ("n_positive", "firing"), ("n_negative", "silent"), ("n_hard", "lookalike"), ("n_unanswered", "unanswered"),
        )  # fmt: skip
        judged = [f"{row[name]:,.0f} {what}" for name, what in counts if row[name] > 0]
        if judged:
            lines.append(f"Scored on {', '.join(judged)} examples")
        if row["judge"]:
            lines.append(f"Judged by {plotly_text(str(row['judge']))}, {plotly_text(str(row['date']))}")
    if not row["reliable"]:
        lines.append(f"<b>Unreliable</b>: {plotly_text(str(row['mark']))}")
    return lines


def unfaded(opacity: float) -> dict[str, Any]:
    """Settings that turn off Plotly's fading of unselected points, for charts that show the selection themselves."""
    return {"selected": {"marker": {"opacity": opacity}}, "unselected": {"marker": {"opacity": opacity}}}


def finish(figure: go.Figure, *, height: int, **layout: Any) -> go.Figure:
    """Give a figure its height, and the margins, font and hover box that all charts share."""
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
    """A figure without data that says why it is empty."""
    figure = go.Figure()
    figure.add_annotation(text=plotly_text(sentence), showarrow=False, x=0.5, y=0.5, xref="paper", yref="paper")
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    return finish(figure, height=160)


def download_config(name: str) -> dict[str, Any]:
    """Plotly settings for a chart that downloads as `name`.png at twice the screen's resolution."""
    return {
        "displaylogo": False,
        "typesetMath": False,
        "toImageButtonOptions": {"format": "png", "filename": name, "scale": 2},
        "modeBarButtonsToRemove": ["lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d"],
    }
