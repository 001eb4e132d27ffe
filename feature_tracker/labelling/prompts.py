"""Questions as a person or a language model reads them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from feature_tracker.labelling.questions import (
    Excerpt,
    ExplainQuestion,
    JudgeQuestion,
    MarkedPassage,
    MarkedToken,
    WordShare,
)

EXPLAIN_RULES = """\
A feature is a direction in a language model that is active ("fires") on some tokens of a text and silent on others. \
You see excerpts in which one feature fires and excerpts in which it is silent. Say what it fires on, for financial \
analysts who know nothing of language models. Another person will read only your label and detail, and must tell \
from them on which tokens of other texts the feature fires: strong firings above all, and middle ones.

How to read: the model reads from left to right, so a feature depends on the marked token and on what stands before \
it; what follows is shown for your reading only, though a feature often fires just before the thing that it \
announces. The very strongest firings often share something narrow; the rest of the strong tenth and the middle ones \
are usually broader. Your label must hold for most of the strong excerpts, and the detail should add what the middle \
ones have in common. Weak firings are often noise; don't stretch the label to hold them. Hold your reading against \
the silent contrasts: they have the same words, or come from the same documents, and the feature does not fire \
there. In the list of words, the first number is the share of strong firings that are on the word, the second the \
share of the word's occurrences on which the feature fires: near 1.00, the word alone is enough; lower, context \
decides. An excerpt's first number is its rank among all firings, the second its strength as a share of the maximum.

Answer with:
- label: at most eight words, plain English of a financial analyst, the most specific reading that the strong \
excerpts bear. Name the words themselves where a feature is about words ("'Over', mostly of time spans"; "Closing \
word of institution names (Agency, University)"; "Money and paying: 'pay', 'paid', 'dollars', '$'"; "'the' right \
after 'at'"). Name the subject where it is about a subject ("Lawsuits and court proceedings"). For two unrelated \
things write "...; also ...". Where no reading holds, begin with "Unclear". No slash between words.
- detail: one sentence of at most 60 words with what somebody must know to predict it: which part of the word or \
phrase fires, the context that decides, typical examples, the broader range at middle strength, and what does not \
fire.
- kind: topic (what a passage is about), word (certain words or word families), number, punctuation, grammar \
(function words, syntax), position (place in a sentence, list or text), or mixture.
- confidence: high, medium or low."""

EXPLAIN_SLOW = """\
This feature is slow: it follows what a passage is about rather than single words, so whole passages of 60 tokens \
are shown, and your label will be judged on passages: in which does it fire on at least a fifth of the tokens? A \
small digit after a word says how strongly the feature fires on it, in tenths of its maximum; on a word without a \
digit it fires below 3 tenths or not at all. Look for what the strong and middle passages have in common in subject, \
kind of document or register, and what the silent ones lack; there it fires on few words or none."""

_GROUPS = {
    "strong": "Strong: the strongest tenth of firings",
    "middle": "Middle: the next fifth of firings",
    "weak": "Weak: the three tenths of firings below these",
    "contrast": "Silent, though they have the same words or come from the same documents",
    "silent": "Silent, drawn at random",
}
_DIGITS = ("", "", "", *"³⁴⁵⁶⁷⁸⁹", "¹⁰")


def explain_prompt(question: ExplainQuestion) -> str:
    """One feature's excerpts, without the rules."""
    around = "Words that mark its passages" if question.slow else "Words it fires on"
    unit = "passages" if question.slow else "tokens"
    lines = [
        f"### {question.name}",
        *([EXPLAIN_SLOW] if question.slow else []),
        f"It fires on {question.density:.2%} of {unit}. {around}, with the share of its strong firings that have them, "
        "and the share of their occurrences on which it fires: "
        f"{_words(question.words)}.",
        f"Its nearest twin, L{question.layer}/F{question.twin} (cosine {question.twin_cosine:.2f}), fires on: "
        f"{_words(question.twin_words[:8])}. Your label should tell the two apart.",
    ]
    for group, excerpts in groupby(question.excerpts, key=lambda excerpt: excerpt.group):
        lines += [f"{_GROUPS[group]}:", *map(_excerpt_line, excerpts)]
    return "\n".join(lines)


def _words(words: Sequence[WordShare]) -> str:
    return ", ".join(f"{word.word} {word.strong:.1%} {word.share:.2f}" for word in words) or "none"


def _excerpt_line(excerpt: Excerpt) -> str:
    strength = f"top {100 * excerpt.rank:.2g} %, {excerpt.share:.2f}" if excerpt.share else "silent"
    return f"- [{strength}; {excerpt.source}, token {excerpt.position}] {piece(excerpt.text)}"


def piece(text: MarkedToken | MarkedPassage) -> str:
    """A marked token in double angle brackets, or a passage with a raised digit after each word that fires."""
    if isinstance(text, MarkedToken):
        whole = f"{text.before}⟪{text.token}⟫{text.after}"
    else:
        whole = "".join(word + _DIGITS[tenths] for word, tenths in zip(text.words, text.tenths, strict=True))
    return whole.replace("\n", "⏎").strip(" ")


JUDGE_RULES = """\
A feature of a language model fires on some tokens of a text and is silent on others. You are told what somebody \
wrote about one feature, a label and a detail, and you see numbered excerpts of texts. In each, one token stands in \
⟪ ⟫. Say for each excerpt whether you expect the feature to fire on that token, going by label and detail alone. The \
model reads from left to right, so what follows the mark had no influence, though a feature often fires just before \
the thing that it announces. Where a label is about passages, the whole passage is the excerpt, and the question is \
whether it is one in which the feature fires.

In half of the excerpts the feature fires: in some strongly, in others weakly, where the fit to label and detail is \
loose. The other half is silent, and was drawn partly at random and partly from places with the same words or from \
the same documents. Say yes wherever you would give it at least one chance in three: where label or detail fits \
outright, where the word or passage is a close relative of what they name, or where they call it a weaker case. As \
half of the excerpts fire, expect to say yes to 11 to 16 of 32. Where fewer fit, go over the others once more and add \
those that come closest, best first, until you reach 11 or so, or until what is left has nothing to do with label or \
detail."""


def judge_prompt(question: JudgeQuestion) -> str:
    """One question's label and numbered excerpts, without the rules."""
    unit = "passages" if question.passages else "marked tokens"
    lines = [
        f"### Question {question.question} (about {unit})",
        f"Label: {question.label}",
        f"Detail: {question.detail}",
    ]
    show = _plain if question.passages else piece
    return "\n".join([*lines, *(f"{n}. {show(text)}" for n, text in enumerate(question.excerpts, start=1))])


def _plain(text: MarkedToken) -> str:
    return text.token.replace("\n", "⏎").strip(" ")
