"""The analyzed text as a component: shaded words, and a range of them to be chosen by click or drag.

Text reaches the browser as data and the page as text nodes (`textContent`), never as HTML. Works with Streamlit's
Components v2: no frame, the theme's colours as CSS variables, `setTriggerValue` back to Python.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import streamlit as st
from streamlit.components.v2 import component

_HTML = """<div class="words" dir="auto" tabindex="0" role="group"
aria-label="The analyzed text. Left and right arrows move over words, Shift extends, Enter chooses."></div>"""

_CSS = """
.words {
  font: 1rem/1.9 var(--st-font, sans-serif); color: var(--st-text-color); white-space: pre-wrap;
  overflow-wrap: anywhere; unicode-bidi: plaintext; max-height: 28rem; overflow-y: auto; padding: 0.75rem 1rem;
  border: 1px solid var(--st-border-color, #8884); border-radius: var(--st-base-radius, 0.5rem);
  cursor: text; user-select: none; outline-offset: 2px; position: relative;
}
.words span { border-radius: 3px; padding: 0.12em 0; }
.words span:hover { outline: 1px solid var(--st-text-color); }
.words span.chosen { box-shadow: inset 0 -3px 0 var(--st-text-color); }
.words span[data-mark]::before { content: attr(data-mark); opacity: 0.5; }
"""

_JS = """
const memory = new WeakMap();

export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const root = parentElement.querySelector('.words');
  let kept = memory.get(root);
  const text = data.pieces.join('\\u0000');
  if (!kept || kept.text !== text) {
    kept = { text, spans: [], anchor: null, cursor: null, feature: null };
    memory.set(root, kept);
    const all = document.createDocumentFragment();
    data.pieces.forEach((piece, i) => {
      const span = document.createElement('span');
      // Tokens begin with their space; shading starts at the letters.
      const body = piece.trimStart() || piece;
      all.appendChild(document.createTextNode(piece.slice(0, piece.length - body.length)));
      span.textContent = body;
      span.dataset.i = i;
      kept.spans.push(span);
      all.appendChild(span);
    });
    root.replaceChildren(all);
  }
  const chosen = new Set(data.chosen);
  kept.marked = data.chosen;
  kept.spans.forEach((span, i) => {
    const share = data.largest > 0 ? Math.min(1, data.values[i] / data.largest) : 0;
    span.classList.toggle('chosen', chosen.has(i));
    if (share === 0 && !span.title) return;  // most tokens, and they stay as they are
    span.style.backgroundColor = share > 0
      ? `color-mix(in srgb, ${data.colour} ${Math.round(20 + 40 * share)}%, transparent)` : '';
    span.title = share > 0 ? `activation ${data.values[i]}` : '';
    // A line break has no width of its own to be shaded.
    if (share > 0 && span.textContent.startsWith('\\n')) span.dataset.mark = '↵';
    else delete span.dataset.mark;
  });
  const word = (i) => data.word_of[i];
  const range = (a, b) => {
    let [first, last] = a <= b ? [a, b] : [b, a];
    while (first > 0 && word(first - 1) === word(first)) first -= 1;
    while (last + 1 < kept.spans.length && word(last + 1) === word(last)) last += 1;
    return [first, last];
  };
  // The pointer is captured during a drag, so the event itself doesn't tell what lies under it.
  const at = (event) => {
    const hit = root.getRootNode().elementFromPoint(event.clientX, event.clientY);
    return hit?.dataset?.i === undefined ? null : Number(hit.dataset.i);
  };
  // A drag over a long text redraws only what it adds or leaves.
  const preview = (a, b) => {
    const [first, last] = range(a, b);
    kept.marked.forEach((i) => { if (i < first || i > last) kept.spans[i].classList.remove('chosen'); });
    kept.marked = [];
    for (let i = first; i <= last; i += 1) {
      kept.spans[i].classList.add('chosen');
      kept.marked.push(i);
    }
  };
  const choose = () => setTriggerValue('picked', range(kept.anchor, kept.cursor));
  root.onpointerdown = (event) => {
    const hit = at(event);
    if (hit === null) return;
    kept.anchor = kept.cursor = hit;
    root.setPointerCapture(event.pointerId);
    preview(kept.anchor, kept.cursor);
  };
  root.onpointermove = (event) => {
    // Over a space or beyond a line's end the drag stays at the last word it met.
    if (!root.hasPointerCapture(event.pointerId)) return;
    kept.cursor = at(event) ?? kept.cursor;
    preview(kept.anchor, kept.cursor);
  };
  root.onpointerup = (event) => {
    if (root.hasPointerCapture(event.pointerId)) choose();
  };
  root.onkeydown = (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === 'Enter' && kept.cursor !== null) choose();
    if (step === undefined) return;
    event.preventDefault();
    let next = kept.cursor === null ? 0 : range(kept.cursor, kept.cursor)[step > 0 ? 1 : 0] + step;
    while (kept.spans[next] && !kept.spans[next].textContent.trim()) next += step;
    if (!kept.spans[next]) return;
    kept.cursor = next;
    if (!event.shiftKey || kept.anchor === null) kept.anchor = next;
    preview(kept.anchor, next);
    kept.spans[next].scrollIntoView({ block: 'nearest' });
  };
  // Another feature: bring its strongest word into the box, unless the words just chosen brought the feature.
  const picked = data.chosen.join();
  if (kept.feature !== data.feature && (kept.picked ?? picked) === picked && data.largest > 0) {
    const peak = kept.spans[data.peak];
    requestAnimationFrame(() => { root.scrollTop = peak.offsetTop - root.clientHeight / 2; });
  }
  kept.feature = data.feature;
  kept.picked = picked;
}
"""

_component = component("analyzed_text", html=_HTML, css=_CSS, js=_JS)


def show_text(
    pieces: list[str],
    activations: np.ndarray,
    *,
    feature: str,
    peak: int,
    colour: str,
    word_of: np.ndarray,
    chosen: np.ndarray | None,
    choose: Callable[[int, int], None],
) -> None:
    """Draw the text.

    Args:
        pieces: (n_tokens,) the text cut at its tokens; joined they are the text.
        activations: (n_tokens,) of the chosen feature.
        feature: its name; where it is another than before, the box scrolls to its peak.
        peak: token on which it fires most; one that fires more is shaded like it.
        colour: of its layer, `#rrggbb`.
        word_of: (n_tokens,) which word each token belongs to; a range snaps to whole words.
        chosen: token positions to be underlined.
        choose: called with the first and last token of a range just picked.
    """

    def picked() -> None:
        pair = st.session_state["words_text"].picked
        if isinstance(pair, list) and len(pair) == 2 and 0 <= pair[0] <= pair[1] < len(pieces):
            choose(int(pair[0]), int(pair[1]))

    _component(
        key="words_text",
        data={
            "pieces": pieces,
            "values": activations.astype(float).round(3).tolist(),
            "largest": float(activations[peak]),
            "peak": peak,
            "word_of": word_of.tolist(),
            "chosen": [] if chosen is None else chosen.tolist(),
            "feature": feature,
            "colour": colour,
        },
        on_picked_change=picked,
    )
