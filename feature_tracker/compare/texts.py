"""Compare two texts: what changed, what kind of change it is, and which features rose and fell over the whole."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from feature_tracker.compare.align import Edit, Pair, Sentence, align, edits_of, sentences_of
from feature_tracker.compare.kinds import Claim, Kind, claims, learn_kind, read_examples
from feature_tracker.compare.strengths import Span, SpanReader
from feature_tracker.errors import TrackerError
from feature_tracker.feature import Feature
from feature_tracker.labels.columns import KEYS
from feature_tracker.labels.table import LabelTable
from feature_tracker.progress import Progress, silent
from feature_tracker.text import is_word

N_BEHIND = 5
"""Features shown behind each change."""
_LEAST_BEHIND = 0.15  # of a feature's largest activation, by its square root; less is filler
_KIND_WORDS = 3  # on either side; kinds are learnt from so many
_TOPIC_WORDS = 4  # a sentence of fewer has no topic
_LEAST_NEW = 0.3  # mean strength of a topic, beyond that of any sentence of the other text; less names wrong topics
_RESAMPLED = 400
_SEED = 0
_CERTAIN = 3.0  # standard errors
_ROUNDING = 1e-6
_DATE = re.compile(
    r"(?:january|february|march|april|may|june|july|august|september|october|november|december|"
    r"monday|tuesday|wednesday|thursday|friday|saturday|sunday)'?s?"
)


@dataclass(frozen=True)
class Change:
    """A change between two texts.

    Attributes:
        pair: the sentences.
        edit: the words that differ; `None` where a whole sentence is new or gone.
        what: what kind of change it is, in words; empty where none can be told.
        claims: the kinds that were learnt, and how far the change goes.
        topic: the feature of a topic that the other text doesn't have, or `None`.
        behind: the features that the change moves most, the most first: `layer, feature, before, after, difference` in
            the strengths of `SpanReader`.
    """

    pair: Pair
    edit: Edit | None
    what: str
    claims: tuple[Claim, ...]
    topic: Feature | None
    behind: pd.DataFrame

    @property
    def is_plain(self) -> bool:
        """Whether the words themselves say what changed: a number, a date, or punctuation."""
        return bool(_by_rule(self.pair, self.edit))

    @property
    def before(self) -> str:
        """The words that are gone."""
        return "" if self.pair.before is None else _words(self.pair.before, self.edit and self.edit.before)

    @property
    def after(self) -> str:
        """The words that are new."""
        return "" if self.pair.after is None else _words(self.pair.after, self.edit and self.edit.after)


@dataclass(frozen=True)
class Comparison:
    """What changed from one text to another.

    Attributes:
        pairs: all sentences, see `align`.
        changes: in the order of the second text.
        features: each feature that fires in either text: `layer, feature, before, after, difference, low, high,
            is_certain`. Before and after are means over tokens of the square root of the activation as a share of the
            feature's largest, with sentences read alone; low and high are the 95 % interval of the difference over
            resampled sentences, sentences of both texts together with their partners. Largest differences, in standard
            errors, come first.
        n_tokens: of the two texts.
    """

    pairs: tuple[Pair, ...]
    changes: tuple[Change, ...]
    features: pd.DataFrame
    n_tokens: tuple[int, int]

    @cached_property
    def n_same(self) -> int:
        """Sentences that are word for word the same."""
        return sum(pair.is_same for pair in self.pairs)

    @property
    def n_reworded(self) -> int:
        """Sentences of which some words changed."""
        return sum(pair.before is not None and pair.after is not None for pair in self.pairs) - self.n_same

    @property
    def n_new(self) -> int:
        """Sentences of the second text that the first has nothing like."""
        return sum(pair.before is None for pair in self.pairs)

    @property
    def n_gone(self) -> int:
        """Sentences of the first text that the second has nothing like."""
        return sum(pair.after is None for pair in self.pairs)


def learn_kinds(reader: SpanReader, progress: Progress = silent) -> tuple[SpanReader, list[Kind]]:
    """Learn the kinds of change on a bundle's features.

    Returns:
        The reader with a scale for every feature, and all kinds, those that are not offered among them.
    """
    examples = read_examples()
    spans = [Span(*span) for group in examples.values() for example in group for span in example.spans()]
    traces = reader.trace([span.text for span in spans], progress)
    reader = reader.scaled_by(list(traces.values()))
    strengths = reader.strengths(traces, spans)
    kinds, start = [], 0
    for (name, poles), group in examples.items():
        end = start + 3 * len(group)
        kinds.append(learn_kind(name, poles, group, strengths[start:end].reshape(len(group), 3, -1)))
        start = end
    return reader, kinds


def compare_texts(
    before: str,
    after: str,
    reader: SpanReader,
    kinds: Sequence[Kind],
    labels: LabelTable,
    *,
    progress: Progress = silent,
) -> Comparison:
    """Compare two texts by their words, and then by the features of each sentence, read alone.

    Args:
        reader: with a scale for every feature, see `learn_kinds`.
        kinds: of change.
        labels: say which features are of a topic.

    Raises:
        TrackerError: a text has no words.
    """
    first, second = sentences_of(before), sentences_of(after)
    for sentences, name in ((first, "first"), (second, "second")):
        if not sentences:
            raise TrackerError(f"The {name} text has no words. Put in the two texts to compare.")
    pairs = align(first, second)
    texts = _Texts(pairs, reader, kinds, labels, progress)
    changes = [
        texts.change(pair, edit)
        for pair in pairs
        if not pair.is_same
        for edit in ([None] if pair.before is None or pair.after is None else edits_of(pair.before, pair.after))
    ]
    return Comparison(tuple(pairs), tuple(changes), texts.differences(), texts.n_tokens)


def changes_table(comparison: Comparison, labels: LabelTable) -> pd.DataFrame:
    """The changes as a table: `before, after, what, sentence_before, sentence_after, features`."""
    return pd.DataFrame(
        {
            "before": [change.before for change in comparison.changes],
            "after": [change.after for change in comparison.changes],
            "what": [change.what for change in comparison.changes],
            "sentence_before": [change.pair.before.text if change.pair.before else "" for change in comparison.changes],
            "sentence_after": [change.pair.after.text if change.pair.after else "" for change in comparison.changes],
            "features": [_features_in_words(change, labels) for change in comparison.changes],
        }
    )


def _features_in_words(change: Change, labels: LabelTable) -> str:
    rows = change.behind[[*KEYS, "difference"]].itertuples(index=False)
    named = [(Feature(int(layer), int(index)), difference) for layer, index, difference in rows]
    return "; ".join(f"{difference:+.2f} {feature} {labels.name(feature)}" for feature, difference in named)


class _Texts:
    """Strengths of the sentences of two texts, and what they say of changes."""

    def __init__(
        self, pairs: Sequence[Pair], reader: SpanReader, kinds: Sequence[Kind], labels: LabelTable, progress: Progress
    ) -> None:
        self._pairs, self._reader, self._kinds, self._labels = pairs, reader, kinds, labels
        self._features = reader.features
        known = labels.describe(pd.MultiIndex.from_tuples([tuple(feature) for feature in self._features]))
        self._is_topic = ((known["kind"] == "topic") & known["reliable"]).to_numpy()
        self._sides = [[s for s in side if s] for side in ([p.before for p in pairs], [p.after for p in pairs])]
        self._traces = reader.trace([sentence.text for side in self._sides for sentence in side], progress)

    @property
    def n_tokens(self) -> tuple[int, int]:
        """Tokens of the two texts."""
        before, after = (sum(self._traces[sentence.text].n_tokens for sentence in side) for side in self._sides)
        return before, after

    def change(self, pair: Pair, edit: Edit | None) -> Change:
        """What a change does to the features."""
        before = self._strengths(pair.before, edit and edit.before)
        after = self._strengths(pair.after, edit and edit.after)
        most_words = max(_n_words(pair.before, edit and edit.before), _n_words(pair.after, edit and edit.after))
        what, told, topic = _by_rule(pair, edit), (), None
        if not what and edit is not None and most_words <= _KIND_WORDS:
            told = tuple(claims(self._kinds, after - before))
            what = "; ".join(map(str, told))
        elif edit is None:
            topic, what = self._topic(pair)
        return Change(pair, edit, what, told, topic, self._behind(before, after))

    def _strengths(self, sentence: Sentence | None, words: tuple[int, int] | None) -> np.ndarray:
        """(n_features,) of words of a sentence, or of all; for no words, of the two that they would stand between."""
        if sentence is None:
            return np.zeros(len(self._features), np.float32)
        first, last = words or (0, len(sentence.words))
        if first == last:
            first, last = max(first - 1, 0), min(last + 1, len(sentence.words))
        start, end = int(sentence.words[first, 0]), int(sentence.words[last - 1, 1])
        return self._reader.strengths(self._traces, [Span(sentence.text, start, end)])[0]

    @cached_property
    def _means(self) -> dict[str, np.ndarray]:
        """(n_features,) mean strength over the tokens of each sentence, by its text."""
        return {text: self._reader.mean_strengths(trace) for text, trace in self._traces.items()}

    @cached_property
    def _most(self) -> list[np.ndarray]:
        """(n_features,) each feature's largest mean over a sentence of the first, and of the second text."""
        return [np.max([self._means[sentence.text] for sentence in side], axis=0) for side in self._sides]

    def _topic(self, pair: Pair) -> tuple[Feature | None, str]:
        """The topic of a sentence that is new or gone, if no sentence of the other text has it."""
        sentence, other = (pair.before, self._most[1]) if pair.before else (pair.after, self._most[0])
        if sentence is None or _n_words(sentence, None) < _TOPIC_WORDS:
            return None, ""
        beyond = (self._means[sentence.text] - other) * self._is_topic
        if beyond.max() < _LEAST_NEW:
            return None, ""
        feature = self._features[int(beyond.argmax())]
        return feature, f"{'topic gone' if pair.before else 'new topic'}: {self._labels.name(feature)}"

    def _behind(self, before: np.ndarray, after: np.ndarray) -> pd.DataFrame:
        difference = after - before
        first = np.argsort(-np.abs(difference), kind="stable")[:N_BEHIND]
        first = first[np.abs(difference[first]) >= _LEAST_BEHIND]
        return pd.DataFrame([self._features[row] for row in first], columns=KEYS).assign(
            before=before[first], after=after[first], difference=difference[first]
        )

    def differences(self) -> pd.DataFrame:
        """`Comparison.features`."""
        sums = {text: mean * len(self._traces[text].counted) for text, mean in self._means.items()}
        nothing = np.zeros(len(self._features), np.float32)
        total = np.array([[sums[s.text] if s else nothing for s in (p.before, p.after)] for p in self._pairs])
        n = np.array([[self._n_counted(s) for s in (p.before, p.after)] for p in self._pairs], np.float32)
        return changed_features(self._features, total, n)

    def _n_counted(self, sentence: Sentence | None) -> int:
        return 0 if sentence is None else len(self._traces[sentence.text].counted)


