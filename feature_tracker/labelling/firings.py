"""Where the features of a layer fire in a text: on tokens, and for slow features on passages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_array
from transformers import PreTrainedTokenizerBase

from feature_tracker.corpus.documents import Windows
from feature_tracker.corpus.words import NO_WORD, Pieces, WordReader
from feature_tracker.model.hooks import read_residuals
from feature_tracker.model.load import LanguageModel
from feature_tracker.progress import Progress, silent
from feature_tracker.sae.topk import Sae
from feature_tracker.tracing.run import Batch, Encoded, Forward, batched, run

PASSAGE_TOKENS = 60
"""Length of the passages on which slow features are read and judged."""
PASSAGE_SHARE = 0.2
"""A slow feature fires in a passage where it fires on this share of its tokens. Few passages of 60 tokens are free of
stray firings: those above a fifth are one in six, and hold six sevenths of the built-in slow features' activation."""
_WINDOWS_AT_ONCE = 32
"""Windows whose words are read at once."""


@dataclass(frozen=True)
class Firings:
    """Where the latents of one layer fire in a text, attention sinks left out.

    A place is a token's number in the text, BOS left out.

    Attributes:
        layer: 0-based.
        starts: (n_latents + 1,) where each latent's firings begin in the two arrays below.
        places: (n_firings,) int32, ascending within a latent.
        activations: (n_firings,) float32.
        is_sink: (n_tokens,) bool.
    """

    layer: int
    starts: np.ndarray
    places: np.ndarray
    activations: np.ndarray
    is_sink: np.ndarray

    @property
    def n_latents(self) -> int:
        """Latents of the layer's SAE."""
        return len(self.starts) - 1

    def of(self, latent: int) -> Occasions:
        """The tokens on which a latent fires."""
        part = slice(self.starts[latent], self.starts[latent + 1])
        return Occasions(self.places[part].astype(np.int64), self.activations[part], ~self.is_sink, 1)


@dataclass(frozen=True)
class Occasions:
    """The tokens or passages on which a latent fires, among those on which it could.

    Attributes:
        places: (n,) int64, ascending: the token, or a passage's first token.
        activations: (n,) float32, of a passage the mean over its tokens.
        possible: (n_tokens,) bool, True at each token, or first token of a passage, that a question may show.
        length: tokens of a passage; 1 for tokens.
    """

    places: np.ndarray
    activations: np.ndarray
    possible: np.ndarray
    length: int

    @cached_property
    def is_silent(self) -> np.ndarray:
        """(n_tokens,) bool, True at each place that a question may show and on which the latent doesn't fire."""
        is_silent = self.possible.copy()
        is_silent[self.places] = False
        return is_silent

    @cached_property
    def silent(self) -> np.ndarray:
        """(n,) int64 places on which the latent doesn't fire, ascending."""
        return np.flatnonzero(self.is_silent)

    def strongest_first(self) -> np.ndarray:
        """(n,) rows of `places`, by falling activation."""
        return np.argsort(-self.activations, kind="stable")

    def passages(self, window: int) -> Occasions:
        """The passages in which these tokens are at least `PASSAGE_SHARE`; what is left of a window is in none.

        Args:
            window: tokens of each window, BOS left out.
        """
        n_within = window // PASSAGE_TOKENS
        firsts = passage_starts(len(self.possible) // window, window)
        possible = np.zeros(len(self.possible), bool)
        possible[firsts] = True
        number, offset = np.divmod(self.places, window)
        passage = offset // PASSAGE_TOKENS
        inside = passage < n_within
        rows = number[inside] * n_within + passage[inside]
        sums = np.bincount(rows, self.activations[inside], minlength=len(firsts))
        fires = np.flatnonzero(np.bincount(rows, minlength=len(firsts)) >= PASSAGE_SHARE * PASSAGE_TOKENS)
        means = (sums[fires] / PASSAGE_TOKENS).astype(np.float32)
        return Occasions(firsts[fires], means, possible, PASSAGE_TOKENS)


def passage_starts(n_windows: int, window: int) -> np.ndarray:
    """(n_passages,) int64 first place of each passage; a window's last passage ends where the next would not fit.

    Args:
        window: tokens of each window, BOS left out.
    """
    within = np.arange(0, window - PASSAGE_TOKENS + 1, PASSAGE_TOKENS)
    return (np.arange(n_windows)[:, None] * window + within).ravel()


def find_firings(
    windows: Windows,
    language_model: LanguageModel,
    saes: Mapping[int, Sae],
    *,
    forward: Forward = read_residuals,
    progress: Progress = silent,
) -> dict[int, Firings]:
    """Run windows of text, and note where every latent of each layer fires.

    It takes ten bytes a firing: for one layer with k = 32 a third of a gigabyte a million tokens, and twice that for a
    moment at the end.

    Args:
        saes: by layer.
        forward: how to run the decoder on a batch.
    """
    window, n_windows = windows.token_ids.shape[1] - 1, len(windows.token_ids)
    parts: dict[int, list[_Part]] = {layer: [] for layer in sorted(saes)}
    done = 0

    def note(layer: int, encoded: Encoded, _batch: Batch) -> None:
        values, is_sink = encoded.values.numpy(), encoded.attention_sink.numpy()
        rows, columns = np.nonzero((values > 0) & ~is_sink[:, None])
        latents = encoded.indices.numpy()[rows, columns].astype(
            np.uint16 if saes[layer].n_latents <= 2**16 else np.int32
        )
        parts[layer].append(_Part((rows + done * window).astype(np.int32), latents, values[rows, columns], is_sink))

    whole = (ids.astype(np.int64) for ids in windows.token_ids[:, 1:])
    batches = batched(whole, window=window + 1, bos_id=language_model.bos_id)
    for batch in run(batches, language_model, sorted(saes), saes=saes, activation_sinks=[note], forward=forward):
        done += batch.n_windows
        progress("Reading the text", done / n_windows)
    return {layer: _firings(layer, saes[layer].n_latents, parts.pop(layer)) for layer in sorted(saes)}


class _Part(NamedTuple):
    """The firings of a batch, by place, and which of its tokens are attention sinks."""

    places: np.ndarray
    latents: np.ndarray
    activations: np.ndarray
    is_sink: np.ndarray


def _firings(layer: int, n_latents: int, parts: Sequence[_Part]) -> Firings:
    joined = _Part(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
    order = np.argsort(joined.latents, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(joined.latents, minlength=n_latents))])
    return Firings(layer, starts, joined.places[order], joined.activations[order], joined.is_sink)


