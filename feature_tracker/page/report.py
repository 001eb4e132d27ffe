"""A report of an analysis as one HTML file that needs nothing else: to keep, or to hand on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from datetime import date
from html import escape
from importlib.metadata import version

import numpy as np

from feature_tracker import __version__
from feature_tracker.charts.measure import one_in
from feature_tracker.charts.theme import layer_colours, number, visible, with_alpha
from feature_tracker.corpus.origin import fingerprint
from feature_tracker.feature import Feature
from feature_tracker.page.state import Analysis, Settings
from feature_tracker.page.views.themes import compute_themes
from feature_tracker.tracing.rows import Row, feature_of, rows_of
from feature_tracker.tracing.themes import Theme
from feature_tracker.tracing.trace import Trace
from feature_tracker.tracker import Tracker

_MOST_THEMES = 12
_LIBRARIES = ("torch", "transformers")
_STYLE = """
body { font: 15px/1.6 Arial, sans-serif; color: #262730; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; font-size: 13px; }
th, td { border-bottom: 1px solid #ddd; padding: 0.3rem 0.6rem; text-align: left; vertical-align: top; }
td.number { text-align: right; white-space: nowrap; }
.text { white-space: pre-wrap; overflow-wrap: anywhere; border: 1px solid #ddd; border-radius: 6px; padding: 1rem; }
.small { font-size: 13px; color: #595c66; }
"""


def report(analysis: Analysis, tracker: Tracker, settings: Settings, feature: Feature, *, of_theme: bool) -> bytes:
    """The report: themes, the marked text, the features shown, settings, versions and hashes.

    Args:
        feature: by which the text is marked.
        of_theme: mark the text by the theme that the feature names.
    """
    trace = analysis.trace
    themes = compute_themes(trace, tracker, settings)
    theme = next((theme for theme in themes if theme.features[0] == feature), None) if of_theme else None
    label, activations = (
        (str(tracker.labels.name(feature)), trace.column(feature)) if theme is None else (theme.label, theme.activation)
    )
    parts = [
        "<h1>What stands out</h1>",
        _themes(themes[:_MOST_THEMES], trace, tracker),
        f"<h2>The text, marked by {_shown(label)}</h2>",
        _text(trace, activations, layer_colours(tracker.bundle.layers)[feature.layer]),
        "<h2>Features that stand out in each layer</h2>",
        _features(rows_of(settings.rank(tracker, trace, None))),
        "<h2>How this was made</h2>",
        _table(("", ""), _provenance(trace, tracker, settings)),
    ]
    head = f'<meta charset="utf-8"><title>What stands out</title><style>{_STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>'.encode()


def _shown(text: object) -> str:
    return escape(visible(str(text)))


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Cells are HTML; those that begin with a digit or sign stand on the right."""
    cells = "".join(f"<th>{escape(name)}</th>" for name in head) if any(head) else ""
    body = "".join(
        "<tr>" + "".join(f'<td class="number">{c}</td>' if _is_number(c) else f"<td>{c}</td>" for c in row) + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table>"


def _is_number(cell: str) -> bool:
    return cell.lstrip("+-").replace(".", "").replace(",", "").replace("%", "").isdigit()


def _themes(themes: Sequence[Theme], trace: Trace, tracker: Tracker) -> str:
    if not themes:
        labels = tracker.labels
        if not (labels.has_passages or labels.has_quantiles):
            return "<p>What stands out is not known: this label table was not measured on ordinary text.</p>"
        return "<p>Nothing in this text stands out from ordinary text of its length.</p>"
    text = trace.tokens.text
    details = tracker.labels.frame.reindex(columns=["detail"], fill_value="")["detail"]
    parts = []
    for theme in themes:
        detail = _shown(details.get(tuple(theme.features[0]), ""))
        excerpts = " … ".join(f"“{_shown(text[start:end])}”" for start, end in theme.excerpts)
        features = ", ".join(map(str, theme.features))
        parts.append(
            f"<h2>{_shown(theme.label)}</h2><p><b>{_shown(', '.join(theme.words))}</b><br>{excerpts}</p>"
            f'<p class="small">{detail} {one_in(max(theme.one_in))} ordinary passages of this length makes one of its '
            f"features stand out as much. Label F1 {number(theme.f1)}. Features: {features}.</p>"
        )
    return "".join(parts)


def _text(trace: Trace, activations: np.ndarray, colour: str) -> str:
    """The text, each word shaded in this colour by its share of the largest activation."""
    by_word = trace.by_word(activations)
    largest = max(by_word.max(initial=0.0), 1e-12)
    text, parts, last = trace.tokens.text, [], 0
    for (start, end), value in zip(trace.tokens.words.spans.tolist(), by_word, strict=True):
        word = escape(text[start:end])
        parts.append(escape(text[last:start]))
        shade = with_alpha(colour, round(0.15 + 0.45 * value / largest, 2))
        parts.append(f'<span style="background:{shade}">{word}</span>' if value > 0 else word)
        last = end
    return f'<div class="text">{"".join([*parts, escape(text[last:])])}</div>'


def _features(rows: Sequence[Row]) -> str:
    head = ("feature", "label", "peak word", "distinctiveness", "peak: one passage in", "F1")
    return _table(
        head,
        (
            (
                str(feature_of(row)),
                _shown(row["label"]),
                _shown(row["peak_word"]),
                number(row["distinctiveness"], "+.1f", ""),
                number(row["rarity"], ",.0f", ""),
                number(row["f1"], ".2f", ""),
            )
            for row in rows
        ),
    )


def _provenance(trace: Trace, tracker: Tracker, settings: Settings) -> list[tuple[str, str]]:
    text = trace.tokens.text.encode("utf-8", "surrogatepass")
    labels = tracker.labels.frame.to_csv().encode()
    return [
        ("date", date.today().isoformat()),
        ("text", f"{trace.n_tokens:,} tokens, SHA-256 {_hash(text)}"),
        ("bundle", _shown(tracker.bundle.title)),
        ("SAEs", fingerprint(tracker.saes)),
        ("labels", f"SHA-256 {_hash(labels)}"),
        ("ranked by", settings.by),
        ("layers", ", ".join(map(str, settings.layers))),
        ("top features a layer", str(settings.top)),
        ("minimum F1", f"{settings.min_f1:.2f}"),
        ("numbers, punctuation and grammar", "hidden" if settings.hide_form else "shown"),
        ("feature-activation-tracker", __version__),
        *((name, version(name)) for name in _LIBRARIES),
    ]


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