def changed_features(features: Sequence[Feature], total: np.ndarray, n: np.ndarray) -> pd.DataFrame:
    """How much more features fire per token on one side than on the other, as `Comparison.features` holds it.

    Args:
        total: (n_pairs, 2, n_features) float32, sums of strengths over the tokens of each side of a pair.
        n: (n_pairs, 2) float32, those tokens; 0 where a side has no sentence.
    """
    weights = np.random.default_rng(_SEED).multinomial(len(n), np.full(len(n), 1 / len(n)), _RESAMPLED)
    resampled_before, resampled_after = _rates(weights.astype(np.float32), total, n)
    before, after = (side[0] for side in _rates(np.ones((1, len(n)), np.float32), total, n))
    spread = resampled_after - resampled_before
    low, high = np.quantile(spread, [0.025, 0.975], axis=0)
    difference = after - before
    errors = np.abs(difference) / np.maximum(spread.std(axis=0), 1e-9)
    order = np.argsort(-errors, kind="stable")
    frame = pd.DataFrame(list(features), columns=KEYS).assign(
        before=before, after=after, difference=difference, low=low, high=high,
        is_certain=(errors > _CERTAIN) & (np.abs(difference) > _ROUNDING),
    )  # fmt: skip
    return frame.iloc[order][((before > 0) | (after > 0))[order]].reset_index(drop=True)