class CorpusText:
    """The text of windows, token by token and word by word.

    Args:
        windows: whole ones.
        tokenizer: of the model that runs them.
        known: numbers of words that were met elsewhere; any other word has none then.

    Attributes:
        reader: numbers the words.
        window: tokens of each window, BOS left out.
    """

    def __init__(self, windows: Windows, tokenizer: PreTrainedTokenizerBase, known: WordReader | None = None) -> None:
        self._ids = np.ascontiguousarray(windows.token_ids[:, 1:])
        self._windows = windows
        self._pieces = Pieces(tokenizer)
        self.reader, self._learns = known or WordReader(tokenizer), known is None
        self.window = self._ids.shape[1]

    @property
    def n_tokens(self) -> int:
        """Tokens, BOS left out."""
        return self._ids.size

    def document(self, place: int) -> int:
        """Number of the document that a token is in."""
        return int(self._windows.document[place // self.window])

    def documents(self, places: np.ndarray) -> np.ndarray:
        """(n,) number of the document of each token."""
        return self._windows.document[places // self.window]

    def source(self, place: int) -> str:
        """What kind of text a token is from, such as `sec-10k`."""
        return self._windows.sources[self._windows.source[place // self.window]]

    def position(self, place: int) -> int:
        """A token's place in its window; the first token after BOS is 1."""
        return place % self.window + 1

    def ids(self, first: int, end: int) -> np.ndarray:
        """Token ids of the places from `first` to before `end`."""
        return self._ids.reshape(-1)[first:end]

    def texts(self, place: int) -> list[str]:
        """The text of each token of the window that a place is in."""
        return self._pieces.texts(self._ids[place // self.window].tolist())

    @cached_property
    def words(self) -> CorpusWords:
        """Which word each token is a part of."""
        words, occurrences, n_occurrences = [], [], 0
        for first in range(0, len(self._ids), _WINDOWS_AT_ONCE):
            windows = self._ids[first : first + _WINDOWS_AT_ONCE]
            token_ids = torch.from_numpy(np.pad(windows, ((0, 0), (1, 0))).astype(np.int64))
            documents = [0] * len(windows) if self._learns else None
            read = self.reader.read(Batch(token_ids, None, tuple(range(len(windows)))), documents)
            words.append(read.words.astype(np.int32))
            occurrences.append((read.occurrences + n_occurrences).astype(np.int32))
            n_occurrences += int(read.occurrences[-1]) + 1
        return CorpusWords(np.concatenate(words), np.concatenate(occurrences), self.reader.shown())

    @cached_property
    def passage_words(self) -> tuple[np.ndarray, csr_array]:
        """The first place of each passage, and (n_passages, n_words) float32, 1 where a word occurs in a passage."""
        firsts = passage_starts(len(self._ids), self.window)
        words = self.words.words[firsts[:, None] + np.arange(PASSAGE_TOKENS)]
        rows = np.repeat(np.arange(len(firsts)), PASSAGE_TOKENS)[words.ravel() != NO_WORD]
        columns = words.ravel()[words.ravel() != NO_WORD]
        pairs = np.unique(rows * len(self.words.shown) + columns)
        rows, columns = np.divmod(pairs, len(self.words.shown))
        shape = (len(firsts), len(self.words.shown))
        return firsts, csr_array((np.ones(len(pairs), np.float32), (rows, columns)), shape=shape)


class CorpusWords:
    """Which word each token of a text is a part of.

    Attributes:
        words: (n_tokens,) int32 number of the token's word, or `NO_WORD`.
        occurrences: (n_tokens,) int32, ascending: tokens of one occurrence have the same number.
        shown: each word as somebody can read it.
        n_occurrences: (n_words,) of each word.
    """

    def __init__(self, words: np.ndarray, occurrences: np.ndarray, shown: list[str]) -> None:
        self.words, self.occurrences, self.shown = words, occurrences, shown
        is_first = np.diff(occurrences, prepend=-1) != 0
        self.n_occurrences = np.bincount(words[is_first & (words != NO_WORD)], minlength=len(shown))
        self._order = np.argsort(words, kind="stable")
        self._starts = np.searchsorted(words[self._order], np.arange(len(shown) + 1))

    def places(self, word: int) -> np.ndarray:
        """Where the tokens of a word are, ascending."""
        return self._order[self._starts[word] : self._starts[word + 1]]
