const memory = new WeakMap();

export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const root = parentElement.querySelector('.words');
  let drawn = memory.get(root);
  const text = data.pieces.join('\u0000');
  if (!drawn || drawn.text !== text) {
    drawn = { text, spans: [], anchor: null, cursor: null, feature: null };
    memory.set(root, drawn);
    const all = document.createDocumentFragment();
    data.pieces.forEach((piece, i) => {
      const span = document.createElement('span');
      // Most tokens begin with a space; shading starts at the letters.
      const body = piece.trimStart() || piece;
      all.appendChild(document.createTextNode(piece.slice(0, piece.length - body.length)));
      span.textContent = body;
      span.dataset.i = i;
      drawn.spans.push(span);
      all.appendChild(span);
    });
    root.replaceChildren(all);
  }
  const chosen = new Set(data.chosen);
  drawn.marked = data.chosen;
  drawn.spans.forEach((span, i) => {
    const share = data.largest > 0 ? Math.min(1, data.values[i] / data.largest) : 0;
    const reason = data.uncounted[i];
    span.classList.toggle('chosen', chosen.has(i));
    if (share === 0 && !span.title && !reason) return;  // most tokens: nothing to change
    span.classList.toggle('uncounted', reason !== undefined);
    span.style.backgroundColor = share > 0 && !reason
      ? `color-mix(in srgb, ${data.colour} ${Math.round(20 + 40 * share)}%, transparent)` : '';
    span.title = reason ?? (share > 0 ? `activation ${data.values[i]}` : '');
    // A screen reader says how strongly a marked word fires, in the steps that the eye sees.
    if (share > 0 && !reason) span.setAttribute('aria-description', `fires ${Math.ceil(share * 10) * 10} %`);
    else span.removeAttribute('aria-description');
    // A line break has no width that could be shaded.
    if (share > 0 && span.textContent.startsWith('\n')) span.dataset.mark = '↵';
    else delete span.dataset.mark;
  });
  const word = (i) => data.word_of[i];
  const range = (a, b) => {
    let [first, last] = a <= b ? [a, b] : [b, a];
    while (first > 0 && word(first - 1) === word(first)) first -= 1;
    while (last + 1 < drawn.spans.length && word(last + 1) === word(last)) last += 1;
    return [first, last];
  };
  // The pointer is captured during a drag, so the event's target is not what lies under it.
  const at = (event) => {
    const hit = root.getRootNode().elementFromPoint(event.clientX, event.clientY);
    return hit?.dataset?.i === undefined ? null : Number(hit.dataset.i);
  };
  // Redraws only what the drag adds or leaves: the text may be long.
  const preview = (a, b) => {
    const [first, last] = range(a, b);
    drawn.marked.forEach((i) => { if (i < first || i > last) drawn.spans[i].classList.remove('chosen'); });
    drawn.marked = [];
    for (let i = first; i <= last; i += 1) {
      drawn.spans[i].classList.add('chosen');
      drawn.marked.push(i);
    }
  };
  const choose = () => setTriggerValue('picked', range(drawn.anchor, drawn.cursor));
  root.onpointerdown = (event) => {
    const hit = at(event);
    if (hit === null) return;
    drawn.anchor = drawn.cursor = hit;
    root.setPointerCapture(event.pointerId);
    preview(drawn.anchor, drawn.cursor);
  };
  root.onpointermove = (event) => {
    // Over a space or beyond a line's end, the drag stays at the last word it passed.
    if (!root.hasPointerCapture(event.pointerId)) return;
    drawn.cursor = at(event) ?? drawn.cursor;
    preview(drawn.anchor, drawn.cursor);
  };
  root.onpointerup = (event) => {
    if (root.hasPointerCapture(event.pointerId)) choose();
  };
  root.onkeydown = (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === 'Enter' && drawn.cursor !== null) choose();
    if (step === undefined) return;
    event.preventDefault();
    let next = drawn.cursor === null ? 0 : range(drawn.cursor, drawn.cursor)[step > 0 ? 1 : 0] + step;
    while (drawn.spans[next] && !drawn.spans[next].textContent.trim()) next += step;
    if (!drawn.spans[next]) return;
    drawn.cursor = next;
    if (!event.shiftKey || drawn.anchor === null) drawn.anchor = next;
    preview(drawn.anchor, next);
    drawn.spans[next].scrollIntoView({ block: 'nearest' });
  };
  // For another feature, scroll to its strongest word, unless it changed because words were just chosen.
  const picked = data.chosen.join();
  if (drawn.feature !== data.feature && (drawn.picked ?? picked) === picked && data.largest > 0) {
    const peak = drawn.spans[data.peak];
    requestAnimationFrame(() => { root.scrollTop = peak.offsetTop - root.clientHeight / 2; });
  }
  drawn.feature = data.feature;
  drawn.picked = picked;
}
