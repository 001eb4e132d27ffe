"""Which sentences of two texts belong together, and which words differ between them.

Typographic quotes, kinds of hyphens, white space and capitals count as the same: nobody means anything by them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_array

from feature_tracker.text import is_word, sentence_spans, word_spans

_SAME = str.maketrans(
    {"‘": "'", "’": "'", "“": '"', "”": '"', "„": '"', "‐": "-", "‑": "-", "‒": "-", "–": "-", "—": "-", "−": "-"}
)
_IGNORED = str.maketrans("", "", "\u00ad\u200b\u2060\ufeff")  # soft hyphen, and spaces of no width
_ALIKE = 0.5
"""Smallest share of common words of a sentence and the one that replaces it; below, one is gone and the other new."""
_MOST_PAIRS = 4_000_000
"""Largest table of similarities, 32 MB; of longer texts, only sentences near each other are matched."""


@dataclass(frozen=True)
class Sentence:
    """A sentence of one of the texts.

    Attributes:
        text: as it stands.
        start: its first character's place in the whole text.
        words: (n_words, 2) first and one-past-last character of each word and run of signs, within the sentence.
        keys: what each word is compared by.
    """

    text: str
    start: int
    words: np.ndarray
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Pair:
    """A sentence and what became of it.

    Attributes:
        before: of the first text; `None` for a sentence that is new.
        after: of the second text; `None` for one that is gone.
    """

    before: Sentence | None
    after: Sentence | None

    @property
    def is_same(self) -> bool:
        """Whether both sentences have the same words."""
        return self.before is not None and self.after is not None and self.before.keys == self.after.keys


@dataclass(frozen=True)
class Edit:
    """Words of a sentence that others replace.

    Attributes:
        before: first and one-past-last word in the sentence before; equal where words were added.
        after: the same in the sentence after; equal where words were removed.
    """

    before: tuple[int, int]
    after: tuple[int, int]


def sentences_of(text: str) -> list[Sentence]:
    """A text's sentences; those without a word are left out."""
    sentences = []
    for start, end in sentence_spans(text).tolist():
        words = word_spans(text[start:end])
        keys = tuple(_key(text[start + first : start + last]) for first, last in words.tolist())
        if any(map(is_word, keys)):
            sentences.append(Sentence(text[start:end], start, words, keys))
    return sentences


def _key(word: str) -> str:
    return word.translate(_SAME).translate(_IGNORED).casefold()


def align(before: Sequence[Sentence], after: Sequence[Sentence]) -> list[Pair]:
    """Pair the sentences of two texts, in the order of the second; sentences that are gone stand where they stood.

    Sentences of the same words belong together wherever they stand, in order where there are several. Of the others,
    those belong together that have most words in common (Dice's coefficient), as long as that is half of their words.
    """
    partner = _same_words(before, after)
    left_before = [i for i in range(len(before)) if i not in partner.values()]
    left_after = [j for j in range(len(after)) if j not in partner]
    partner |= _most_alike(before, after, left_before, left_after)
    pairs, told = [], 0
    gone = set(range(len(before))) - set(partner.values())
    for j, sentence in enumerate(after):
        i = partner.get(j)
        if i is not None:
            pairs += [Pair(before[k], None) for k in range(told, i) if k in gone]
            told = max(told, i)
        pairs.append(Pair(None if i is None else before[i], sentence))
    return pairs + [Pair(before[k], None) for k in range(told, len(before)) if k in gone]


def _same_words(before: Sequence[Sentence], after: Sequence[Sentence]) -> dict[int, int]:
    """The sentence before, by the sentence after."""
    places: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for i in reversed(range(len(before))):
        places[before[i].keys].append(i)
    return {j: places[sentence.keys].pop() for j, sentence in enumerate(after) if places[sentence.keys]}


def _most_alike(
    before: Sequence[Sentence], after: Sequence[Sentence], left_before: list[int], left_after: list[int]
) -> dict[int, int]:
    if not left_before or not left_after:
        return {}
    numbers: dict[str, int] = {}
    rows = [_word_counts(before[i], numbers) for i in left_before]
    columns = [_word_counts(after[j], numbers) for j in left_after]
    found: dict[int, int] = {}
    step = max(1, _MOST_PAIRS // len(left_before))
    for first in range(0, len(columns), step):
        alike = _dice(rows, columns[first : first + step], len(numbers))
        for row, column in zip(*linear_sum_assignment(-alike), strict=True):
            if alike[row, column] >= _ALIKE and left_before[row] not in found.values():
                found[left_after[first + column]] = left_before[row]
    return found


def _word_counts(sentence: Sentence, numbers: dict[str, int]) -> dict[int, int]:
    counts: dict[int, int] = defaultdict(int)
    for key in sentence.keys:
        if is_word(key):
            counts[numbers.setdefault(key, len(numbers))] += 1
    return counts


def _dice(rows: Sequence[dict[int, int]], columns: Sequence[dict[int, int]], n_words: int) -> np.ndarray:
    """(n_rows, n_columns) Dice's coefficient of the words of each two; a word that occurs twice counts once."""
    left, right = (_incidence(counts, n_words) for counts in (rows, columns))
    common = (left @ right.T).toarray()
    return 2 * common / (left.sum(axis=1)[:, None] + right.sum(axis=1)[None, :])


def _incidence(counts: Sequence[dict[int, int]], n_words: int) -> csr_array:
    lengths = np.cumsum([0, *map(len, counts)])
    indices = np.concatenate([np.fromiter(count, dtype=np.int64) for count in counts])
    return csr_array((np.ones(len(indices)), indices, lengths), shape=(len(counts), n_words))


def edits_of(before: Sentence, after: Sentence) -> list[Edit]:
    """The words that differ, in order; edits with nothing but signs between them are one."""
    matcher = SequenceMatcher(None, before.keys, after.keys, autojunk=False)
    edits: list[Edit] = []
    for operation, start, end, new_start, new_end in matcher.get_opcodes():
        if operation == "equal":
            continue
        if edits and not any(map(is_word, before.keys[edits[-1].before[1] : start])):
            edits[-1] = Edit((edits[-1].before[0], end), (edits[-1].after[0], new_end))
        else:
            edits.append(Edit((start, end), (new_start, new_end)))
    return edits