def _rates(weights: np.ndarray, total: np.ndarray, tokens: np.ndarray) -> list[np.ndarray]:
    """Of the first and the second text: (n_weights, n_features) means over the tokens of weighted sentences."""
    return [(weights @ total[:, side]) / np.maximum(weights @ tokens[:, side], 1)[:, None] for side in range(2)]


def _words(sentence: Sentence, words: tuple[int, int] | None) -> str:
    first, last = words or (0, len(sentence.words))
    return sentence.text[sentence.words[first, 0] : sentence.words[last - 1, 1]] if last > first else ""


def _n_words(sentence: Sentence | None, words: tuple[int, int] | None) -> int:
    if sentence is None:
        return 0
    first, last = words or (0, len(sentence.words))
    return sum(map(is_word, sentence.keys[first:last]))


def _by_rule(pair: Pair, edit: Edit | None) -> str:
    """What the words themselves say of a change; empty where they say nothing."""
    if edit is None or pair.before is None or pair.after is None:
        return ""
    before = [key for key in pair.before.keys[slice(*edit.before)] if is_word(key)]
    after = [key for key in pair.after.keys[slice(*edit.after)] if is_word(key)]
    if not before and not after:
        return "punctuation"
    if not before or not after:
        return ""
    if all(map(_DATE.fullmatch, before + after)):
        return "date"
    return "number" if all(any(map(str.isdigit, word)) for word in before + after) else ""
